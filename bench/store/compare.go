package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// comparison is what is measured, and how.
type comparison struct {
	latency, duration     time.Duration
	rounds, callers, keys int
	strict                bool
	profile               func(measure func() error) error // nil: none
	profiled              string                           // what it is of: hot, many or bare
}

// The goals.
const (
	leastPerSecond = 20_000 // charges of one bucket
	mostCPU        = 5 * time.Microsecond
	mostP99        = 2.5 // times the store's latency
	mostOverBare   = 1.1 // times the CPU of the SDK's call
)

// round is what one round found.
type round struct {
	hot, many, bare sample
	writes          float64 // per second, of the hot bucket
	throttled       int64
}

func (r *round) ratio() float64 { return float64(r.many.cpu) / float64(r.bare.cpu) }

// run measures round after round, each all in turn, so that what drifts falls on
// all alike.
func (c *comparison) run(ctx context.Context, url string, out io.Writer) error {
	p, err := newProduct(ctx, url, c.keys)
	if err != nil {
		return err
	}
	b := newBare(url, c.callers)
	var rounds []round
	for range c.rounds {
		r, err := c.round(ctx, p, b)
		if err != nil {
			return errors.Join(err, p.close(ctx))
		}
		rounds = append(rounds, r)
	}
	return errors.Join(c.report(rounds, out), p.close(ctx))
}

func (c *comparison) round(ctx context.Context, p *product, b *bare) (r round, err error) {
	calls, throttled := p.calls.calls.Load(), p.calls.throttled.Load()
	start := time.Now()
	if r.hot, err = c.measure(ctx, "hot", 1, p.charge); err != nil {
		return r, err
	}
	r.writes = float64(p.calls.calls.Load()-calls) / time.Since(start).Seconds()
	r.throttled = p.calls.throttled.Load() - throttled
	if r.bare, err = c.measure(ctx, "bare", c.keys, b.charge); err != nil {
		return r, err
	}
	r.many, err = c.measure(ctx, "many", c.keys, p.charge)
	return r, err
}

// measure measures one of the round's parts, and profiles the one that is asked
// for.
func (c *comparison) measure(ctx context.Context, name string, keys int, f charge) (s sample, err error) {
	part := func() error {
		s, err = measure(ctx, c.callers, keys, c.duration, f)
		return err
	}
	if c.profile != nil && c.profiled == name {
		err = c.profile(part)
		return s, err
	}
	err = part()
	return s, err
}

// report prints the rounds, and, if goals are to be met, says which is not.
func (c *comparison) report(rounds []round, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintf(w, "| %d callers, latency %v\t charges/s\t p50\t p99\t CPU/charge\t writes/s\t throttled\t CPU ÷ bare\t\n", c.callers, c.latency)
	fmt.Fprintln(w, "|--\t--:\t--:\t--:\t--:\t--:\t--:\t--:\t")
	line := func(name string, s sample, rest string) {
		fmt.Fprintf(w, "| %s\t %.0f\t %v\t %v\t %.1f µs\t %s\t\n", name, s.perSecond, s.p50.Round(100*time.Microsecond),
			s.p99.Round(100*time.Microsecond), float64(s.cpu)/1000, rest)
	}
	for i := range rounds {
		r := &rounds[i]
		line("one bucket", r.hot, fmt.Sprintf("%.0f\t %d\t", r.writes, r.throttled))
		line(fmt.Sprintf("%d buckets", c.keys), r.many, fmt.Sprintf("\t\t %.2f", r.ratio()))
		line("the SDK alone", r.bare, "\t\t")
	}
	err := w.Flush()
	faults := c.faults(rounds)
	for _, fault := range faults {
		fmt.Fprintln(out, fault)
	}
	if c.strict && len(faults) > 0 {
		err = errors.Join(err, errors.New("a goal is not met"))
	}
	return err
}

// faults are the goals that the median round does not meet.
func (c *comparison) faults(rounds []round) (out []string) {
	check := func(what string, of func(*round) float64, goal float64, least bool) {
		all := make([]float64, len(rounds))
		for i := range rounds {
			all[i] = of(&rounds[i])
		}
		slices.Sort(all)
		if m := all[len(all)/2]; m != goal && m < goal == least {
			out = append(out, fmt.Sprintf("%s: %.3g, the goal is %.3g", what, m, goal))
		}
	}
	check("charges/s of one bucket", func(r *round) float64 { return r.hot.perSecond }, leastPerSecond, true)
	check("CPU of a charge of one bucket, µs", func(r *round) float64 { return float64(r.hot.cpu) / 1000 }, float64(mostCPU)/1000, false)
	check("p99 of one bucket, times the latency", func(r *round) float64 { return float64(r.hot.p99) / float64(c.latency) }, mostP99, false)
	check("throttled writes of one bucket", func(r *round) float64 { return float64(r.throttled) }, 0, false)
	check("CPU of a charge of many buckets, times the SDK's call", func(r *round) float64 { return r.ratio() }, mostOverBare, false)
	return out
}
