package ratelimit

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// scale is one point of a series: how many processes and keys there are, how
// uneven the keys are (the nth is asked for in proportion to 1/n^skew), how many
// requests come, spread over the processes without regard to the key, and what
// each key may have.
type scale struct {
	series      string
	x           float64 // the value that the series varies
	procs, keys int
	skew        float64
	perSecond   float64
	length      time.Duration
	limit       Limit
}

// scaled is what came of it.
type scaled struct {
	requests, admitted, ideal, late, failed int
	writes, refused, throttled              int
	over                                    int           // keys that had more than their envelope
	half, most                              time.Duration // of what waited for the store: median and p99
	waited                                  float64       // the part of all requests that did
	entries, kilobytes                      float64       // that a process remembers, mean
	actors                                  float64       // of a process, mean at the end
	took                                    time.Duration // real
}

// scaleBucket is what one key has got.
type scaleBucket struct {
	target   *Target
	want     ideal
	admitted int
}

// scaleDeadline is what a decision may take where the caller names no time.
const scaleDeadline = 250 * time.Millisecond

func (c *scale) run(t *testing.T, seed uint64) (r scaled) {
	t.Helper()
	began := time.Now()
	w := newWorld(seed)
	w.capacity = 1000
	for range c.procs {
		w.process(simSlack, 0, 0) // max_writes_per_second raised beyond what they need
	}
	z, buckets := newSkewed(c.keys, c.skew), make([]*scaleBucket, c.keys)
	var waits []time.Duration
	end := w.clock.Add(c.length)
	w.arrivals(c.perSecond, end, func(p *process) {
		n := z.draw(w.rng)
		b := buckets[n]
		if b == nil {
			b = &scaleBucket{target: simTarget(t, fmt.Sprint("key-", n), c.limit), want: ideal{l: c.limit}}
			buckets[n] = b
		}
		b.want.ask(w.clock)
		r.requests++
		p.decide(b, func(j *job, waited time.Duration) {
			switch {
			case j.abandoned: // counted when it was
			case j.outcome == outcomeApplied:
				b.admitted++
				r.admitted++
			case j.outcome == outcomeFailed:
				r.failed++
			}
			if waited > 0 {
				waits = append(waits, waited)
			}
		}, &r.late)
	})
	w.run(end.Add(2 * time.Second))
	slack := float64(c.limit.Rate) / c.limit.Period.Seconds() * (c.length + 2*time.Second + simSlack).Seconds()
	for _, b := range buckets {
		if b == nil {
			continue
		}
		r.ideal += b.want.admitted
		if float64(b.admitted) > float64(c.limit.Burst)+slack {
			r.over++
		}
	}
	slices.Sort(waits)
	if n := len(waits); n > 0 {
		r.half, r.most, r.waited = waits[n/2], waits[n*99/100], float64(n)/float64(r.requests)
	}
	for _, p := range w.procs {
		entries, bytes := p.seen.size()
		r.entries += float64(entries) / float64(c.procs)
		r.kilobytes += float64(bytes) / 1024 / float64(c.procs)
		r.actors += float64(p.len()) / float64(c.procs)
	}
	r.writes, r.refused, r.throttled = w.writes, w.refused, w.throttled
	r.took = time.Since(began)
	return r
}

// decide charges a bucket and tells what came of it, and how long that took. A
// caller whose time is over is late, and gone.
func (p *process) decide(b *scaleBucket, tell func(*job, time.Duration), late *int) {
	start := p.world.clock
	j := &job{kind: jobCharge, target: b.target, costs: []Cost{EachLimit(1)}}
	j.done = func(j *job) { tell(j, p.world.clock.Sub(start)) }
	p.submit(b.target.Key, j)
	if j.outcome == outcomeNone {
		p.after(scaleDeadline, func() {
			if j.outcome == outcomeNone && p.abandon(b.target.Key, j, false) {
				*late++
			}
		})
	}
}

// skewed draws keys, the nth in proportion to 1/n^skew.
type skewed struct {
	zipf
	keys int
	flat bool
}

func newSkewed(keys int, skew float64) skewed {
	s := skewed{keys: keys, flat: skew == 0}
	if s.flat {
		return s
	}
	s.zipf = make(zipf, keys)
	sum := 0.0
	for i := range s.zipf {
		sum += math.Pow(float64(i+1), -skew)
		s.zipf[i] = sum
	}
	return s
}

func (s skewed) draw(rng *rand.Rand) int {
	if s.flat {
		return rng.IntN(s.keys)
	}
	return s.zipf.draw(rng)
}

// scales are the series of docs/benchmarks.md: each varies one thing of a middle
// point, and the last is the largest.
func scales() (out []scale) {
	middle := scale{
		procs: 64, keys: 1_000_000, skew: 1, perSecond: 100_000, length: 10 * time.Second, limit: PerSecond("n", 100),
	}
	for _, n := range []int{1, 4, 16, 64, 256, 1000} {
		c := middle
		c.series, c.x, c.procs = "processes", float64(n), n
		out = append(out, c)
	}
	for _, s := range []float64{0, 0.5, 0.8, 1, 1.2, 1.5} {
		c := middle
		c.series, c.x, c.skew = "skew", s, s
		out = append(out, c)
	}
	for _, o := range []float64{0.1, 0.5, 1, 2, 10, 100} {
		c := middle
		c.series, c.x, c.skew, c.keys, c.limit = "overload", o, 0, 100, PerSecond("n", 20)
		c.perSecond = o * 20 * 100
		out = append(out, c)
	}
	c := middle
	c.series, c.x, c.procs, c.keys, c.perSecond, c.length = "largest", 1, 1000, 10_000_000, 1_000_000, 5*time.Second
	return append(out, c)
}

// TestSimulatedScale drives the engine to 1,000 processes, 10 million keys and 1
// million requests a second, and writes what came of it to the file that
// EXTAUTHZ_SCALE names, as comma-separated values: `make bench-scale` plots
// them. Without that it tries one small point.
func TestSimulatedScale(t *testing.T) {
	path, points := os.Getenv("EXTAUTHZ_SCALE"), scales()
	if path == "" {
		points = []scale{{procs: 16, keys: 2000, skew: 1, perSecond: 4000, length: 3 * time.Second, limit: PerSecond("n", 20)}}
	}
	only, lines := os.Getenv("EXTAUTHZ_SCALE_SERIES"), []string{scaleHeader}
	for _, c := range points {
		if only != "" && only != c.series {
			continue
		}
		r := c.run(t, 1)
		lines = append(lines, c.line(&r))
		t.Log(lines[len(lines)-1], r.took)
		if r.over > 0 {
			t.Errorf("%d keys had more than their envelope", r.over)
		}
		if path == "" && float64(r.admitted) < 0.97*float64(r.ideal) {
			t.Errorf("%d admitted, an exact bucket for each key admits %d", r.admitted, r.ideal)
		}
	}
	if path == "" {
		return
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

const scaleHeader = "series,x,processes,keys,skew,requests_per_second,seconds,requests,admitted,ideal,late,failed,writes,refused,throttled,p50_ms,p99_ms,waited,entries,kilobytes,actors"

func (c *scale) line(r *scaled) string {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return fmt.Sprintf("%s,%g,%d,%d,%g,%.0f,%g,%d,%d,%d,%d,%d,%d,%d,%d,%.2f,%.2f,%.4f,%.0f,%.0f,%.1f",
		c.series, c.x, c.procs, c.keys, c.skew, c.perSecond, c.length.Seconds(), r.requests, r.admitted, r.ideal, r.late, r.failed,
		r.writes, r.refused, r.throttled, ms(r.half), ms(r.most), r.waited, r.entries, r.kilobytes, r.actors)
}
