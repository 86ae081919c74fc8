package ratelimit

import (
	"testing"
	"time"
)

// A bucket that was swept is full, also to the request that finds out: it may
// take all that the bucket holds.
func TestSweptBucketIsFull(t *testing.T) {
	for _, limit := range []Limit{PerSecond("n", 1), PerSecond("n", 10).WithBurst(10)} {
		w := newWorld(1)
		w.record = true
		p := w.process(simSlack, 0, 0)
		target := simTarget(t, "e", limit)
		var got tally
		for range 3 {
			p.request(target, EachLimit(limit.Burst), time.Second, &got)
			w.run(w.clock.Add(time.Hour))
			delete(w.items, target.Key.ID())
		}
		if got.admitted != 3 {
			t.Errorf("%v: %+v", limit, got)
		}
	}
}
