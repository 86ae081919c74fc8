package ratelimit

import (
	"testing"
	"time"
)

// One process writes a bucket at most 200 times a second, also where its actor
// comes and goes between the writes of a fast store.
func TestPaceOutlivesActors(t *testing.T) {
	w := newWorld(1)
	w.latency = func() time.Duration { return 100 * time.Microsecond }
	p := w.process(simSlack, 0, 0)
	target := simTarget(t, "hot", PerSecond("n", 100_000))
	var got tally
	end := w.clock.Add(10 * time.Second)
	var again func()
	again = func() {
		if w.clock.Before(end) {
			j := &job{kind: jobCharge, target: target, costs: []Cost{EachLimit(1)}}
			p.ask(j, 0, &got)
			told := j.done
			j.done = func(j *job) { told(j); w.in(0, again) }
		}
	}
	w.in(0, again)
	w.run(end)
	if most := 10*startPace + ahead + 1; float64(w.writes) > most || got.admitted < 1900 {
		t.Errorf("%d writes in 10 s, want %v at most; %d admitted", w.writes, most, got.admitted)
	}
}

// An answer may come when the bucket that was charged is gone and another has
// been made: nothing is given back to that one.
func TestLateAnswerOfAnEarlierIncarnation(t *testing.T) {
	w := newWorld(1)
	w.record = true
	p := w.process(simSlack, 0, 0)
	target := simTarget(t, "e", PerHour("n", 100))
	k := target.Key.ID()
	var first, second tally
	back := []time.Duration{time.Millisecond, 300 * time.Millisecond} // there, and back
	w.latency = func() time.Duration {
		d := time.Millisecond
		if len(back) > 0 {
			d, back = back[0], back[1:]
		}
		return d
	}
	p.request(target, EachLimit(30), 5*time.Millisecond, &first)
	w.run(w.clock.Add(100 * time.Millisecond))
	if w.items[k].Limits[0].Charged != Milli(30) || first.late != 1 {
		t.Fatalf("%+v, %+v", w.items[k], first)
	}
	delete(w.items, k)
	p.request(target, EachLimit(20), time.Second, &second)
	w.run(w.clock.Add(100 * time.Millisecond))
	if second.admitted != 1 {
		t.Fatalf("%+v", second)
	}
	w.run(w.clock.Add(time.Second)) // the first answer, and what follows from it
	if l := w.items[k].Limits[0]; l.Returned != 0 || l.Charged != Milli(20) {
		t.Errorf("the new bucket: charged %d, returned %d", l.Charged, l.Returned)
	}
}

// Those who ask for a write at the same time come in any order of their clocks:
// no moment counts twice.
func TestBudgetCountsNoMomentTwice(t *testing.T) {
	b, start, taken := budget{rate: 100}, time.Now(), 0
	for i := range 1000 {
		at := start.Add(time.Duration(i) * time.Millisecond)
		for _, now := range []time.Time{at, at.Add(-100 * time.Millisecond), at} {
			if b.take(now, true) {
				taken++
			}
		}
	}
	if taken > 100+10 || taken < 100 {
		t.Errorf("%d writes in a second, want 100 and a tenth at most", taken)
	}
}

// What must be booked waits until the process may write again; it does not ask
// all the time.
func TestSettlementsWaitForTheWriteBudget(t *testing.T) {
	w := newWorld(1)
	p := w.process(simSlack, 0, 20)
	var got tally
	const n = 100
	for i := range n {
		target := simTarget(t, "new-"+time.Duration(i).String(), PerSecond("n", 50))
		p.ask(&job{kind: jobSettle, target: target, costs: []Cost{EachLimit(1)}}, 0, &got)
	}
	before := w.order
	w.run(w.clock.Add(2 * patience))
	if got.admitted != n || w.writes != n {
		t.Errorf("%+v, %d writes", got, w.writes)
	}
	if events := w.order - before; events > 40*n {
		t.Errorf("%d events for %d settlements", events, n)
	}
	if p.len() != 0 {
		t.Errorf("%d actors are left", p.len())
	}
}

// A look makes no bucket known: a flood of looks and charges by turns does not
// get ahead of buckets that are there.
func TestLooksMakeNoBucketKnown(t *testing.T) {
	w := newWorld(1)
	p := w.process(simSlack, 0, 100)
	known := simTarget(t, "known", PerSecond("n", 50))
	var good, flood tally
	p.request(known, EachLimit(1), time.Second, &good)
	w.run(w.clock.Add(time.Second))
	end, i := w.clock.Add(10*time.Second), 0
	w.arrivals(1000, end, func(p *process) {
		if i++; i%50 == 0 {
			p.request(known, EachLimit(1), time.Second, &good)
			return
		}
		target := simTarget(t, "new-"+time.Duration(i).String(), PerSecond("n", 50))
		p.ask(&job{kind: jobLook, target: target, costs: []Cost{EachLimit(0)}}, time.Second, new(tally))
		w.in(20*time.Millisecond, func() { p.request(target, EachLimit(1), time.Second, &flood) })
	})
	w.run(end.Add(time.Second))
	if good.failed > 0 || good.admitted < 180 || flood.failed == 0 {
		t.Errorf("known: %+v; new: %+v", good, flood)
	}
}
