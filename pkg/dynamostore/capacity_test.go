package dynamostore

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// manyLimits have 16-character names and the widest numbers that people give
// them.
func manyLimits(n int, perMinute int64) []ratelimit.Limit {
	var limits []ratelimit.Limit
	for i := range n {
		limits = append(limits, ratelimit.Custom(fmt.Sprintf("tokens-per-min-%d", i), 2*perMinute, perMinute, time.Minute))
	}
	return limits
}

// TestOneUnitEach is what the product costs: each operation on a bucket with 4
// limits, a 256-byte entity and a 64-byte resource consumes 1 write unit, and
// nothing of any index; and no reads are made.
func TestOneUnitEach(t *testing.T) {
	var seen calls
	s, _ := newStore(t, func(c *Config) { c.Observer, c.ReportCapacity = &seen, true })
	limits := &fixed{limits: manyLimits(4, 1_000_000), expires: true}
	l, err := ratelimit.New(ratelimit.Config{
		Store: s, Resolver: limits, Remote: &ratelimit.Remote{WriteTimeout: 20 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	r := ratelimit.Request{Entity: strings.Repeat("e", 256), Resource: strings.Repeat("r", 64)}
	acquire := func() (*ratelimit.Lease, error) { return l.Acquire(t.Context(), r) }
	if _, err := s.registry.id(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	seen.take()
	var lease *ratelimit.Lease
	for _, step := range []struct {
		op ratelimit.Op
		do func() error
	}{
		{ratelimit.OpCreate, func() (err error) { lease, err = acquire(); return err }},
		{ratelimit.OpCredit, func() error { return lease.Rollback(t.Context()) }},
		{ratelimit.OpCharge, func() (err error) { lease, err = acquire(); return err }},
		{ratelimit.OpSettle, func() (err error) { r.Settle = true; _, err = acquire(); return err }},
		{ratelimit.OpReshape, func() (err error) {
			r.Settle, limits.revision, limits.limits = false, 1_000_000, manyLimits(4, 9_000_000)
			_, err = acquire()
			return err
		}},
		{ratelimit.OpCharge, func() (err error) { _, err = acquire(); return err }},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.op, err)
		}
		writes := 0
		for _, call := range seen.take() {
			switch {
			case call.Request != RequestWrite || call.Kind != KindOK || call.Op != step.op:
				t.Errorf("%s: %s %s: %s", step.op, call.Request, call.Op, call.Kind)
			case call.Capacity != Capacity{Total: 1}:
				t.Errorf("%s: consumed %+v", step.op, call.Capacity)
			}
			writes++
		}
		if writes != 1 {
			t.Errorf("%s: %d writes", step.op, writes)
		}
	}
	k, err := ratelimit.NewKey("default", r.Entity, r.Resource, "")
	if err != nil {
		t.Fatal(err)
	}
	if size := itemSize(raw(t, s, k)); size >= 1024 {
		t.Errorf("the item has %d bytes, one unit holds 1024", size)
	} else {
		t.Logf("the item has %d bytes", size)
	}
}

// TestEightLimitsInOneUnit has as many limits as a bucket with the longest ids
// can have for the price of one.
func TestEightLimitsInOneUnit(t *testing.T) {
	var seen calls
	s, _ := newStore(t, func(c *Config) { c.Observer, c.ReportCapacity = &seen, true })
	limits := manyLimits(8, 1_000_000)
	for i := range limits {
		limits[i].Name = limits[i].Name[:8] + limits[i].Name[15:]
	}
	l, err := ratelimit.New(ratelimit.Config{Store: s, Resolver: &fixed{limits: limits, expires: true}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r := ratelimit.Request{Entity: strings.Repeat("e", 256), Resource: strings.Repeat("r", 64)}
		if _, err := l.Acquire(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	writes := 0
	for _, call := range seen.take() {
		if call.Request == RequestWrite {
			writes++
			if call.Capacity != (Capacity{Total: 1}) {
				t.Errorf("%s consumed %+v", call.Op, call.Capacity)
			}
		}
	}
	if writes != 2 {
		t.Errorf("%d writes", writes)
	}
}

// raw is the item of a bucket as it is in the table.
func raw(t *testing.T, s *Store, k ratelimit.Key) item {
	t.Helper()
	namespace, err := s.registry.id(t.Context(), k.Namespace())
	if err != nil {
		t.Fatal(err)
	}
	pk, sk := bucketKey(namespace, k)
	return rawAt(t, s, pk, sk)
}

func rawAt(t *testing.T, s *Store, pk, sk string) item {
	t.Helper()
	out, err := s.others.GetItem(t.Context(), &dynamodb.GetItemInput{
		TableName: &s.table, Key: primaryKey(pk, sk), ConsistentRead: new(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Item
}

// itemSize is DynamoDB's size of an item: names and texts by their bytes, a
// number by its significant digits, two a byte, and one more, and one for a
// sign.
func itemSize(it item) int {
	n := 0
	for name, value := range it {
		n += len(name)
		switch v := value.(type) {
		case *types.AttributeValueMemberS:
			n += len(v.Value)
		case *types.AttributeValueMemberB:
			n += len(v.Value)
		case *types.AttributeValueMemberN:
			digits := strings.Trim(strings.TrimPrefix(v.Value, "-"), "0")
			n += (len(digits)+1)/2 + 1
			if strings.HasPrefix(v.Value, "-") {
				n++
			}
		}
	}
	return n
}
