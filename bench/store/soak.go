package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/extauthz/extauthz/bench/internal/hist"
	"github.com/extauthz/extauthz/bench/internal/meter"
)

// soak charges for a long time at a steady rate, with keys as skewed as real
// ones are, and shows whether what it takes stays the same.
type soak struct {
	length, each time.Duration // in all, and of a row
	rate         float64       // charges that begin in a second
	keys         int
}

const soakCallers = 1024

// zipf gives the index of a key as by Zipf's law with exponent 1: the second key
// half as often as the first, the third a third.
func zipf(keys int) func(*rand.Rand) int {
	below := make([]float64, keys) // :: index of key -> how many shares the keys up to it have
	sum := 0.0
	for i := range below {
		sum += 1 / float64(i+1)
		below[i] = sum
	}
	return func(r *rand.Rand) int {
		i, _ := slices.BinarySearch(below, r.Float64()*sum)
		return min(i, keys-1)
	}
}

func (s *soak) run(ctx context.Context, url string, w io.Writer) (err error) {
	p, err := newProduct(ctx, url, s.keys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close(ctx)) }()
	fmt.Fprintf(w, "%d keys by Zipf's law, %.0f charges a second.\n\n", s.keys, s.rate)
	fmt.Fprintln(w, "| after | charges/s | writes a charge | throttled | CPU µs/charge | p50 ms | p99 ms | connections | goroutines | resident MB |")
	fmt.Fprintln(w, "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	pick, start := zipf(s.keys), time.Now()
	for time.Since(start) < s.length {
		if err := s.row(ctx, p, pick, start, w); err != nil {
			return err
		}
	}
	return nil
}

func (s *soak) row(ctx context.Context, p *product, pick func(*rand.Rand) int, start time.Time, w io.Writer) error {
	calls, throttled := p.calls.calls.Load(), p.calls.throttled.Load()
	before, err := meter.CPU(os.Getpid())
	if err != nil {
		return err
	}
	began := time.Now()
	h, err := s.charge(ctx, p, pick)
	if err != nil {
		return err
	}
	took := time.Since(began)
	after, err1 := meter.CPU(os.Getpid())
	resident, err2 := meter.Resident(os.Getpid())
	sockets, err3 := connections()
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	n := float64(h.Count())
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	fmt.Fprintf(w, "| %v | %.0f | %.2f | %d | %.0f | %.1f | %.1f | %d | %d | %.0f |\n", time.Since(start).Round(time.Second),
		n/took.Seconds(), float64(p.calls.calls.Load()-calls)/n, p.calls.throttled.Load()-throttled,
		float64((after-before).Microseconds())/n, ms(h.Quantile(.5)), ms(h.Quantile(.99)), sockets, runtime.NumGoroutine(), float64(resident)/1e6)
	return nil
}

// charge charges at the rate; a charge's time counts from when it was due.
func (s *soak) charge(ctx context.Context, p *product, pick func(*rand.Rand) int) (*hist.H, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		n       atomic.Int64
		start   = time.Now()
		each    = make([]hist.H, soakCallers)
		callers sync.WaitGroup
	)
	for i := range each {
		callers.Go(func() {
			h, r := &each[i], rand.New(rand.NewPCG(rand.Uint64(), uint64(i))) //nolint:gosec // a load, which guards nothing
			for ctx.Err() == nil {
				due := start.Add(time.Duration(float64(n.Add(1)-1) / s.rate * float64(time.Second)))
				if due.Sub(start) > s.each {
					return
				}
				time.Sleep(time.Until(due))
				if err := p.charge(ctx, pick(r)); err != nil {
					cancel(err)
					return
				}
				h.Add(time.Since(due))
			}
		})
	}
	callers.Wait()
	all := new(hist.H)
	for i := range each {
		all.Merge(&each[i])
	}
	return all, context.Cause(ctx)
}

// connections is how many sockets this process has.
func connections() (n int, err error) {
	const open = "/proc/self/fd"
	files, err := os.ReadDir(open)
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		if to, err := os.Readlink(open + "/" + f.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n, nil
}
