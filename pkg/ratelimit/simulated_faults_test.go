package ratelimit

import (
	"errors"
	"testing"
	"time"
)

const simSlack = 50 * time.Millisecond

// One item takes 1,000 writes a second: a hot key of many processes settles
// under that, with few of them throttled, and still admits what it may.
func TestHotKeySettlesUnderThePartitionLimit(t *testing.T) {
	for _, seed := range seeds(t, 1) {
		w := newWorld(seed)
		w.capacity = 1000
		for range 20 {
			w.process(simSlack, 0, 0)
		}
		target := simTarget(t, "hot", PerSecond("n", 30_000))
		var got tally
		start := w.clock
		end := start.Add(10 * time.Second)
		w.arrivals(20_000, end, func(p *process) { p.request(target, EachLimit(1), time.Second, &got) })
		w.run(start.Add(5 * time.Second))
		settled := got
		writes, throttled := w.writes, w.throttled
		w.run(end)
		writes, throttled = w.writes-writes, w.throttled-throttled
		w.run(end.Add(2 * time.Second))
		admitted, asked := got.admitted-settled.admitted, got.requests-settled.requests
		t.Logf("seed %d: after 5 s: %d writes/s, %d throttled; admitted %d of %d; %d late in all, slowest %v", seed, writes/5, throttled, admitted, asked, got.late+got.failed, got.slowest)
		if (writes-throttled)/5 > 1001 || throttled*100 > writes || float64(admitted) < 0.98*float64(asked) {
			t.Errorf("seed %d: %d writes/s, %d of %d throttled; admitted %d of %d", seed, writes/5, throttled, writes, admitted, asked)
		}
	}
}

// Writers that ask again as soon as they are answered.
func TestTightWriters(t *testing.T) {
	for _, c := range []struct {
		rate   int64
		failed float64
	}{{2000, 0.015}, {50_000, 0.04}} {
		for _, seed := range seeds(t, 1) {
			w := newWorld(seed)
			w.record = true
			target := simTarget(t, "hot", PerSecond("n", c.rate).WithBurst(2*c.rate))
			var got tally
			end := w.clock.Add(10 * time.Second)
			for range 6 {
				p := w.process(simSlack, 0, 0)
				var again func()
				again = func() {
					if w.clock.Before(end) {
						j := &job{kind: jobCharge, target: target, costs: []Cost{EachLimit(1)}}
						p.ask(j, 0, &got)
						told := j.done
						j.done = func(j *job) { told(j); again() }
					}
				}
				w.in(0, again)
			}
			w.run(end.Add(time.Second))
			share := float64(w.refused) / float64(w.writes)
			t.Logf("seed %d, %d/s: %d writes, %.2f%% refused, %d admitted, %d rejected", seed, c.rate, w.writes, 100*share, got.admitted, got.short)
			if share > c.failed || got.short > 0 {
				t.Errorf("seed %d, %d/s: %.2f%% refused, %d rejected", seed, c.rate, 100*share, got.short)
			}
			w.checkEnvelope(t, target.Key, simSlack)
		}
	}
}

// A clock that is wrong harms nobody else: an hour ahead, once, and 200 ms
// behind, always.
func TestSkewedClocks(t *testing.T) {
	limit := PerSecond("n", 10).WithBurst(100)
	t.Run("an hour ahead", func(t *testing.T) {
		w := newWorld(1)
		w.record = true
		ahead := w.process(simSlack, time.Hour, 0)
		good := w.process(simSlack, 0, 0)
		target := simTarget(t, "hot", limit)
		var first, got tally
		ahead.request(target, EachLimit(1), time.Second, &first)
		w.run(w.clock.Add(time.Second))
		end := w.clock.Add(time.Minute)
		w.procs = []*process{good}
		w.arrivals(20, end, func(p *process) { p.request(target, EachLimit(1), time.Second, &got) })
		w.run(end.Add(time.Second))
		if first.admitted != 1 || got.admitted < 590 {
			t.Errorf("%d and %d admitted", first.admitted, got.admitted)
		}
		w.checkEnvelope(t, target.Key, simSlack)
	})
	t.Run("200 ms behind", func(t *testing.T) {
		w := newWorld(1)
		w.record = true
		target := simTarget(t, "hot", PerSecond("n", 20).WithBurst(2))
		want := ideal{l: target.Limits[0]}
		counts := map[*process]*tally{w.process(simSlack, 0, 0): {}, w.process(simSlack, -200*time.Millisecond, 0): {}}
		end := w.clock.Add(30 * time.Second)
		w.arrivals(40, end, func(p *process) {
			want.ask(w.clock)
			p.request(target, EachLimit(1), time.Second, counts[p])
		})
		w.run(end.Add(time.Second))
		good, behind := counts[w.procs[0]].admitted, counts[w.procs[1]].admitted
		if good+behind < want.admitted*97/100 || behind < 100 {
			t.Errorf("good %d, behind %d of %d", good, behind, want.admitted)
		}
		w.checkEnvelope(t, target.Key, simSlack)
	})
}

var errLost = errors.New("connection reset")

// Writes that are lost before or after they applied, throttled, in conflict;
// processes that die; items that are swept the moment they expire; a settlement
// now and then. Nothing is charged twice, what was charged is accounted for,
// and no window is over its envelope.
func TestFaults(t *testing.T) {
	for _, seed := range seeds(t, 20) {
		w := newWorld(seed)
		w.record, w.sweep = true, true
		w.fault = func(*Write) (bool, error) {
			switch w.rng.IntN(20) {
			case 0:
				return false, errLost
			case 1:
				return true, errLost
			case 2:
				return false, errSimThrottled
			case 3:
				return false, ErrNotApplied
			}
			return true, nil
		}
		target := simTarget(t, "hot", PerSecond("n", 20).WithBurst(50), PerMinute("slow", 300).WithBurst(40))
		for range 4 {
			w.process(simSlack, time.Duration(w.rng.IntN(400)-200)*time.Millisecond, 0)
		}
		var got tally
		settled := Millitokens(0)
		start := w.clock
		end := start.Add(40 * time.Second)
		w.arrivals(60, end, func(p *process) {
			cost := TakeNamed(Take{"n", int64(1 + w.rng.IntN(3))}, Take{"slow", int64(w.rng.IntN(2))})
			if w.rng.IntN(500) == 0 {
				settled += 30_000
				p.ask(&job{kind: jobSettle, target: target, costs: []Cost{TakeNamed(Take{"n", 30})}}, 0, new(tally))
				return
			}
			p.request(target, cost, time.Duration(5+w.rng.IntN(100))*time.Millisecond, &got)
		})
		w.in(20*time.Second, func() {
			w.procs[0].dead = true
			w.procs = append(w.procs[1:], w.process(simSlack, 0, 0))
		})
		w.run(end.Add(30 * time.Second))
		w.checkEnvelope(t, target.Key, simSlack+400*time.Millisecond) // and the skew: credits have no stamp
		charged := Millitokens(0)
		returned := Millitokens(0)
		for _, name := range []string{"n", "slow"} {
			c, r := w.counters(target.Key, name)
			charged, returned = charged+c, returned+r
		}
		least, most := got.tokens, got.tokens+got.unknown+settled
		if net := charged - returned; net < least || net > most+crashed(&got) {
			t.Errorf("seed %d: charged %d less returned %d, admitted %d, unknown %d, settled %d", seed, charged, returned, got.tokens, got.unknown, settled)
		}
		if got.admitted == 0 || got.short == 0 || got.unknown == 0 || returned == 0 {
			t.Errorf("seed %d: nothing was tested: %+v, returned %d", seed, got, returned)
		}
	}
}

// crashed bounds what a process that died had in flight and nobody counted: all
// requests that have no answer.
func crashed(c *tally) Millitokens {
	unanswered := c.requests - c.admitted - c.short - c.failed - c.late
	return Millitokens(unanswered) * 4_000
}

// A debt outlives every expiry: items are swept the moment they may be.
func TestDebtOutlivesExpiry(t *testing.T) {
	w := newWorld(1)
	w.record, w.sweep = true, true
	p := w.process(simSlack, 0, 0)
	target := simTarget(t, "debtor", PerSecond("n", 10))
	var booked, got tally
	p.ask(&job{kind: jobSettle, target: target, costs: []Cost{EachLimit(10_000)}}, 0, &booked) // 1,000 fills
	w.run(w.clock.Add(time.Second))
	start := w.clock
	for i := range 1100 {
		w.at(start.Add(time.Duration(i)*time.Second), func() { p.request(target, EachLimit(1), time.Second, &got) })
	}
	w.run(start.Add(990 * time.Second))
	if booked.admitted != 1 || got.admitted != 0 {
		t.Errorf("%d booked, %d admitted while in debt", booked.admitted, got.admitted)
	}
	w.run(start.Add(1100 * time.Second))
	if got.admitted < 95 || got.admitted > 101 {
		t.Errorf("%d admitted once it was repaid", got.admitted)
	}
	w.checkEnvelope(t, target.Key, simSlack)
}

// A slow limit beside a fast one gains every millitoken of a day.
func TestSlowLimitBesideFastOne(t *testing.T) {
	for _, slow := range []Limit{PerDay("slow", 1), PerDay("slow", 5000)} {
		w := newWorld(1)
		p := w.process(simSlack, 0, 0)
		target := simTarget(t, "e", PerSecond("fast", 100), slow)
		var drain, got tally
		p.request(target, TakeNamed(Take{"slow", slow.Burst}), time.Second, &drain)
		w.run(w.clock.Add(time.Second))
		before := w.items[target.Key.ID()]
		w.arrivals(1, w.clock.Add(24*time.Hour), func(p *process) { p.request(target, TakeNamed(Take{"fast", 30}), time.Second, &got) })
		w.run(w.clock.Add(24 * time.Hour))
		after := w.items[target.Key.ID()]
		t0 := before.Last
		gained := after.Find("slow").Raw(t0+Stamp(24*time.Hour/time.Millisecond)) - before.Find("slow").Raw(t0)
		if gained != Milli(slow.Rate) || drain.admitted != 1 || got.admitted < 80_000 {
			t.Errorf("%v gained %d millitokens in a day beside %d charges", slow, gained, got.admitted)
		}
	}
}

// A flood of new buckets meets the process's bound on writes; known buckets go
// first.
func TestWriteBudget(t *testing.T) {
	w := newWorld(1)
	p := w.process(simSlack, 0, 100)
	known := simTarget(t, "known", PerSecond("n", 50))
	var good, flood tally
	p.request(known, EachLimit(1), time.Second, &good)
	w.run(w.clock.Add(time.Second))
	w.writes = 0
	end := w.clock.Add(10 * time.Second)
	i := 0
	w.arrivals(1000, end, func(p *process) {
		if i++; i%50 == 0 {
			p.request(known, EachLimit(1), time.Second, &good)
			return
		}
		p.request(simTarget(t, "new-"+time.Duration(i).String(), PerSecond("n", 50)), EachLimit(1), time.Second, &flood)
	})
	w.run(end.Add(time.Second))
	if w.writes > 1020 || good.failed > 0 || good.admitted < 190 || flood.failed == 0 {
		t.Errorf("%d writes; known: %+v; new: %+v", w.writes, good, flood)
	}
	if n := p.len(); n != 0 {
		t.Errorf("%d actors are left", n)
	}
}

// While one request to the store hangs, those behind it go ahead.
func TestOneSlowWriteHoldsUpNobody(t *testing.T) {
	w := newWorld(1)
	p := w.process(simSlack, 0, 0)
	target := simTarget(t, "hot", PerSecond("n", 1000))
	usual := w.latency
	n := 0
	w.latency = func() time.Duration {
		if n++; n == 3 {
			return 400 * time.Millisecond
		}
		return usual()
	}
	var got tally
	for i := range 50 {
		w.in(time.Duration(i)*2*time.Millisecond, func() { p.request(target, EachLimit(1), time.Second, &got) })
	}
	w.run(w.clock.Add(200 * time.Millisecond))
	if got.admitted < 45 {
		t.Errorf("%d of 50 admitted behind a slow write", got.admitted)
	}
}

// Any charge that fits after those before it is admitted, whatever waits in
// front: FIFO would refuse the small one.
func TestGreedyInOrder(t *testing.T) {
	w := newWorld(1)
	p := w.process(simSlack, 0, 0)
	target := simTarget(t, "e", PerMinute("n", 100))
	var half, large, small, huge tally
	p.request(target, EachLimit(50), time.Second, &half)
	w.run(w.clock.Add(100 * time.Millisecond))
	p.request(target, EachLimit(200), time.Second, &huge)
	p.request(target, EachLimit(60), time.Second, &large)
	p.request(target, EachLimit(1), time.Second, &small)
	w.run(w.clock.Add(100 * time.Millisecond))
	if half.admitted != 1 || large.short != 1 || small.admitted != 1 || huge.short != 1 {
		t.Errorf("half %+v, large %+v, small %+v, huge %+v", half, large, small, huge)
	}
}
