package ratelimit

import (
	"slices"
	"testing"
	"time"
)

// machine does at random what may happen to a bucket: bursts after idle times
// of up to an hour, charges of any size, settlements and leases that are
// corrected, processes with wrong clocks that forget what they saw, writes that
// are lost or delivered twice, and items that are swept the moment they expire.
type machine struct {
	*world
	target *Target
	born   []Stamp
	got    tally
	booked Millitokens // by settlements and adjustments, at most
	given  Millitokens // by leases
}

func newMachine(t *testing.T, seed uint64, gives bool) *machine {
	m := &machine{world: newWorld(seed)}
	m.record, m.sweep, m.gives = true, true, gives
	m.target = simTarget(t, "machine", PerSecond("fast", 20).WithBurst(30), PerMinute("slow", 60).WithBurst(40))
	m.fault = func(*Write) (bool, error) {
		switch m.rng.IntN(30) {
		case 0:
			return false, errLost
		case 1:
			return true, errLost
		case 2:
			return false, errSimThrottled
		}
		return true, nil
	}
	m.again = func(w *Write) time.Duration {
		if w.Op == OpCredit || m.rng.IntN(20) > 0 { // a credit that is delivered twice mints: charge.md, section 4, 20
			return 0
		}
		return time.Duration(m.rng.IntN(3000)) * time.Millisecond
	}
	for range 3 {
		m.start()
	}
	return m
}

func (m *machine) start() {
	skew := time.Duration(m.rng.IntN(400)-200) * time.Millisecond
	if m.gives { // what is given back has no stamp: the order is that of the store
		skew = 0
	}
	m.process(simSlack, skew, 0)
}

// burst asks a few times within a second.
func (m *machine) burst() {
	if m.rng.IntN(3) == 0 { // cold: another process, or one that has forgotten
		i := m.rng.IntN(len(m.procs))
		m.procs[i].dead = m.rng.IntN(4) == 0
		m.procs = slices.Delete(m.procs, i, i+1)
		m.start()
	}
	for range 1 + m.rng.IntN(60) {
		m.in(time.Duration(m.rng.IntN(1000))*time.Millisecond, m.one)
	}
}

func (m *machine) one() {
	p := m.procs[m.rng.IntN(len(m.procs))]
	cost := TakeNamed(Take{"fast", int64(m.rng.IntN(8))}, Take{"slow", int64(m.rng.IntN(3))})
	deadline := time.Duration(0)
	switch n := m.rng.IntN(100); {
	case n < 2: // larger than the bucket
		cost = EachLimit(31 + int64(m.rng.IntN(20)))
	case m.gives && n < 5:
		m.booked += 90_000
		p.ask(&job{kind: jobSettle, target: m.target, costs: []Cost{EachLimit(1 + int64(m.rng.IntN(45)))}}, 0, new(tally))
		return
	case m.gives && n < 15 && len(m.born) > 0: // a lease of some incarnation turns out larger and smaller
		m.booked, m.given = m.booked+5000, m.given+5000
		p.ask(&job{kind: jobSettle, target: m.target, born: m.born[m.rng.IntN(len(m.born))], net: []want{
			{name: "fast", c: Milli(int64(m.rng.IntN(11) - 5))}, {name: "slow", c: Milli(int64(m.rng.IntN(3) - 1))},
		}}, 0, new(tally))
		return
	case m.gives:
		deadline = time.Duration(5+m.rng.IntN(60)) * time.Millisecond
	}
	p.ask(&job{kind: jobCharge, target: m.target, costs: []Cost{cost}}, deadline, &m.got)
}

// TestRandomMachine holds the engine to the envelope over the stamps, exactly
// where nothing is given back; to no reject without a state that was short; and
// to counters that tell what was charged over all incarnations.
func TestRandomMachine(t *testing.T) {
	for _, gives := range []bool{false, true} {
		for _, seed := range seeds(t, 10) {
			m := newMachine(t, seed, gives)
			for range 60 {
				m.burst()
				if s := m.items[m.target.Key.ID()]; s.Exists {
					m.born = append(m.born, s.Born)
				}
				idle := []time.Duration{time.Second, 5 * time.Second, 3 * time.Minute, time.Hour}[m.rng.IntN(4)]
				m.run(m.clock.Add(time.Second + time.Duration(m.rng.Int64N(int64(idle)))))
			}
			m.run(m.clock.Add(time.Minute))
			m.check(t, seed)
		}
	}
}

func (m *machine) check(t *testing.T, seed uint64) {
	t.Helper()
	slack := simSlack
	if m.gives {
		slack += 50 * time.Millisecond // and the latency
	}
	m.checkEnvelope(t, m.target.Key, slack)
	charged, returned, least := Millitokens(0), Millitokens(0), m.got.tokens
	for _, limit := range []string{"fast", "slow"} {
		c, r := m.counters(m.target.Key, limit)
		if n := m.usage(m.target.Key, limit); n != c-r {
			t.Errorf("seed %d: the counters of %s say %d, it was %d", seed, limit, n, c-r)
		}
		charged, returned = charged+c, returned+r
	}
	if charged-returned < least-m.given {
		t.Errorf("seed %d: charged %d less returned %d, admitted %d, given back %d at most", seed, charged, returned, least, m.given)
	}
	for _, p := range m.procs {
		if p.busy() {
			t.Errorf("seed %d: something is still asked for", seed)
		}
	}
	if 2*m.refused > m.writes {
		t.Errorf("seed %d: %d of %d writes refused", seed, m.refused, m.writes)
	}
	if m.got.unproven > 0 {
		t.Errorf("seed %d, gives %t: %d rejected without a state that was short", seed, m.gives, m.got.unproven)
	}
	if m.got.admitted < 100 || m.got.short < 100 || m.got.failed == 0 || m.gives != (returned > 0) {
		t.Errorf("seed %d: too little was tried: %+v, returned %d", seed, m.got, returned)
	}
}

// What is debited from a bucket that has overflowed since it was seen comes out
// of what it holds, not out of the overflow.
func TestNoDebitIsSwallowedByTheOverflow(t *testing.T) {
	w := newWorld(1)
	p, other := w.process(simSlack, 0, 0), w.process(simSlack, 0, 0)
	target := simTarget(t, "e", PerHour("n", 30))
	for _, kind := range []jobKind{jobCharge, jobSettle} {
		var got tally
		p.request(target, EachLimit(10), time.Second, &got)
		w.run(w.clock.Add(time.Second))
		back := []slotAmount{{slot: 1, name: "n", amount: Milli(25)}}
		other.ask(&job{kind: jobCredit, target: target, born: w.items[target.Key.ID()].Born, back: back}, 0, &got)
		w.run(w.clock.Add(time.Second))
		p.ask(&job{kind: kind, target: target, costs: []Cost{EachLimit(10)}}, 0, &got)
		w.run(w.clock.Add(time.Second))
		s := w.items[target.Key.ID()]
		if left := s.Limits[0].Available(StampOf(w.clock)).Tokens(); got.admitted != 3 || left != 20 {
			t.Errorf("%d are left of 30 less 10; %+v", left, got)
		}
	}
}

// Processes that believe in different limits of the same revision take turns:
// neither mints by its own, whatever their clocks say.
func TestOverridesTakeTurns(t *testing.T) {
	a := []Limit{PerSecond("n", 10).WithBurst(100), PerMinute("a", 1).WithBurst(50)}
	b := []Limit{PerSecond("n", 20).WithBurst(50)}
	for _, seed := range seeds(t, 3) {
		w := newWorld(seed)
		w.record = true
		one, other := simTarget(t, "e", a...), simTarget(t, "e", b...)
		target := map[*process]*Target{
			w.process(simSlack, 200*time.Millisecond, 0):  one,
			w.process(simSlack, -200*time.Millisecond, 0): other,
		}
		var got tally
		end := w.clock.Add(time.Minute)
		w.arrivals(200, end, func(p *process) { p.request(target[p], EachLimit(1), time.Second, &got) })
		w.run(end.Add(5 * time.Second))
		charged := func(limit string) int64 {
			c, r := w.counters(one.Key, limit)
			return (c - r).Tokens()
		}
		if n := charged("n"); n > 100+20*61 || n < 10*60*8/10 {
			t.Errorf("seed %d: %d of n in a minute", seed, n)
		}
		if n := charged("a"); n > 50+2 || n == 0 {
			t.Errorf("seed %d: %d of a in a minute", seed, n)
		}
	}
}

// A credit whose outcome is unknown is not sent again: it would mint.
func TestCreditsAreSentOnce(t *testing.T) {
	for _, applied := range []bool{true, false} {
		w := newWorld(1)
		w.record = true
		p := w.process(simSlack, 0, 0)
		target := simTarget(t, "e", PerHour("n", 10))
		var got tally
		credits := 0
		w.fault = func(wr *Write) (bool, error) {
			if wr.Op != OpCredit {
				return true, nil
			}
			credits++
			return applied, errLost
		}
		p.request(target, EachLimit(4), time.Microsecond, &got) // its caller is gone at once
		w.run(w.clock.Add(time.Minute))
		if _, returned := w.counters(target.Key, "n"); credits != 1 || (returned == Milli(4)) != applied {
			t.Errorf("applied %t: %d credits, %d returned", applied, credits, returned)
		}
	}
}
