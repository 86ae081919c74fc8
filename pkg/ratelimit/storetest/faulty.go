package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// ErrUnknown is what a call fails with whose outcome nobody knows.
var ErrUnknown = errors.New("the connection was reset")

// Call is a call of a store that a Plan decides about.
type Call struct {
	N     int              // from 0, among the calls of the same method
	Key   ratelimit.Key    //
	Write *ratelimit.Write // nil for Get; not to be changed
}

// Fault is what goes wrong with one call. The zero Fault is none.
type Fault struct {
	// Before and After delay the call and its answer. A context that ends
	// Before keeps the call from being made: the error matches
	// ratelimit.ErrNotApplied. One that ends After leaves the outcome unknown.
	Before, After time.Duration
	// Lost keeps the call from being made; Err is then not nil.
	Lost bool
	// Err, if not nil, is returned whatever came of the call.
	Err error
}

// NotApplied is a write that is certainly not made, as one that was throttled.
func NotApplied() Fault { return Fault{Lost: true, Err: ratelimit.ErrNotApplied} }

// Unknown is a call without an answer; made says whether it was made.
func Unknown(made bool) Fault { return Fault{Lost: !made, Err: ErrUnknown} }

// Stuck is a call that is made, and whose answer never comes.
func Stuck() Fault { return Fault{After: math.MaxInt64} }

// Plan says what goes wrong with each call. It is called by several goroutines
// at once.
type Plan func(c Call) Fault

// Writes is the plan that lets the first writes fail, in order, and nothing
// after them.
func Writes(faults ...Fault) Plan {
	return func(c Call) Fault {
		if c.Write == nil || c.N >= len(faults) {
			return Fault{}
		}
		return faults[c.N]
	}
}

// FaultyStore is a store with faults; see [Faulty].
type FaultyStore struct {
	store        ratelimit.Store
	plan         Plan
	writes, gets atomic.Int64
}

var _ ratelimit.Store = (*FaultyStore)(nil)

// Faulty is a store whose calls fail as planned. It is safe for concurrent use.
func Faulty(store ratelimit.Store, plan Plan) *FaultyStore {
	return &FaultyStore{store: store, plan: plan}
}

// Apply makes the write, or not, as planned.
func (f *FaultyStore) Apply(ctx context.Context, w *ratelimit.Write) (ratelimit.State, error) {
	c := Call{N: int(f.writes.Add(1) - 1), Key: w.Key, Write: w}
	return f.call(ctx, c, func() (ratelimit.State, error) { return f.store.Apply(ctx, w) })
}

// Get reads, or not, as planned.
func (f *FaultyStore) Get(ctx context.Context, k ratelimit.Key) (ratelimit.State, error) {
	c := Call{N: int(f.gets.Add(1) - 1), Key: k}
	return f.call(ctx, c, func() (ratelimit.State, error) { return f.store.Get(ctx, k) })
}

// Calls is how many writes and reads were asked for.
func (f *FaultyStore) Calls() (writes, gets int) { return int(f.writes.Load()), int(f.gets.Load()) }

func (f *FaultyStore) call(ctx context.Context, c Call, do func() (ratelimit.State, error)) (ratelimit.State, error) {
	fault := f.plan(c)
	if err := wait(ctx, fault.Before); err != nil {
		return ratelimit.State{}, fmt.Errorf("%w: %w", ratelimit.ErrNotApplied, err)
	}
	if fault.Lost {
		return ratelimit.State{}, fault.Err
	}
	s, err := do()
	if waited := wait(ctx, fault.After); waited != nil {
		return ratelimit.State{}, fmt.Errorf("no answer: %w", waited)
	}
	if fault.Err != nil {
		return ratelimit.State{}, fault.Err
	}
	return s, err
}

// wait lasts for a time, or until the context ends.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
