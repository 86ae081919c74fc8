package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/extauthz/extauthz/bench/internal/meter"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// measurement is what is measured.
type measurement struct {
	live, churn, callers int
	charging             time.Duration
}

// held is what buckets take that are held at once.
type held struct {
	bytes    int64 // live, after a collection
	resident int64 // of the process, while they are charged
}

// churned is what ever new keys leave behind.
type churned struct {
	most     int      // buckets at once
	quarters [4]int64 // bytes held after each quarter of the hour
}

// subject is a limiter over a store in the process.
type subject struct {
	limiter *ratelimit.Limiter
	store   *embedstore.Store
	limits  []ratelimit.Limit
}

func newSubject(limits ...ratelimit.Limit) (*subject, error) {
	s := &subject{store: embedstore.New(embedstore.Config{}), limits: limits}
	var err error
	s.limiter, err = ratelimit.New(ratelimit.Config{Store: s.store})
	return s, err
}

// Resolve gives every key the same limits.
func (s *subject) Resolve(_ context.Context, q ratelimit.Query) (ratelimit.Resolution, error) {
	return ratelimit.Resolution{Targets: []ratelimit.Target{{Key: q.Key, Limits: s.limits, Expires: true}}}, nil
}

// charge takes a token from the bucket of an entity, whose key is made for it as
// a request's is.
func (s *subject) charge(ctx context.Context, entity int, now time.Time) error {
	k, err := ratelimit.NewKey("default", "user-"+strconv.Itoa(entity), "api", "")
	if err != nil {
		return err
	}
	d, err := s.limiter.Decide(ctx, ratelimit.Ask{Now: now, Resolver: s, Charges: []ratelimit.Charge{{
		Query: ratelimit.Query{Key: k}, Cost: ratelimit.EachLimit(1),
	}}})
	if err == nil && !d.Allowed {
		err = fmt.Errorf("a charge was denied: %s", d.Reason)
	}
	return err
}

// held fills the store, and then charges its buckets at random. The limit
// refills so slowly that none is full again.
func (m *measurement) held(ctx context.Context) (h held, err error) {
	before := live()
	s, err := newSubject(ratelimit.PerDay("requests", 10_000).WithBurst(1_000_000_000))
	if err != nil {
		return h, err
	}
	start := ratelimit.Epoch.Add(time.Hour)
	for i := range m.live {
		if err := s.charge(ctx, i, start); err != nil {
			return h, err
		}
	}
	h.bytes = live() - before
	began := time.Now()
	err = m.each(func(caller int) error {
		rng := rand.New(rand.NewPCG(1, uint64(caller))) //nolint:gosec // a load, which guards nothing
		for time.Since(began) < m.charging {
			if err := s.charge(ctx, rng.IntN(m.live), start); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return h, err
	}
	h.resident, err = meter.Resident(os.Getpid())
	if n := s.store.Len(); n != m.live {
		return h, fmt.Errorf("%d buckets are held, not %d", n, m.live)
	}
	return h, err
}

// churned charges ever new keys, evenly over an hour, and sweeps every 10 seconds
// of it, as the service does. Each bucket is full again after 36 seconds.
func (m *measurement) churned(ctx context.Context) (c churned, err error) {
	s, err := newSubject(ratelimit.PerHour("requests", 100))
	if err != nil {
		return c, err
	}
	before := live()
	start := ratelimit.Epoch.Add(time.Hour)
	var most atomic.Int64
	for q := range c.quarters {
		var key atomic.Int64
		key.Store(int64(m.churn) * int64(q) / 4)
		end := int64(m.churn) * int64(q+1) / 4
		err := m.each(func(int) error {
			for {
				i := key.Add(1)
				if i > end {
					return nil
				}
				now := start.Add(time.Duration(float64(time.Hour) * float64(i) / float64(m.churn)))
				if err := s.charge(ctx, int(i), now); err != nil {
					return err
				}
				if i%(int64(m.churn)/360) == 0 {
					s.store.Sweep(ratelimit.StampOf(now))
				}
				if i%100_000 == 0 {
					n := int64(s.store.Len())
					for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
					}
				}
			}
		})
		if err != nil {
			return c, err
		}
		c.quarters[q] = live() - before
	}
	c.most = int(most.Load())
	runtime.KeepAlive(s)
	return c, nil
}

// each has every caller do its part, and returns the first error.
func (m *measurement) each(f func(caller int) error) error {
	failed := make(chan error, m.callers)
	var wg sync.WaitGroup
	for i := range m.callers {
		wg.Go(func() {
			if err := f(i); err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	close(failed)
	return <-failed
}

// live is how many bytes are live, after what is garbage was collected.
func live() int64 {
	runtime.GC()
	runtime.GC() // what the first one's pools still held
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc) //nolint:gosec // far below 2^63
}

// pauses begins to watch how long the collection of garbage stops the process,
// and returns what tells it: how often, by the buckets of a histogram.
func pauses() func() metrics.Float64Histogram {
	read := func() metrics.Float64Histogram {
		samples := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
		metrics.Read(samples)
		return *samples[0].Value.Float64Histogram()
	}
	before := read()
	return func() metrics.Float64Histogram {
		after := read()
		for i := range after.Counts {
			after.Counts[i] -= before.Counts[i]
		}
		return after
	}
}

// quantile is how many values there are, and the upper end of the bucket of the
// one below which a part of them lies.
func quantile(h metrics.Float64Histogram, part float64) (n uint64, at time.Duration) {
	for _, c := range h.Counts {
		n += c
	}
	rank, seen := uint64(math.Ceil(part*float64(n))), uint64(0)
	for i, c := range h.Counts {
		if seen += c; n > 0 && seen >= rank {
			return n, time.Duration(h.Buckets[i+1] * float64(time.Second))
		}
	}
	return n, 0
}
