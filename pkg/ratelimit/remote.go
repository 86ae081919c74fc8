package ratelimit

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// Remote says how a store that is not in the process is asked.
type Remote struct {
	// MaxWritesPerSecond bounds the writes of this process; 0 is 2,000, below 0
	// is no bound. Beyond it the fallback answers, for new buckets before known
	// ones.
	MaxWritesPerSecond float64
	// Entries and Bytes bound the rejection cache; 0 is 100,000 and 64 MiB.
	Entries int
	Bytes   int64
	// WriteTimeout bounds one request to the store, whoever waits for it; 0 is
	// 500 ms.
	WriteTimeout time.Duration
}

const (
	defaultMaxWrites    = 2000
	defaultEntries      = 100_000
	defaultBytes        = 64 << 20
	defaultWriteTimeout = 500 * time.Millisecond
)

// remote is the engine for a store that is somewhere else.
type remote struct {
	*actors
	world *realWorld
}

// newRemote makes one; now is the clock, nil for the machine's own.
func newRemote(store Store, cfg Remote, now func() time.Time, slack int64) *remote {
	if cfg.MaxWritesPerSecond == 0 {
		cfg.MaxWritesPerSecond = defaultMaxWrites
	}
	if cfg.Entries == 0 {
		cfg.Entries = defaultEntries
	}
	if cfg.Bytes == 0 {
		cfg.Bytes = defaultBytes
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = defaultWriteTimeout
	}
	w := &realWorld{store: store, clock: now, timeout: cfg.WriteTimeout, workers: newWorkers()}
	return &remote{
		actors: newActors(w, time.Duration(slack)*time.Millisecond, newSeen(cfg.Entries, cfg.Bytes), cfg.MaxWritesPerSecond),
		world:  w,
	}
}

// realWorld is the engine's world in production. A request to the store has a
// context of its own, never the caller's: a cancelled one closes its
// connection and is applied all the same.
type realWorld struct {
	store   Store
	clock   func() time.Time // nil: the machine's own
	timeout time.Duration
	out     atomic.Int64 // requests
	workers workers
}

func (w *realWorld) now() instant {
	now := time.Now()
	if w.clock == nil {
		return instant{now, now}
	}
	return instant{w.clock(), now}
}

func (w *realWorld) after(d time.Duration, f func())      { time.AfterFunc(d, f) }
func (w *realWorld) jitter(d time.Duration) time.Duration { return rand.N(d + 1) } //nolint:gosec // spreads retries, guards nothing

func (w *realWorld) apply(wr *Write, done func(State, error)) {
	w.ask(done, func(ctx context.Context) (State, error) { return w.store.Apply(ctx, wr) })
}

func (w *realWorld) get(k Key, done func(State, error)) {
	w.ask(done, func(ctx context.Context) (State, error) { return w.store.Get(ctx, k) })
}

func (w *realWorld) ask(done func(State, error), f func(context.Context) (State, error)) {
	w.out.Add(1)
	w.workers.do(func() {
		defer w.out.Add(-1)
		ctx, cancel := context.WithTimeout(context.Background(), w.timeout)
		s, err := f(ctx)
		cancel()
		done(s, err)
	})
}

// close waits for what is out, and for what follows from it.
func (r *remote) close(ctx context.Context) error {
	defer r.world.workers.end()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for r.world.out.Load() > 0 || r.busy() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// look plans from what was seen last where it is fresh, else from a read.
func (r *remote) look(ctx context.Context, b *batch) error {
	return r.ask(ctx, b, func(*work) jobKind { return jobLook }, false)
}

// run rejects from memory what is known to be exhausted, for free; then it
// charges every bucket at once, and gives back what succeeded where another
// was denied. Of a single bucket its actor knows as much.
func (r *remote) run(ctx context.Context, b *batch, keep bool) error {
	if len(b.works) > 1 {
		now := r.world.now()
		for i := range b.works {
			if w := &b.works[i]; !w.settle {
				r.peek(w, now)
			}
		}
	}
	denied := b.denied()
	err := r.ask(ctx, b, func(w *work) jobKind {
		switch {
		case w.settle:
			return jobSettle
		case denied:
			return jobNone
		}
		return jobCharge
	}, keep)
	if b.denied() && b.settled() {
		err = nil // it stands, whatever became of the others
	}
	keep = keep && !errors.Is(err, ErrUnknownNamespace) // which admits nobody
	if !denied && (b.denied() || err != nil && !keep) {
		r.undo(b)
	}
	return err
}

// peek judges a charge by what was seen last of its bucket.
func (r *remote) peek(w *work, now instant) {
	v, ok := r.seen.get(w.target.Key.ID())
	if !ok {
		return
	}
	a := actor{known: true, sight: v}
	w.observe(v.state)
	w.t = a.stamp(now)
	w.ask()
	j := job{kind: jobCharge, target: w.target, wants: w.wants}
	switch a.judge(&w.situation, &j, now) {
	case outcomeShort:
		w.verdict, w.cached, w.rest, w.by = verdictShort, true, j.rest, j.by
	case outcomeNever:
		w.verdict, w.cached = verdictNever, true
	default:
		w.verdict = verdictNothing
	}
}

// asked is what a batch needs to wait for its jobs. It is used again, unless one
// was given up.
type asked struct {
	done chan *job
	tell func(*job)
	jobs []job // by work; of jobNone where nothing is asked
}

// asking makes room for as many jobs as there are works.
func (b *batch) asking() *asked {
	n := len(b.works)
	if b.asked == nil || cap(b.asked.jobs) < n {
		done := make(chan *job, n)
		b.asked = &asked{done: done, tell: func(j *job) { done <- j }, jobs: make([]job, n)}
	}
	b.asked.jobs = b.asked.jobs[:n]
	return b.asked
}

// ask has each work's bucket do a job, and waits for all of them.
func (r *remote) ask(ctx context.Context, b *batch, kind func(*work) jobKind, keep bool) error {
	a := b.asking()
	for i := range b.works {
		w, j := &b.works[i], &a.jobs[i]
		if j.kind = kind(w); j.kind != jobNone {
			j.target, j.done = w.target, a.tell
			j.costs, j.wants, j.taken = append(j.room.costs[:0], w.costs...), j.room.wants[:0], j.room.taken[:0]
			r.submit(w.target.Key, j)
		}
	}
	var failed error
	for i := range a.jobs {
		j := &a.jobs[i]
		if j.kind == jobNone {
			continue
		}
		if !r.wait(ctx, b.works[i].target.Key, j, a.done, keep) {
			failed = &unavailableError{ctx.Err()}
			b.asked = nil // the job will be told of later
			continue
		}
		b.works[i].settleWith(j)
		if j.outcome == outcomeFailed {
			failed = &unavailableError{j.err}
		}
	}
	return failed
}

// wait waits until a job is done, or gives it up when the context ends.
func (r *remote) wait(ctx context.Context, k Key, j *job, done chan *job, keep bool) bool {
	for !j.told {
		select {
		case d := <-done:
			d.told = true
		case <-ctx.Done():
			if r.abandon(k, j, keep) {
				return false
			}
			for !j.told { // it has its outcome, and is told in a moment
				(<-done).told = true
			}
		}
	}
	return true
}

// settleWith takes in what became of a job.
func (w *work) settleWith(j *job) {
	w.state, w.t, w.cached = j.state, max(w.now, j.t), j.cached
	w.rest, w.by = j.rest, j.by
	if j.outcome != outcomeApplied || j.kind == jobLook {
		w.ask()
	}
	switch j.outcome {
	case outcomeApplied:
		w.verdict, w.applied = verdictNothing, j.kind != jobLook
		w.taken = append(w.taken[:0], j.taken...)
	case outcomeShort:
		w.verdict = verdictShort
	case outcomeNever:
		w.verdict = verdictNever
	case outcomeNone, outcomeFailed:
	}
}

// undo gives back what was charged for a request that is not admitted. Nobody
// waits for it.
func (r *remote) undo(b *batch) {
	for i := range b.works {
		w := &b.works[i]
		if w.settle || len(w.taken) == 0 {
			continue
		}
		r.submit(w.target.Key, credit(w, func(*job) {}))
		w.taken = w.taken[:0]
	}
}

func credit(w *work, done func(*job)) *job {
	return &job{kind: jobCredit, target: w.target, born: w.state.Born, back: slices.Clone(w.taken), done: done}
}

func (r *remote) giveBack(ctx context.Context, w *work) error {
	if len(w.taken) == 0 {
		return nil
	}
	return r.one(ctx, w, func(done func(*job)) *job { return credit(w, done) })
}

func (r *remote) adjust(ctx context.Context, w *work) error {
	return r.one(ctx, w, func(done func(*job)) *job {
		return &job{kind: jobSettle, target: w.target, net: slices.Clone(w.net), born: w.born, done: done}
	})
}

// one does a single job that is done whoever waits for it.
func (r *remote) one(ctx context.Context, w *work, of func(done func(*job)) *job) error {
	done := make(chan struct{})
	j := of(func(*job) { close(done) })
	r.submit(w.target.Key, j)
	select {
	case <-done:
		if j.outcome == outcomeFailed {
			return &unavailableError{j.err}
		}
		w.observe(j.state)
		return nil
	case <-ctx.Done():
		return &unavailableError{ctx.Err()}
	}
}
