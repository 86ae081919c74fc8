package ratelimit

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

// lateStore answers as a store does that is 5 ms away.
type lateStore struct {
	mu    sync.Mutex
	items map[string]State
}

func (s *lateStore) Apply(_ context.Context, w *Write) (State, error) {
	time.Sleep(5 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	next, ok := w.Execute(s.items[w.Key.ID()])
	if !ok {
		return State{}, &RefusedError{State: next}
	}
	s.items[w.Key.ID()] = next
	return next, nil
}

func (s *lateStore) Get(_ context.Context, k Key) (State, error) {
	time.Sleep(5 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.items[k.ID()], nil
}

// told resolves every query to the target that its charge is of.
type told []Target

func (t told) Resolve(context.Context, Query) (Resolution, error) { return Resolution{Targets: t}, nil }

// What a charge costs the engine for a store elsewhere, without the store: 256
// callers of one bucket, which share its writes, and of 10,000; and a rejection
// that asks nobody. CPU time is of all, the callers and the collection of
// garbage included.
func BenchmarkRemote(b *testing.B) {
	plenty, none := Custom("n", 1e12, 1e6, 24*time.Hour), PerDay("n", 1)
	for _, c := range []struct {
		name          string
		keys, callers int
		limit         Limit
		allowed       bool
	}{
		{"hot", 1, 256, plenty, true},
		{"many", 10_000, 256, plenty, true},
		{"rejected", 1, 1, none, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			l, err := New(Config{Store: &lateStore{items: map[string]State{}}, Remote: &Remote{MaxWritesPerSecond: -1, WriteTimeout: time.Minute}})
			if err != nil {
				b.Fatal(err)
			}
			asks := make([]Ask, c.keys)
			for i := range asks {
				k := mustKey(b, "default", fmt.Sprint("user-", i), "api", "")
				asks[i] = Ask{
					Resolver: told{{Key: k, Limits: []Limit{c.limit}, Expires: true}},
					Charges:  []Charge{{Query: Query{Key: k}, Cost: EachLimit(1)}},
				}
			}
			charge := func(ctx context.Context, i int, want bool) {
				a := asks[i%len(asks)]
				a.Now = l.Now()
				if d, err := l.Decide(ctx, a); err != nil || d.Allowed != want {
					b.Error(d, err)
				}
			}
			charge(b.Context(), 0, true)
			b.ReportAllocs()
			b.ResetTimer()
			start := used()
			var callers sync.WaitGroup
			for n := range c.callers {
				callers.Go(func() {
					ctx, cancel := context.WithCancel(b.Context())
					defer cancel()
					for i := n; i < b.N; i += c.callers {
						charge(ctx, i/c.callers*257+n, c.allowed)
					}
				})
			}
			callers.Wait()
			b.ReportMetric(float64(used()-start)/float64(b.N)/1000, "µs-CPU/op")
			if err := l.Close(b.Context()); err != nil {
				b.Error(err)
			}
		})
	}
}

// used is the CPU time that this process has used.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
