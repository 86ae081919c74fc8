package ratelimit

import (
	"cmp"
	"container/heap"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// world is a deterministic simulation: processes with engines of their own, one
// store, virtual time. Everything happens in one goroutine, in the order of the
// events; a seed gives the same run every time.
type world struct {
	rng    *rand.Rand
	clock  time.Time
	events events
	order  int
	items  map[string]State
	procs  []*process

	latency  func() time.Duration // one way
	capacity float64              // writes per second that an item takes; 0: any
	loads    map[string]*itemLoad
	fault    func(w *Write) (apply bool, err error)
	again    func(w *Write) time.Duration // how much later the network delivers a write once more; 0: never

	sweep bool // expired items go at once
	gives bool // leases and settlements give back

	writes, refused, throttled, gets int

	history map[string][]moment // :: key -> the item after each change, when recording
	told    map[string][]moment // :: key -> the item as each answer told it
	record  bool
}

type itemLoad struct {
	tokens float64
	last   time.Time
}

// moment is an item after a change.
type moment struct {
	at    time.Time
	state State
	write *Write
}

type event struct {
	at    time.Time
	order int
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

var errSimThrottled = errors.Join(ErrNotApplied, ErrThrottled)

func newWorld(seed uint64) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 1)), clock: Epoch.Add(300 * 24 * time.Hour),
		items: map[string]State{}, loads: map[string]*itemLoad{}, history: map[string][]moment{}, told: map[string][]moment{},
	}
	// Round trips of a median of 4.5 ms and a p99 of about 15 ms.
	w.latency = func() time.Duration {
		return time.Duration(2.25 * math.Exp(0.5*w.rng.NormFloat64()) * float64(time.Millisecond))
	}
	return w
}

func (w *world) at(t time.Time, f func()) {
	w.order++
	heap.Push(&w.events, event{t, w.order, f})
}

func (w *world) in(d time.Duration, f func()) { w.at(w.clock.Add(d), f) }

// run lets time pass.
func (w *world) run(until time.Time) {
	for len(w.events) > 0 && !w.events[0].at.After(until) {
		e := heap.Pop(&w.events).(event)
		w.clock = e.at
		e.do()
	}
	w.clock = until
}

// admit reports whether an item takes one more write now.
func (w *world) admit(k string) bool {
	if w.capacity == 0 {
		return true
	}
	l := w.loads[k]
	if l == nil {
		l = &itemLoad{tokens: w.capacity, last: w.clock}
		w.loads[k] = l
	}
	l.tokens = min(w.capacity, l.tokens+w.clock.Sub(l.last).Seconds()*w.capacity)
	l.last = w.clock
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}

// process is one process: an engine, and its clock's error.
type process struct {
	world *world
	*actors
	skew time.Duration
	dead bool
}

func (w *world) process(slack time.Duration, skew time.Duration, maxWrites float64) *process {
	p := &process{world: w, skew: skew}
	p.actors = newActors(p, slack, newSeen(100_000, 64<<20), maxWrites)
	w.procs = append(w.procs, p)
	return p
}

func (p *process) now() instant {
	return instant{clock: p.world.clock.Add(p.skew), steady: p.world.clock}
}

func (p *process) jitter(d time.Duration) time.Duration {
	return time.Duration(p.world.rng.Int64N(int64(d) + 1))
}

func (p *process) after(d time.Duration, f func()) {
	p.world.in(d, func() {
		if !p.dead {
			f()
		}
	})
}

func (p *process) apply(w *Write, done func(State, error)) {
	wld := p.world
	wld.in(wld.latency(), func() {
		wld.writes++
		s, err := wld.execute(w)
		if wld.again != nil {
			if d := wld.again(w); d > 0 {
				w := w.clone()
				wld.in(d, func() { _, _ = wld.execute(w) })
			}
		}
		wld.in(wld.latency(), func() {
			if !p.dead {
				done(s, err)
			}
		})
	})
}

func (w *world) execute(wr *Write) (State, error) {
	k := wr.Key.ID()
	if !w.admit(k) {
		w.throttled++
		return State{}, errSimThrottled
	}
	var fault error
	apply := true
	if w.fault != nil {
		apply, fault = w.fault(wr)
	}
	s, ok := w.item(k), false
	if apply {
		if s, ok = wr.Execute(s); ok {
			w.items[k] = s
			if w.record {
				w.history[k] = append(w.history[k], moment{w.clock, s, wr.clone()})
			}
		}
	}
	if w.record {
		w.told[k] = append(w.told[k], moment{w.clock, s, wr.clone()})
	}
	switch {
	case fault != nil:
		return State{}, fault
	case !ok:
		w.refused++
		return State{}, &RefusedError{State: s}
	}
	return s, nil
}

// item is what the store holds; with sweep, an expired one is gone.
func (w *world) item(k string) State {
	s := w.items[k]
	if w.sweep && s.ExpiresAt != 0 && StampOf(w.clock).Unix() > s.ExpiresAt {
		delete(w.items, k)
		return State{}
	}
	return s
}

func (p *process) get(k Key, done func(State, error)) {
	p.world.gets++
	asked := StampOf(p.now().clock)
	p.world.in(p.world.latency(), func() {
		s := p.world.item(k.ID())
		if p.world.record {
			p.world.told[k.ID()] = append(p.world.told[k.ID()], moment{p.world.clock, s, &Write{Stamp: asked}})
		}
		p.world.in(p.world.latency(), func() {
			if !p.dead {
				done(s, nil)
			}
		})
	})
}

// request charges a bucket and counts what came of it.
func (p *process) request(t *Target, cost Cost, deadline time.Duration, c *tally) {
	p.ask(&job{kind: jobCharge, target: t, costs: []Cost{cost}}, deadline, c)
}

func (p *process) ask(j *job, deadline time.Duration, c *tally) {
	c.requests++
	start := p.world.clock
	t := j.target
	j.done = func(j *job) {
		c.count(j, p.world.clock.Sub(start))
		if (j.outcome == outcomeShort) && p.world.record && !p.world.wasShort(j) {
			c.unproven++
		}
	}
	p.submit(t.Key, j)
	if j.outcome == outcomeNone && deadline > 0 {
		p.after(deadline, func() {
			if j.outcome == outcomeNone && p.abandon(t.Key, j, false) {
				c.late++
			}
		})
	}
}

// tally counts answers.
type tally struct {
	requests, admitted, short, cached, late, failed int
	tokens                                          Millitokens   // admitted
	unknown                                         Millitokens   // failed or given up, and perhaps applied
	unproven                                        int           // rejected, although the store had enough all along
	slowest                                         time.Duration //
}

// wasShort reports whether the store, within the poll floor, told that it had
// too little, by the stamp of who asked, for a charge that was rejected.
func (w *world) wasShort(j *job) bool {
	old := 100 * time.Millisecond // the way of an answer
	if w.gives {                  // what others give back is seen by then
		old += staleAfter
	}
	h := w.told[j.target.Key.ID()]
	for _, x := range j.wants {
		for i := len(h) - 1; i >= 0; i-- {
			l := h[i].state.Find(x.name)
			if l == nil || l.Available(h[i].write.Stamp) < x.need {
				return true
			}
			if w.clock.Sub(h[i].at) > pollFloor(&l.Params)+old {
				break
			}
		}
	}
	return false
}

// checkEnvelope checks, over the stamps of the applied charges, that no window
// admitted more than capacity + slack + rate * window: a bucket of that size
// never goes below zero. What was given back is back from the moment it was.
func (w *world) checkEnvelope(t *testing.T, k Key, slack time.Duration) {
	t.Helper()
	type level struct {
		have float64
		at   Stamp
	}
	levels := map[string]*level{}
	h := slices.Clone(w.history[k.ID()])
	if !slices.ContainsFunc(h, func(m moment) bool { return m.write.Op == OpCredit || m.write.Op == OpSettle }) {
		// The claim is about the stamps. A credit has no stamp in its condition:
		// it counts from when it was applied.
		slices.SortStableFunc(h, func(a, b moment) int { return cmp.Compare(a.write.Stamp, b.write.Stamp) })
	}
	for _, m := range h {
		for _, lw := range m.write.Limits {
			l := &m.state.Limits[lw.Slot-1]
			c, ok := l.Refill.(Continuous)
			if !ok || !l.On {
				continue
			}
			rate := float64(c.Amount) / float64(c.Period)
			most := float64(l.Capacity) + rate*float64(slack.Milliseconds()) + 2
			v := levels[l.Name]
			if v == nil {
				v = &level{most, m.write.Stamp}
				levels[l.Name] = v
			}
			v.have = min(most, v.have+rate*float64(max(0, m.write.Stamp-v.at))) + float64(lw.Returned) - float64(lw.Charged)
			v.at = max(v.at, m.write.Stamp)
			books := m.write.Op == OpSettle || m.write.Op == OpCreate && lw.Charged > l.Capacity
			if v.have < 0 && lw.Charged > 0 && !books {
				t.Fatalf("the envelope of %s was passed by %.0f millitokens at stamp %d", l.Name, -v.have, m.write.Stamp)
			}
		}
	}
}

// usage is what the bucket's own counters say of a limit: charged less returned,
// of the last state of each incarnation.
func (w *world) usage(k Key, limit string) (n Millitokens) {
	last := map[Stamp]Millitokens{}
	for _, m := range w.history[k.ID()] {
		if i := m.state.slot(limit); i >= 0 {
			last[m.state.Born] = m.state.Limits[i].Charged - m.state.Limits[i].Returned
		}
	}
	for _, x := range last {
		n += x
	}
	return n
}

// counters are the sums of all that was ever charged to a bucket and returned,
// over its incarnations.
func (w *world) counters(k Key, limit string) (charged, returned Millitokens) {
	for _, m := range w.history[k.ID()] {
		for _, l := range m.write.Limits {
			if m.state.Limits[l.Slot-1].Name == limit {
				charged, returned = charged+l.Charged, returned+l.Returned
			}
		}
	}
	return charged, returned
}

func (c *tally) count(j *job, took time.Duration) {
	c.slowest = max(c.slowest, took)
	switch j.outcome {
	case outcomeApplied:
		if !j.abandoned {
			c.admitted++
			for _, x := range j.taken {
				c.tokens += x.amount
			}
		}
	case outcomeShort, outcomeNever:
		c.short++
		if j.cached {
			c.cached++
		}
	default:
		if !j.abandoned {
			c.failed++
		}
		for _, x := range j.wants {
			c.unknown += x.c
		}
	}
}

// arrivals sends requests of a Poisson process, spread over the processes.
func (w *world) arrivals(perSecond float64, until time.Time, f func(p *process)) {
	gap := func() time.Duration { return time.Duration(w.rng.ExpFloat64() / perSecond * float64(time.Second)) }
	var next func()
	next = func() {
		if !w.clock.Before(until) {
			return
		}
		f(w.procs[w.rng.IntN(len(w.procs))])
		w.in(gap(), next)
	}
	w.in(gap(), next)
}

// seeds are those of a randomised test: few, or as many as asked for.
func seeds(t *testing.T, few int) []uint64 {
	t.Helper()
	if s := os.Getenv("EXTAUTHZ_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return []uint64{n}
	}
	if os.Getenv("EXTAUTHZ_TEST_LONG") != "" {
		few *= 10
	}
	out := make([]uint64, few)
	for i := range out {
		out[i] = uint64(i + 1)
	}
	return out
}
