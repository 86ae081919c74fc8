package ratelimit

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"testing"
	"time"
)

// zipf draws keys, the nth in proportion to 1/n, as the sizes of tenants are.
type zipf []float64 // :: key -> the share of it and of those before it

func newZipf(keys int) zipf {
	z, sum := make(zipf, keys), 0.0
	for i := range z {
		sum += 1 / float64(i+1)
		z[i] = sum
	}
	return z
}

func (z zipf) draw(rng *rand.Rand) int { return sort.SearchFloat64s(z, rng.Float64()*z[len(z)-1]) }

// Many keys, of which a few are asked for far more than they may have and most
// now and then: what all of it costs, over 4 processes, and that every bucket
// admits what one exact bucket would.
func TestSimulatedZipf(t *testing.T) {
	const keys, perSecond, length = 100_000, 2000, 40 * time.Second
	z := newZipf(keys)
	for _, seed := range seeds(t, 1) {
		w := newWorld(seed)
		w.record = true
		for range 4 {
			w.process(simSlack, 0, 0)
		}
		type bucket struct {
			target *Target
			want   ideal
			got    tally
		}
		buckets := map[int]*bucket{}
		end := w.clock.Add(length)
		w.arrivals(perSecond, end, func(p *process) {
			n := z.draw(w.rng)
			b := buckets[n]
			if b == nil {
				l := PerMinute("n", 100)
				b = &bucket{target: simTarget(t, fmt.Sprint("key-", n), l), want: ideal{l: l}}
				buckets[n] = b
			}
			b.want.ask(w.clock)
			p.request(b.target, EachLimit(1), time.Second, &b.got)
		})
		w.run(end.Add(5 * time.Second))
		var requests, admitted, wanted, unproven int
		for _, b := range buckets {
			requests, admitted, wanted, unproven = requests+b.got.requests, admitted+b.got.admitted, wanted+b.want.admitted, unproven+b.got.unproven
			w.checkEnvelope(t, b.target.Key, simSlack)
		}
		perAdmitted, perRequest := float64(w.writes)/float64(admitted), float64(w.writes)/float64(requests)
		line := fmt.Sprintf("seed %d: %d requests of %d keys, %d admitted (%.3f of ideal), %d writes (%d refused): %.3f per admitted, %.3f per request",
			seed, requests, len(buckets), admitted, float64(admitted)/float64(wanted), w.writes, w.refused, perAdmitted, perRequest)
		t.Log(line)
		if unproven > 0 || perAdmitted > 1.2 || perRequest > 0.88 || float64(admitted) < 0.98*float64(wanted) {
			t.Errorf("%s; %d rejected without a state that was short", line, unproven)
		}
	}
}
