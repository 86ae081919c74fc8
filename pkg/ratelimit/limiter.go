package ratelimit

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Config is what a Limiter is made of.
type Config struct {
	Store    Store
	Resolver Resolver // of Acquire, Do and Balance; Decide is given its own
	// Now is the clock; nil is time.Now. Buckets are charged by it, and it may
	// stand still; what a Remote waits for goes by the machine's own.
	Now func() time.Time
	// Slack is how much refill a bucket may take beyond its exact envelope, so
	// that a nearly full bucket need not be guessed full or not; 0 is 50 ms,
	// below 0 is none.
	Slack time.Duration
	// Remote is nil for a store in the process, which is asked directly. For any
	// other it says how: through one actor for each bucket, which merges what
	// waits, and a cache that rejects without asking.
	Remote *Remote
}

// Limiter charges buckets. It is safe for concurrent use.
type Limiter struct {
	engine   engine
	resolver Resolver
	now      func() time.Time
	slack    int64 // milliseconds
	outage   outage
	batches  sync.Pool // of *batch
}

const (
	defaultSlack      = 50 * time.Millisecond
	compensateTimeout = 5 * time.Second // for giving back what was charged for a denial
)

// New makes a Limiter; it does no I/O. A Config without Store is an error, one
// without Resolver serves Decide and Look alone.
func New(cfg Config) (*Limiter, error) {
	if cfg.Store == nil {
		return nil, errors.New("ratelimit: Config.Store is nil")
	}
	l := &Limiter{resolver: cfg.Resolver, now: cfg.Now, slack: max(0, cfg.Slack.Milliseconds())}
	if cfg.Slack == 0 {
		l.slack = defaultSlack.Milliseconds()
	}
	if l.now == nil {
		l.now = time.Now
	}
	if cfg.Remote != nil {
		l.engine = newRemote(cfg.Store, *cfg.Remote, cfg.Now, l.slack)
	} else {
		l.engine = &direct{store: cfg.Store, compensate: compensateTimeout}
	}
	l.batches.New = func() any { return new(batch) }
	return l, nil
}

// Now reads the limiter's clock.
func (l *Limiter) Now() time.Time { return l.now() }

// Ask is what is to be decided: one or more charges that are taken together.
type Ask struct {
	Now      time.Time // by the caller's clock, read once for the request
	Resolver Resolver
	Charges  []Charge
	// OnUnavailable answers when the store can't, where the resolver does not
	// say how; FallbackUnset is FallbackError.
	OnUnavailable Fallback
	// LocalShare is the part of rate and capacity that a bucket in memory has
	// while FallbackLocal answers; 0 is 0.1.
	LocalShare float64
}

// Decide charges all of the charges, or none. A denial is a Decision; charges
// that settle are booked whatever the others decide. Two charges of one bucket
// are taken as one.
//
// When the store gives no answer before the context ends, and none of the
// charges is surely denied, the fallback answers:
// a Decision whose Source is SourceFallback, or, for FallbackError, an error
// that matches [ErrUnavailable]. What had been charged by then is given back
// unless the fallback admits; where the store did not say whether it was
// charged, it counts as charged. A context that has ended before anything was
// asked gives its error, and a namespace that isn't registered one that matches
// [ErrUnknownNamespace].
func (l *Limiter) Decide(ctx context.Context, a Ask) (Decision, error) {
	if err := ctx.Err(); err != nil {
		return Decision{}, err
	}
	b := l.batch()
	defer l.recycle(b)
	err := b.resolve(ctx, l.slack, &a)
	f := b.fallback
	if f == FallbackUnset {
		f = a.OnUnavailable
	}
	if err == nil {
		err = l.engine.run(ctx, b, f == FallbackAllow)
		b.tellStale(a.Resolver)
	}
	if err != nil {
		return l.unavailable(ctx, &a, f, err)
	}
	return b.decision(a.Charges), nil
}

// Look is what Decide would decide, without charging anything.
func (l *Limiter) Look(ctx context.Context, a Ask) (Decision, error) {
	b := l.batch()
	defer l.recycle(b)
	if err := l.look(ctx, b, &a); err != nil {
		return Decision{}, err
	}
	return b.decision(a.Charges), nil
}

// look finds out what an ask is about, and what is there.
func (l *Limiter) look(ctx context.Context, b *batch, a *Ask) error {
	err := b.resolve(ctx, l.slack, a)
	if err == nil {
		err = l.engine.look(ctx, b)
		b.tellStale(a.Resolver)
	}
	return unknownOr(err)
}

// Close waits until what is out to the store has come back, or the context
// ends. The Limiter must not be asked any more.
func (l *Limiter) Close(ctx context.Context) error { return l.engine.close(ctx) }

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
	if b.asked != nil {
		clear(b.asked.jobs)
	}
	*b = batch{works: b.works[:0], entries: b.entries[:0], asked: b.asked}
	l.batches.Put(b)
}
