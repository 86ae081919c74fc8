package ratelimit

import (
	"fmt"
	"testing"
	"time"
)

// ideal is what one exact bucket admits of the same arrivals.
type ideal struct {
	l        Limit
	level    float64
	last     time.Time
	admitted int
}

func (b *ideal) ask(now time.Time) {
	rate := float64(b.l.Rate) / b.l.Period.Seconds()
	if b.last.IsZero() {
		b.level, b.last = float64(b.l.Burst), now
	}
	b.level = min(float64(b.l.Burst), b.level+now.Sub(b.last).Seconds()*rate)
	b.last = now
	if b.level >= 1 {
		b.level--
		b.admitted++
	}
}

func simTarget(t *testing.T, entity string, limits ...Limit) *Target {
	return &Target{Key: mustKey(t, "default", entity, "api", ""), Limits: limits, Expires: true}
}

// The price of a charge, and what is admitted of what one exact bucket would:
// a change that makes charging dearer fails here.
func TestSimulatedCost(t *testing.T) {
	for _, c := range []struct {
		name      string
		procs     int
		limit     Limit
		perSecond float64
		seconds   float64
		// bounds
		perAdmitted, perRequest, ideal float64
	}{
		{"2% load", 4, PerMinute("n", 100), 0.02 * 100 / 60, 60_000, 1.05, 0, 0.98},
		{"50% load", 4, PerMinute("n", 100), 0.5 * 100 / 60, 3_000, 1.4, 0, 0.98},
		{"1.1x overload on 1000/s", 4, PerSecond("n", 1000), 1100, 20, 0, 0, 0.98},
		{"2x overload on 500/s", 4, PerSecond("n", 500), 1000, 20, 0, 0.55, 0.98},
		{"10000/s on 100/s", 4, PerSecond("n", 100), 10_000, 12, 0, 0.02, 0.98},
		{"100/s on 1/s", 4, PerSecond("n", 1), 100, 100, 0, 0.08, 0.98},
		{"capacity 1", 4, PerSecond("n", 20).WithBurst(1), 200, 60, 0, 0, 0.98},
		{"capacity 2", 4, PerSecond("n", 20).WithBurst(2), 200, 60, 0, 0, 0.98},
		{"capacity 5", 4, PerSecond("n", 20).WithBurst(5), 200, 60, 0, 0, 0.98},
		{"capacity 1000", 4, PerSecond("n", 500).WithBurst(1000), 1000, 30, 0, 0, 0.98},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, seed := range seeds(t, 1) {
				w := newWorld(seed)
				w.record = true
				for range c.procs {
					w.process(50*time.Millisecond, 0, 0)
				}
				target := simTarget(t, "hot", c.limit)
				var got tally
				want := ideal{l: c.limit}
				end := w.clock.Add(time.Duration(c.seconds * float64(time.Second)))
				w.arrivals(c.perSecond, end, func(p *process) {
					want.ask(w.clock)
					p.request(target, EachLimit(1), time.Second, &got)
				})
				w.run(end.Add(5 * time.Second))
				perAdmitted := float64(w.writes) / float64(got.admitted)
				perRequest := float64(w.writes) / float64(got.requests)
				share := float64(got.admitted) / float64(want.admitted)
				line := fmt.Sprintf("seed %d: %d requests, %d admitted (%.3f of ideal), %d writes (%d refused): %.3f per admitted, %.4f per request; %d late, %d failed, slowest %v",
					seed, got.requests, got.admitted, share, w.writes, w.refused, perAdmitted, perRequest, got.late, got.failed, got.slowest)
				t.Log(line)
				w.checkEnvelope(t, target.Key, 50*time.Millisecond)
				if got.unproven > 0 {
					t.Errorf("%d rejected without a state that was short", got.unproven)
				}
				if c.perAdmitted > 0 && perAdmitted > c.perAdmitted || c.perRequest > 0 && perRequest > c.perRequest || share < c.ideal {
					t.Error(line)
				}
			}
		})
	}
}
