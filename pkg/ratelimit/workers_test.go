package ratelimit

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Workers are used again, are as many as are needed at once, and end: when they
// are told to, and by themselves.
func TestWorkers(t *testing.T) {
	for _, end := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
			w := newWorkers()
			var running, most atomic.Int64
			for range 10 {
				for range 5 {
					w.do(func() {
						most.Store(max(most.Load(), running.Add(1)))
						time.Sleep(time.Millisecond)
						running.Add(-1)
					})
				}
				time.Sleep(10 * time.Millisecond)
			}
			if running.Load() != 0 || most.Load() != 5 {
				t.Errorf("%d at once, want 5; %d still run", most.Load(), running.Load())
			}
			if !end {
				time.Sleep(2 * idleWorker)
				return
			}
			w.end()
			start := time.Now()
			synctest.Wait()
			w.do(func() { time.Sleep(time.Millisecond) })
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if time.Since(start) > idleWorker/2 {
				t.Error("workers that are told to end do not")
			}
		})
	}
}

// Callers that come back together are charged together.
func TestACrowdIsGathered(t *testing.T) {
	w := newWorld(1)
	w.latency = func() time.Duration { return 2500 * time.Microsecond }
	p := w.process(simSlack, 0, 0)
	target := simTarget(t, "hot", PerSecond("n", 1_000_000))
	var got tally
	end := w.clock.Add(time.Second)
	for range 256 {
		var again func()
		again = func() {
			if w.clock.Before(end) {
				j := &job{kind: jobCharge, target: target, costs: []Cost{EachLimit(1)}}
				p.ask(j, 0, &got)
				told := j.done
				// Each is back within a third of a millisecond.
				j.done = func(j *job) { told(j); w.in(time.Duration(w.rng.IntN(300))*time.Microsecond, again) }
			}
		}
		w.in(0, again)
	}
	w.run(end.Add(time.Second))
	if got.admitted < 35_000 || got.admitted < 240*w.writes {
		t.Errorf("%d charges in %d writes", got.admitted, w.writes)
	}
}
