package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Request is what Acquire asks for.
type Request struct {
	Namespace string // empty: "default"
	Entity    string
	Resource  string
	Tier      string // used where the entity has none; empty: none
	// Consume is what is taken of each limit, in whole tokens; 0 looks: the
	// request is refused while that limit is at or below zero. Nil: one token of
	// each limit. Names that the bucket lacks are not charged.
	Consume map[string]int64
	// Settle books the charge whatever the balance, into debt.
	Settle bool
	// DefaultLimits apply where none are configured for the entity or resource.
	DefaultLimits []Limit
}

// DefaultNamespace is the namespace of requests that name none.
const DefaultNamespace = "default"

func (r *Request) charge() (Charge, error) {
	ns := r.Namespace
	if ns == "" {
		ns = DefaultNamespace
	}
	k, err := NewKey(ns, r.Entity, r.Resource, "")
	if err != nil {
		return Charge{}, err
	}
	for _, l := range r.DefaultLimits {
		if err := l.Validate(); err != nil {
			return Charge{}, err
		}
	}
	c := Charge{Query: Query{Key: k, Tier: r.Tier, DefaultLimits: r.DefaultLimits}, Cost: EachLimit(1), Settle: r.Settle}
	if r.Consume != nil {
		takes := make([]Take, 0, len(r.Consume))
		for _, name := range slices.Sorted(maps.Keys(r.Consume)) {
			n := r.Consume[name]
			if n < 0 || n > MaxCost {
				return Charge{}, &InvalidCostError{Limit: name, Tokens: n}
			}
			takes = append(takes, Take{Limit: name, Tokens: n})
		}
		c.Cost = TakeNamed(takes...)
	}
	return c, nil
}

// InvalidCostError says that a charge takes less than nothing or more than any
// bucket can hold.
type InvalidCostError struct {
	Limit  string
	Tokens int64
}

func (e *InvalidCostError) Error() string {
	return fmt.Sprintf("consume %s: %d is not between 0 and 1e15", e.Limit, e.Tokens)
}

// Lease is a charge that was made and may still be corrected: adjust it to what
// was really used, then commit it, or roll it back. It is safe for concurrent
// use.
type Lease struct {
	limiter  *Limiter
	decision Decision
	held     []held

	mu struct {
		sync.Mutex
		net   map[string]Millitokens // :: limit -> what Adjust added up
		ended bool
	}
}

// held is one bucket of a lease: the charge's own, or a parent's.
type held struct {
	target Target
	born   Stamp // the incarnation that was charged
	last   Stamp // of the bucket's last write then: its time does not go back
	taken  []slotAmount
}

// ErrLeaseEnded is returned by a lease that was committed or rolled back.
var ErrLeaseEnded = errors.New("the lease has ended")

// Acquire charges what the request asks for, of all limits of its bucket and
// of its parents', or of none. Close the lease, or use [Limiter.Do].
//
// Errors: an [*ExceededError] when it was denied; one that matches
// [ErrUnavailable] when the store gave no answer, or [ErrUnknownNamespace];
// [*InvalidKeyError],
// [*InvalidCostError] or [*InvalidLimitError] when the request can't be asked;
// the context's.
func (l *Limiter) Acquire(ctx context.Context, r Request) (*Lease, error) {
	if l.resolver == nil {
		return nil, errors.New("ratelimit: Config.Resolver is nil")
	}
	c, err := r.charge()
	if err != nil {
		return nil, err
	}
	a := Ask{Now: l.now(), Resolver: l.resolver, Charges: []Charge{c}}
	b := l.batch()
	defer l.recycle(b)
	if err := b.resolve(ctx, l.slack, &a); err != nil {
		return nil, unknownOr(err)
	}
	if err := l.engine.run(ctx, b, false); err != nil {
		return nil, unknownOr(err)
	}
	b.tellStale(a.Resolver)
	d := b.decision(a.Charges)
	if !d.Allowed {
		return nil, newExceeded(&d)
	}
	lease := &Lease{limiter: l, decision: d}
	for i := range b.works {
		w := &b.works[i]
		lease.held = append(lease.held, held{target: *w.target, born: w.state.Born, last: w.t, taken: slices.Clone(w.taken)})
	}
	return lease, nil
}

// Do acquires, calls f, and commits; it rolls back when f returns an error or
// panics. It returns f's error, or that of Acquire or Commit.
func (l *Limiter) Do(ctx context.Context, r Request, f func(context.Context, *Lease) error) (err error) {
	lease, err := l.Acquire(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lease.Close()) }() //nolint:contextcheck // it must give back when the caller's context has ended
	if err := f(ctx, lease); err != nil {
		return err
	}
	return lease.Commit(ctx)
}

// Balance is what is left in the bucket of a request, and in those of its
// parents; its Consume is not asked for. The errors are those of Acquire.
func (l *Limiter) Balance(ctx context.Context, r Request) ([]BucketStatus, error) {
	if l.resolver == nil {
		return nil, errors.New("ratelimit: Config.Resolver is nil")
	}
	r.Consume = map[string]int64{}
	c, err := r.charge()
	if err != nil {
		return nil, err
	}
	d, err := l.Look(ctx, Ask{Now: l.now(), Resolver: l.resolver, Charges: []Charge{c}})
	if err != nil {
		return nil, err
	}
	return d.Buckets, nil
}

// Decision is what Acquire decided.
func (l *Lease) Decision() Decision { return l.decision }

// Adjust adds to what the lease will have charged: more than was asked, or,
// below zero, less. It does no I/O; Commit writes the sum, into debt if need
// be. It returns ErrLeaseEnded on a lease that has ended, and an
// [*InvalidCostError] for an amount out of range.
func (l *Lease) Adjust(delta map[string]int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.ended {
		return ErrLeaseEnded
	}
	for name, n := range delta {
		if n < -MaxCost || n > MaxCost {
			return &InvalidCostError{Limit: name, Tokens: n}
		}
	}
	if l.mu.net == nil {
		l.mu.net = make(map[string]Millitokens, len(delta))
	}
	for name, n := range delta {
		l.mu.net[name] = l.mu.net[name].plus(Milli(n))
	}
	return nil
}

// end marks the lease as ended and returns what Adjust added up.
func (l *Lease) end() (net map[string]Millitokens, already bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	already, l.mu.ended = l.mu.ended, true
	return l.mu.net, already
}

// Commit keeps the charge and writes what Adjust added up, once; where that is
// nothing, it writes nothing. The lease has ended then, also after an error:
// one that matches [ErrUnavailable] says that the adjustment may be lost. On a
// lease that has ended it returns ErrLeaseEnded.
func (l *Lease) Commit(ctx context.Context) error {
	net, already := l.end()
	if already {
		return ErrLeaseEnded
	}
	var errs []error
	for i := range l.held {
		if err := l.adjust(ctx, &l.held[i], net); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Rollback gives back what was charged; adjustments are forgotten. The lease
// has ended then, also after an error that matches [ErrUnavailable]: what is
// lost is refilled. On a lease that has ended it returns ErrLeaseEnded.
func (l *Lease) Rollback(ctx context.Context) error {
	if _, already := l.end(); already {
		return ErrLeaseEnded
	}
	var errs []error
	for i := range l.held {
		h := &l.held[i]
		w := work{now: StampOf(l.limiter.now()), taken: h.taken}
		w.target, w.state.Born, w.t = &h.target, h.born, max(w.now, h.last)
		if err := l.limiter.engine.giveBack(ctx, &w); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Close rolls back unless the lease has ended; it takes 5 seconds at most, and
// does not depend on any context.
func (l *Lease) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := l.Rollback(ctx); err != nil && !errors.Is(err, ErrLeaseEnded) {
		return err
	}
	return nil
}

// adjust books what is net more, and gives back what is net less, in one write.
func (l *Lease) adjust(ctx context.Context, h *held, net map[string]Millitokens) error {
	w := work{now: StampOf(l.limiter.now())}
	w.target, w.settle, w.born, w.slack = &h.target, true, h.born, l.limiter.slack
	for _, name := range slices.Sorted(maps.Keys(net)) {
		if net[name] != 0 {
			w.net = append(w.net, want{name: name, c: net[name]})
		}
	}
	if len(w.net) == 0 {
		return nil
	}
	return l.limiter.engine.adjust(ctx, &w)
}
