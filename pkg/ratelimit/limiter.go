package ratelimit

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Config is what a Limiter is made of.
type Config struct {
	Store    Store
	Resolver Resolver // of Acquire, Do and Balance; Decide is given its own
	// Now is the clock; nil is time.Now. It is read once for each request.
	Now func() time.Time
	// Slack is how much refill a bucket may take beyond its exact envelope, so
	// that a nearly full bucket need not be guessed full or not; 0 is 50 ms,
	// below 0 is none.
	Slack time.Duration
	// CompensateTimeout bounds giving back what was charged for a request that
	// was then denied; 0 is 5 seconds.
	CompensateTimeout time.Duration
}

// Limiter charges buckets. It is safe for concurrent use.
type Limiter struct {
	engine     engine
	resolver   Resolver
	now        func() time.Time
	compensate time.Duration
	batches    sync.Pool // of *batch
}

const (
	defaultSlack      = 50 * time.Millisecond
	defaultCompensate = 5 * time.Second
)

// New makes a Limiter; it does no I/O. A Config without Store is an error, one
// without Resolver serves Decide and Look alone.
func New(cfg Config) (*Limiter, error) {
	if cfg.Store == nil {
		return nil, errors.New("ratelimit: Config.Store is nil")
	}
	l := &Limiter{resolver: cfg.Resolver, now: cfg.Now, compensate: cfg.CompensateTimeout}
	l.engine = engine{store: cfg.Store, slack: max(0, cfg.Slack.Milliseconds())}
	if cfg.Slack == 0 {
		l.engine.slack = defaultSlack.Milliseconds()
	}
	if l.now == nil {
		l.now = time.Now
	}
	if l.compensate == 0 {
		l.compensate = defaultCompensate
	}
	l.batches.New = func() any { return new(batch) }
	return l, nil
}

// Now reads the limiter's clock.
func (l *Limiter) Now() time.Time { return l.now() }

// Decide charges all of the charges, or none. A denial is a Decision; charges
// that settle are booked whatever the others decide.
//
// Two charges of one bucket are taken as one. An error matches
// [ErrUnavailable], or is the context's; what had been charged by then was
// given back, except where the store did not say whether it was charged.
func (l *Limiter) Decide(ctx context.Context, now time.Time, r Resolver, charges []Charge) (Decision, error) {
	b := l.batch()
	defer l.recycle(b)
	if err := b.run(ctx, l, now, r, charges); err != nil {
		return Decision{OnUnavailable: b.fallback}, err
	}
	return b.decision(charges), nil
}

// Look is what Decide would decide, without charging anything.
func (l *Limiter) Look(ctx context.Context, now time.Time, r Resolver, charges []Charge) (Decision, error) {
	b := l.batch()
	defer l.recycle(b)
	err := b.resolve(ctx, l, now, r, charges)
	if err == nil {
		err = b.look(ctx, &l.engine)
	}
	if err != nil {
		return Decision{OnUnavailable: b.fallback}, err
	}
	return b.decision(charges), nil
}

func (l *Limiter) batch() *batch { return l.batches.Get().(*batch) }

func (l *Limiter) recycle(b *batch) {
	if cap(b.works) > 16 { // of a large request: not worth keeping
		return
	}
	for i := range b.works {
		w := &b.works[i]
		limits, wants, taken, costs := w.write.Limits, w.wants, w.taken, w.costs
		clear(limits[:cap(limits)])
		clear(wants[:cap(wants)])
		clear(taken[:cap(taken)])
		clear(costs[:cap(costs)])
		*w = work{costs: costs[:0], taken: taken[:0]}
		w.write.Limits, w.wants = limits[:0], wants[:0]
	}
	clear(b.entries)
	*b = batch{works: b.works[:0], entries: b.entries[:0]}
	l.batches.Put(b)
}

// batch is one decision on its way: the buckets that it concerns.
type batch struct {
	entries  []entry // one for each charge's bucket and each of its parents'
	works    []work  // one for each bucket that is charged
	fallback Fallback
	disabled bool // a bucket's mode denies
	required bool // no limits apply to a charge that requires some
}

// entry is one charge's interest in one bucket.
type entry struct {
	charge, parent int
	target         *Target // nil: no limits apply
	tier           string
	metadata       map[string]string
	work           int // index, or -1 when the bucket isn't charged
}

// resolve finds out which buckets the charges concern.
func (b *batch) resolve(ctx context.Context, l *Limiter, now time.Time, r Resolver, charges []Charge) error {
	t := StampOf(now)
	for i := range charges {
		res, err := r.Resolve(ctx, charges[i].Query)
		if err != nil {
			return &unavailableError{err}
		}
		if i == 0 {
			b.fallback = res.OnUnavailable
		}
		e := entry{charge: i, tier: res.Tier, metadata: res.Metadata, work: -1}
		if len(res.Targets) == 0 {
			b.entries = append(b.entries, e)
			b.required = b.required || charges[i].Required && !charges[i].Settle
		}
		for j := range res.Targets {
			e.parent, e.target, e.work = j, &res.Targets[j], -1
			switch {
			case e.target.Mode == ModeDisabled:
				b.disabled = b.disabled || !charges[i].Settle
			case e.target.Mode != ModeBypass && len(e.target.Limits) > 0:
				e.work = b.workOf(e.target, &charges[i], t, l.engine.slack)
			}
			b.entries = append(b.entries, e)
		}
	}
	return nil
}

// workOf is the index of the work on a target's bucket, with the charge's cost
// added to it.
func (b *batch) workOf(t *Target, c *Charge, now Stamp, slack int64) int {
	for i := range b.works {
		if w := &b.works[i]; w.target.Key == t.Key && w.settle == c.Settle {
			w.costs = append(w.costs, c.Cost)
			return i
		}
	}
	if len(b.works) < cap(b.works) {
		b.works = b.works[:len(b.works)+1] // its slices are used again
	} else {
		b.works = append(b.works, work{})
	}
	w := &b.works[len(b.works)-1]
	w.target, w.settle, w.now, w.t, w.slack = t, c.Settle, now, now, slack
	w.costs = append(w.costs, c.Cost)
	return len(b.works) - 1
}

func (b *batch) look(ctx context.Context, e *engine) error {
	for i := range b.works {
		if err := e.look(ctx, &b.works[i]); err != nil {
			return err
		}
	}
	return nil
}

// run charges: first it looks at every bucket, so that a denial costs no
// write; then settlements; then the charges, one after the other, giving back
// when a later one is denied.
func (b *batch) run(ctx context.Context, l *Limiter, now time.Time, r Resolver, charges []Charge) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.resolve(ctx, l, now, r, charges); err != nil {
		return err
	}
	if err := b.look(ctx, &l.engine); err != nil {
		return err
	}
	for i := range b.works {
		if w := &b.works[i]; w.settle {
			if err := l.engine.charge(ctx, w); err != nil {
				return err
			}
		}
	}
	for i := range b.works {
		if b.denied() {
			break
		}
		w := &b.works[i]
		if w.settle {
			continue
		}
		if err := l.engine.charge(ctx, w); err != nil {
			return errors.Join(err, b.compensate(ctx, l))
		}
	}
	if b.denied() {
		return b.compensate(ctx, l)
	}
	return nil
}

// denied reports whether the charges can't all be admitted.
func (b *batch) denied() bool {
	return b.disabled || b.required || slices.ContainsFunc(b.works, func(w work) bool { return !w.settle && w.denied() })
}

// compensate gives back what was charged for a request that is not admitted.
// It goes on when the caller has gone away.
func (b *batch) compensate(ctx context.Context, l *Limiter) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.compensate)
	defer cancel()
	var errs []error
	for i := range b.works {
		if w := &b.works[i]; !w.settle {
			if err := l.engine.giveBack(ctx, w); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
