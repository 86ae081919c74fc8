package hierarchytest

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Operated is a store of buckets in which admins change them by hand.
type Operated interface {
	Store
	ratelimit.Store
	hierarchy.Operator
}

// RunOperations tests the operations of a store. The store is as for [Run].
func RunOperations(t *testing.T, open func(t *testing.T) Operated) {
	t.Run("Once", func(t *testing.T) { testOnce(t, newOperations(t, open(t))) })
	t.Run("Bad", func(t *testing.T) { testBadOperations(t, newOperations(t, open(t))) })
	t.Run("Concurrent", func(t *testing.T) { testConcurrentOperations(t, newOperations(t, open(t))) })
	t.Run("Refused", func(t *testing.T) { testRefusedOperation(t, newOperations(t, open(t))) })
	t.Run("Absent", func(t *testing.T) { testAbsentBucket(t, newOperations(t, open(t))) })
}

// operations is a bucket of 100 tokens with nothing left.
type operations struct {
	Operated
	namespace string
	key       ratelimit.Key
	now       time.Time
}

func newOperations(t *testing.T, s Operated) *operations {
	t.Helper()
	o := &operations{Operated: s, namespace: "ops-" + hierarchy.NewOperationID(), now: time.Now().Truncate(time.Millisecond)}
	if _, err := s.RegisterNamespace(t.Context(), o.namespace, o.cause()); err != nil {
		t.Fatal(err)
	}
	var err error
	if o.key, err = ratelimit.NewKey(o.namespace, "e", "r", ""); err != nil {
		t.Fatal(err)
	}
	limiter, err := ratelimit.New(ratelimit.Config{Store: s, Resolver: hierarchy.NewResolver("default", hierarchy.Document{}), Now: func() time.Time { return o.now }})
	if err != nil {
		t.Fatal(err)
	}
	_, err = limiter.Acquire(t.Context(), ratelimit.Request{
		Namespace: o.namespace, Entity: "e", Resource: "r", Consume: map[string]int64{"n": 100},
		DefaultLimits: []ratelimit.Limit{ratelimit.PerDay("n", 100)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *operations) cause() hierarchy.Cause {
	return hierarchy.Cause{By: hierarchy.Actor{Caller: "suite"}, At: o.now}
}

func (o *operations) state(t *testing.T) ratelimit.State {
	t.Helper()
	s, err := o.Get(t.Context(), o.key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (o *operations) left(t *testing.T) int64 {
	t.Helper()
	s := o.state(t)
	return s.Find("n").Available(ratelimit.StampOf(o.now)).Tokens()
}

// topUp is an operation that adds 10.
func (o *operations) topUp(t *testing.T, id string) *hierarchy.Operation {
	t.Helper()
	s := o.state(t)
	w, err := ratelimit.PlanTopUp(o.key, &s, ratelimit.StampOf(o.now), []ratelimit.Take{{Limit: "n", Tokens: 10}})
	if err != nil {
		t.Fatal(err)
	}
	return &hierarchy.Operation{Cause: o.cause(), ID: id, Action: "top-up", Detail: "n:10", Key: o.key, Write: w}
}

func (o *operations) events(t *testing.T) []hierarchy.Event {
	t.Helper()
	l, err := o.Events(t.Context(), o.namespace, hierarchy.Selector{Name: "e"}, hierarchy.Page{})
	if err != nil {
		t.Fatal(err)
	}
	return l.Events
}

func testOnce(t *testing.T, o *operations) {
	op := o.topUp(t, "ticket-1")
	if err := o.Operate(t.Context(), o.namespace, op); err != nil {
		t.Fatal(err)
	}
	var repeated *hierarchy.RepeatedError
	if err := o.Operate(t.Context(), o.namespace, op); !errors.As(err, &repeated) || !repeated.Same(op) || !repeated.Made.At.Equal(o.now) {
		t.Errorf("again: %v", err)
	}
	other := o.topUp(t, "ticket-1")
	other.Detail = "n:11"
	if err := o.Operate(t.Context(), o.namespace, other); !errors.As(err, &repeated) || repeated.Same(other) {
		t.Errorf("another of that ID: %v", err)
	}
	if left := o.left(t); left != 10 {
		t.Errorf("%d are left", left)
	}
	if err := o.Operate(t.Context(), o.namespace, o.topUp(t, "ticket-2")); err != nil || o.left(t) != 20 {
		t.Errorf("the next: %v, %d are left", err, o.left(t))
	}
	if s := o.state(t); s.Find("n").Charged != ratelimit.Milli(100) || s.Find("n").Returned != 0 {
		t.Errorf("counted: %+v", s.Find("n"))
	}
	events := o.events(t)
	if len(events) != 2 {
		t.Fatalf("the audit has %+v", events)
	}
	want := hierarchy.Event{
		ID: events[0].ID, At: o.now.UTC(), By: hierarchy.Actor{Caller: "suite"}, Action: "top-up", Detail: "n:10", Target: hierarchy.EntityRef("e", "r"),
	}
	if diff := cmp.Diff(want, events[0]); diff != "" {
		t.Error(diff)
	}
}

// What isn't an operation, or not of a namespace, is refused.
func testBadOperations(t *testing.T, o *operations) {
	op := o.topUp(t, "ticket")
	if err := o.Operate(t.Context(), o.namespace+"x", op); !errors.Is(err, hierarchy.ErrUnknownNamespace) {
		t.Errorf("in no namespace: %v", err)
	}
	for _, id := range []string{"", "a b", "\u00e9", strings.Repeat("x", 129)} {
		op.ID = id
		var invalid *hierarchy.InvalidEditError
		if err := o.Operate(t.Context(), o.namespace, op); !errors.As(err, &invalid) {
			t.Errorf("the ID %q: %v", id, err)
		}
	}
	if o.left(t) != 0 || len(o.events(t)) > 0 {
		t.Errorf("%d are left, the audit has %v", o.left(t), o.events(t))
	}
}

// Of ten at once by the same ID, one is made.
func testConcurrentOperations(t *testing.T, o *operations) {
	var made atomic.Int64
	var group sync.WaitGroup
	for range 10 {
		op := o.topUp(t, "ticket")
		group.Go(func() {
			err := o.Operate(t.Context(), o.namespace, op)
			var repeated *hierarchy.RepeatedError
			switch {
			case err == nil:
				made.Add(1)
			case !errors.As(err, &repeated):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if made.Load() != 1 || o.left(t) != 10 || len(o.events(t)) != 1 {
		t.Errorf("%d were made, %d are left, %d events", made.Load(), o.left(t), len(o.events(t)))
	}
}

// What the bucket refuses leaves no record.
func testRefusedOperation(t *testing.T, o *operations) {
	op := o.topUp(t, "ticket")
	born := *op.Write.BornIs + 1
	op.Write.BornIs = &born
	var refused *ratelimit.RefusedError
	if err := o.Operate(t.Context(), o.namespace, op); !errors.As(err, &refused) || !refused.State.Exists {
		t.Fatalf("a false condition: %v", err)
	}
	if len(o.events(t)) != 0 {
		t.Error("the audit has what wasn't done")
	}
	if err := o.Operate(t.Context(), o.namespace, o.topUp(t, "ticket")); err != nil || o.left(t) != 10 {
		t.Errorf("planned again: %v", err)
	}
}

// An operation without a write is recorded all the same.
func testAbsentBucket(t *testing.T, o *operations) {
	op := o.topUp(t, "ticket")
	op.Write = nil
	if err := o.Operate(t.Context(), o.namespace, op); err != nil {
		t.Fatal(err)
	}
	var repeated *hierarchy.RepeatedError
	if err := o.Operate(t.Context(), o.namespace, o.topUp(t, "ticket")); !errors.As(err, &repeated) || o.left(t) != 0 {
		t.Errorf("again: %v, %d are left", err, o.left(t))
	}
}
