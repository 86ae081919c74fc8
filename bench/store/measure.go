package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/extauthz/extauthz/bench/internal/hist"
	"github.com/extauthz/extauthz/bench/internal/meter"
)

// charge takes one token from one of the buckets.
type charge func(ctx context.Context, key int) error

// sample is what one measurement found.
type sample struct {
	perSecond float64
	p50, p99  time.Duration
	cpu       time.Duration // of this process, for each charge
}

const warmUp = 500 * time.Millisecond

// measure has callers charge, each as soon as it was answered, for a time after
// a first one that does not count.
func measure(ctx context.Context, callers, keys int, d time.Duration, f charge) (sample, error) {
	if _, err := load(ctx, callers, keys, warmUp, f); err != nil {
		return sample{}, err
	}
	before, err := meter.CPU(os.Getpid())
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	h, err := load(ctx, callers, keys, d, f)
	if err != nil {
		return sample{}, err
	}
	took := time.Since(start)
	after, err := meter.CPU(os.Getpid())
	if err != nil {
		return sample{}, err
	}
	if h.Count() == 0 {
		return sample{}, fmt.Errorf("nothing was charged in %v", took)
	}
	return sample{
		perSecond: float64(h.Count()) / took.Seconds(),
		p50:       h.Quantile(.5), p99: h.Quantile(.99),
		cpu: (after - before) / time.Duration(h.Count()), //nolint:gosec // a count of charges
	}, nil
}

// load charges for a time. The first error ends it. What a caller does beside its
// charges counts as theirs, so it is little: one look at the clock for each, and a
// time that is written behind the last.
func load(ctx context.Context, callers, keys int, d time.Duration, f charge) (*hist.H, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	end := time.Now().Add(d)
	each := make([][]time.Duration, callers)
	var wg sync.WaitGroup
	for i := range each {
		wg.Go(func() {
			ctx, cancelOwn := context.WithCancel(ctx) // each caller has its own, as a request has
			defer cancelOwn()
			rng := rand.New(rand.NewPCG(7, uint64(i))) //nolint:gosec // a load, which guards nothing
			for start := time.Now(); ctx.Err() == nil && start.Before(end); {
				if err := f(ctx, rng.IntN(keys)); err != nil {
					cancel(err)
					return
				}
				now := time.Now()
				each[i] = append(each[i], now.Sub(start))
				start = now
			}
		})
	}
	wg.Wait()
	all := new(hist.H)
	for _, times := range each {
		for _, t := range times {
			all.Add(t)
		}
	}
	return all, context.Cause(ctx)
}
