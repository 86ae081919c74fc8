package ratelimit

import (
	"testing"
	"time"
)

// A charge that only looks writes nothing, and is decided by the store all the
// same: whatever this process has seen, or hasn't, nobody passes who is in debt,
// and nobody is kept out who isn't.
func TestLooksAreDecidedByTheStore(t *testing.T) {
	target := simTarget(t, "e", Custom("n", 100, 1, time.Second))
	raised := *target
	raised.Limits, raised.Revision = []Limit{Custom("n", 100, 100, time.Second)}, 1
	look := func(w *world, p *process, target *Target) (got tally) {
		p.request(target, EachLimit(0), time.Second, &got)
		w.run(w.clock.Add(200 * time.Millisecond))
		return got
	}
	for name, c := range map[string]struct {
		sees   func(w *world, p *process) // what the process knows before
		others int64                      // settled by another one after that
		wait   time.Duration              // until it looks
		target *Target
		writes int // of the look
		admits bool
	}{
		"never seen, in debt":          {nil, 150, time.Second, target, 0, false},
		"never seen, repaid":           {nil, 150, 51 * time.Second, target, 0, true},
		"never seen, nothing there":    {nil, 0, time.Second, target, 0, true},
		"seen full, in debt since":     {func(w *world, p *process) { look(w, p, target) }, 150, 10 * time.Second, target, 0, false},
		"seen in debt, long ago":       {settled(target, 150), 0, 40 * time.Second, target, 0, false},
		"seen in debt, just repaid":    {settled(target, 150), 0, 51 * time.Second, target, 0, true},
		"seen in debt, more since":     {settled(target, 150), 50, 60 * time.Second, target, 0, false},
		"in debt, by a limit raised":   {settled(target, 150), 0, 10 * time.Second, &raised, 1, false},
		"left some, by a limit raised": {settled(target, 50), 0, 10 * time.Second, &raised, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(1)
			p, other := w.process(simSlack, 0, 0), w.process(simSlack, 0, 0)
			if c.sees != nil {
				c.sees(w, p)
			}
			if c.others > 0 {
				settled(target, c.others)(w, other)
			}
			w.run(w.clock.Add(c.wait))
			writes, gets := w.writes, w.gets
			got := look(w, p, c.target)
			if admitted := got.admitted == 1; admitted != c.admits || got.failed+got.late > 0 {
				t.Errorf("%+v, want it admitted: %v", got, c.admits)
			}
			if w.writes != writes+c.writes || w.gets > gets+1+c.writes {
				t.Errorf("%d writes and %d reads", w.writes-writes, w.gets-gets)
			}
		})
	}
}

// settled books a cost by a process.
func settled(t *Target, cost int64) func(*world, *process) {
	return func(w *world, p *process) {
		p.ask(&job{kind: jobSettle, target: t, costs: []Cost{EachLimit(cost)}}, 0, new(tally))
		w.run(w.clock.Add(200 * time.Millisecond))
	}
}

// A crowd that looks at once reads once, and again only when what was read is
// too old to decide by.
func TestLooksShareARead(t *testing.T) {
	w := newWorld(1)
	p := w.process(simSlack, 0, 0)
	target := simTarget(t, "e", PerMinute("n", 100))
	settled(target, 50)(w, p)
	w.run(w.clock.Add(time.Minute))
	var got tally
	for range 1000 {
		p.request(target, EachLimit(0), time.Second, &got)
	}
	w.run(w.clock.Add(100 * time.Millisecond))
	for range 1000 {
		p.request(target, EachLimit(0), time.Second, &got)
	}
	w.run(w.clock.Add(100 * time.Millisecond))
	if got.admitted != 2000 || w.gets > 2 {
		t.Errorf("%+v with %d reads", got, w.gets)
	}
	w.run(w.clock.Add(time.Second))
	if w.gets > 2 || p.len() != 0 {
		t.Errorf("%d reads, %d actors are left", w.gets, p.len())
	}
}

// A flood of looks at buckets that nobody has reads no more than the process may
// write, and the rest is for the fallback to answer.
func TestLooksAreBounded(t *testing.T) {
	w := newWorld(1)
	p := w.process(simSlack, 0, 100)
	end, i := w.clock.Add(10*time.Second), 0
	var got tally
	w.arrivals(1000, end, func(p *process) {
		i++
		p.request(simTarget(t, "new-"+time.Duration(i).String(), PerSecond("n", 50)), EachLimit(0), time.Second, &got)
	})
	w.run(end.Add(2 * time.Second))
	if w.gets > 10*100+20 || got.admitted != w.gets || got.admitted+got.failed != got.requests {
		t.Errorf("%d reads in 10 s of a process that may write 100 a second; %+v", w.gets, got)
	}
	if p.len() != 0 {
		t.Errorf("%d actors are left", p.len())
	}
}

// Looks among charges are decided too, whatever is on its way.
func TestLooksAmongCharges(t *testing.T) {
	w := newWorld(1)
	p, other := w.process(simSlack, 0, 0), w.process(simSlack, 0, 0)
	target := simTarget(t, "e", PerSecond("n", 50))
	var looks, charges tally
	end := w.clock.Add(20 * time.Second)
	w.arrivals(200, end, func(q *process) {
		switch {
		case q == other:
			q.request(target, EachLimit(2), time.Second, &charges)
		case w.rng.IntN(2) == 0:
			p.request(target, EachLimit(1), time.Second, &charges)
		default:
			p.request(target, EachLimit(0), time.Second, &looks)
		}
	})
	w.run(end.Add(2 * time.Second))
	if looks.admitted+looks.short != looks.requests || looks.admitted == 0 || looks.short == 0 {
		t.Errorf("looks: %+v", looks)
	}
	if charges.admitted+charges.short != charges.requests {
		t.Errorf("charges: %+v", charges)
	}
	if looks.slowest > 500*time.Millisecond || p.len()+other.len() != 0 {
		t.Errorf("the slowest look took %v; %d actors are left", looks.slowest, p.len()+other.len())
	}
}
