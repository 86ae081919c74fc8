//go:build integration

package fleet

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// sweeper removes items that have expired, as DynamoDB does, which the local
// one does not: one at a time, if it still has expired by then. Its clock is
// ahead of the fleet's, or it is late.
type sweeper struct {
	fleet *fleet
	ahead time.Duration

	stop func() // waits until it has stopped
	// closed are the counters of the incarnations that it removed.
	closed  map[string]*item
	removed int
	err     error
}

// sweep starts a sweeper. Its stop is called before its fields are read.
func (f *fleet) sweep(ctx context.Context, ahead time.Duration) *sweeper {
	s := &sweeper{fleet: f, ahead: ahead, closed: map[string]*item{}}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	s.stop = func() { cancel(); <-done }
	go func() {
		defer close(done)
		for ctx.Err() == nil && s.err == nil {
			s.err = s.round(ctx)
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		if errors.Is(s.err, context.Canceled) {
			s.err = nil
		}
	}()
	return s
}

// round removes what has expired by now.
func (s *sweeper) round(ctx context.Context) error {
	now := s.fleet.Clock.now().Add(s.ahead).Unix()
	expired := types.AttributeValueMemberN{Value: strconv.FormatInt(now, 10)}
	names, values := map[string]string{"#ttl": "ttl"}, map[string]types.AttributeValue{":now": &expired}
	found, err := s.fleet.client.Scan(ctx, &dynamodb.ScanInput{
		TableName: &s.fleet.Table, FilterExpression: new("#ttl < :now"),
		ExpressionAttributeNames: names, ExpressionAttributeValues: values,
	})
	if err != nil {
		return err
	}
	for _, it := range found.Items {
		// Not cut short: what is removed must be counted.
		out, err := s.fleet.client.DeleteItem(context.WithoutCancel(ctx), &dynamodb.DeleteItemInput{
			TableName: &s.fleet.Table, Key: map[string]types.AttributeValue{"PK": it["PK"], "SK": it["SK"]},
			ConditionExpression: new("#ttl < :now"), ExpressionAttributeNames: names, ExpressionAttributeValues: values,
			ReturnValues: types.ReturnValueAllOld,
		})
		var changed *types.ConditionalCheckFailedException
		switch {
		case errors.As(err, &changed): // its life was prolonged meanwhile
		case err != nil:
			return err
		default:
			s.close(out.Attributes)
		}
	}
	return nil
}

// close counts an incarnation that has ended.
func (s *sweeper) close(it map[string]types.AttributeValue) {
	key, _ := it["PK"].(*types.AttributeValueMemberS)
	bucket := key.Value[strings.LastIndexByte(key.Value, '/')+1:]
	if s.closed[bucket] == nil {
		s.closed[bucket] = &item{}
	}
	s.closed[bucket].Charged += amount(it["c1"])
	s.closed[bucket].Returned += amount(it["r1"])
	s.removed++
}

// amount is a number of an item, 0 where it has none.
func amount(v types.AttributeValue) ratelimit.Millitokens {
	number, ok := v.(*types.AttributeValueMemberN)
	if !ok {
		return 0
	}
	n, _ := strconv.ParseInt(number.Value, 10, 64) // the store wrote it
	return ratelimit.Millitokens(n)
}

// items are the buckets as the table has them, with what the incarnations that
// were removed had counted.
func (s *sweeper) items(t *testing.T) map[string]*item {
	t.Helper()
	if s.err != nil {
		t.Fatal(s.err)
	}
	items := maps.Clone(s.fleet.items(t))
	for bucket, old := range s.closed {
		items[bucket].Charged += old.Charged
		items[bucket].Returned += old.Returned
	}
	return items
}
