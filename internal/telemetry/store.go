package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// The outcomes of a store's operation, as labels.
const (
	outcomeOK         = "ok"
	outcomeRefused    = "refused"     // the condition of a write was false
	outcomeNotApplied = "not_applied" // certainly not made
	outcomeUnknown    = "unknown"     // taken as made
	outcomeError      = "error"       // of a read
)

// Store counts the operations of another store, and notes when one was last
// answered.
type Store struct {
	store      ratelimit.Store
	log        *slog.Logger
	failures   gate
	apply, get operation
	// sample is of how many operations one is timed.
	sample uint64
	// answered is when the store was last known to answer, in Unix nanoseconds.
	answered atomic.Int64
}

var _ ratelimit.Store = (*Store)(nil)

// operation is what is counted of one.
type operation struct {
	name                            string
	ok, refused, notApplied, failed prometheus.Counter
	seconds                         prometheus.Observer
	count                           atomic.Uint64
}

// Store wraps a store. One of sample operations is timed, and marks the store
// as answering: for a store in the process the time taken is smaller than what
// it takes to look at the clock. 0 times all. Why it fails goes to the log, now
// and then.
func (m *Metrics) Store(s ratelimit.Store, sample int, log *slog.Logger) *Store {
	c := &Store{store: s, log: log, failures: gate{every: failuresEvery}, sample: uint64(max(1, sample))}
	m.operation(&c.apply, "apply", outcomeUnknown)
	m.operation(&c.get, "get", outcomeError)
	return c
}

// failuresEvery is how often at most a failing store is logged.
const failuresEvery = 5 * time.Second

func (m *Metrics) operation(o *operation, name, failed string) {
	o.name = name
	o.ok = m.storeOps.WithLabelValues(name, outcomeOK)
	o.failed = m.storeOps.WithLabelValues(name, failed)
	o.seconds = m.storeSeconds.WithLabelValues(name)
	if name == "apply" {
		o.refused = m.storeOps.WithLabelValues(name, outcomeRefused)
		o.notApplied = m.storeOps.WithLabelValues(name, outcomeNotApplied)
	}
}

// Apply is the store's.
func (s *Store) Apply(ctx context.Context, w *ratelimit.Write) (ratelimit.State, error) {
	start := s.begin(&s.apply)
	state, err := s.store.Apply(ctx, w)
	s.end(&s.apply, start, err)
	return state, err
}

// Get is the store's.
func (s *Store) Get(ctx context.Context, k ratelimit.Key) (ratelimit.State, error) {
	start := s.begin(&s.get)
	state, err := s.store.Get(ctx, k)
	s.end(&s.get, start, err)
	return state, err
}

// Probe asks the store for a bucket, to see whether it answers; the operation is
// counted, and noted whatever the sample.
func (s *Store) Probe(ctx context.Context, k ratelimit.Key) error {
	start := time.Now()
	_, err := s.store.Get(ctx, k)
	s.end(&s.get, start, err)
	return err
}

// Answered is when the store was last known to answer; the zero time is never.
func (s *Store) Answered() time.Time {
	if n := s.answered.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

// begin is the time if this operation is of the sample, else the zero time.
func (s *Store) begin(o *operation) time.Time {
	if o.count.Add(1)%s.sample != 0 {
		return time.Time{}
	}
	return time.Now()
}

func (s *Store) end(o *operation, start time.Time, err error) {
	answered := true
	if err == nil {
		o.ok.Inc()
	} else {
		answered = o.failure(err)
		if !answered && !errors.Is(err, ratelimit.ErrUnknownNamespace) { // which clients may have chosen
			s.failed(o, err)
		}
	}
	if start.IsZero() {
		return
	}
	now := time.Now()
	o.seconds.Observe(now.Sub(start).Seconds())
	if answered {
		s.answered.Store(now.UnixNano())
	}
}

// failed logs why an operation failed, now and then.
func (s *Store) failed(o *operation, err error) {
	if held, ok := s.failures.pass(time.Now()); ok {
		s.log.Warn("the store fails", "operation", o.name, "more_before", held, "err", err)
	}
}

// failure counts an error, and reports whether it is an answer all the same.
func (o *operation) failure(err error) (answered bool) {
	var refused *ratelimit.RefusedError
	switch {
	case o.refused == nil:
		o.failed.Inc()
	case errors.As(err, &refused):
		o.refused.Inc()
		return true
	case errors.Is(err, ratelimit.ErrNotApplied):
		o.notApplied.Inc()
	default:
		o.failed.Inc()
	}
	return false
}
