package dynamostore

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// copyTable makes a table with all items of another, as a recovery does.
func copyTable(t *testing.T, s *Store) (table string) {
	t.Helper()
	to := newTable(t)
	made := &Store{table: to, now: time.Now, others: s.others}
	if err := made.createTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, err := s.others.Scan(t.Context(), &dynamodb.ScanInput{TableName: &s.table, ConsistentRead: new(true)})
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range out.Items {
		if _, err := s.others.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &to, Item: it}); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// What docs/operations.md says of a table that was restored under another name:
// balances are as they were, limits and namespaces too, and what was charged since
// is unknown there.
func TestRestoredTable(t *testing.T) {
	s, proxy := newStore(t)
	limits := &fixed{limits: []ratelimit.Limit{{Name: "n", Rate: 1, Period: 7 * 24 * time.Hour, Burst: 10}}}
	take := func(s *Store, n int64) error {
		t.Helper()
		l, err := ratelimit.New(ratelimit.Config{Store: s, Resolver: limits})
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.Acquire(t.Context(), ratelimit.Request{Entity: "user", Resource: "gpt-4", Consume: map[string]int64{"n": n}})
		return err
	}
	cause := hierarchy.Cause{By: hierarchy.Actor{Caller: "alice"}, At: time.Now()}
	set := func(s *Store, rate int64) {
		t.Helper()
		_, err := hierarchy.Update(t.Context(), s, "default", cause, "set-limits", []hierarchy.Ref{hierarchy.SystemRef()}, func(items []hierarchy.Item) error {
			items[0].Deleted = false
			items[0].Level = hierarchy.Level{Limits: []ratelimit.Limit{ratelimit.PerMinute("n", rate)}}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := take(s, 4); err != nil {
		t.Fatal(err)
	}
	set(s, 10)
	restored := copyTable(t, s)
	if err := take(s, 5); err != nil { // after it was copied
		t.Fatal(err)
	}
	set(s, 20)

	c := config(proxy.URL, restored)
	c.Create = false
	other := open(t, c)
	items, err := other.Items(t.Context(), "default", []hierarchy.Ref{hierarchy.SystemRef()})
	if err != nil || items[0].Level.Limits[0].Rate != 10 {
		t.Errorf("limits of the restored table: %+v, %v", items, err)
	}
	if err := take(other, 6); err != nil {
		t.Errorf("what was there is refused: %v", err)
	}
	var exceeded *ratelimit.ExceededError
	if err := take(other, 1); !errors.As(err, &exceeded) {
		t.Errorf("more is there than was: %v", err)
	}
	set(other, 30)
}
