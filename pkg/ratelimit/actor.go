package ratelimit

import (
	"errors"
	"math"
	"slices"
	"time"
)

const (
	// A second write to a bucket may be sent while one is out this long, and
	// so on; the conditions make it safe, and a lost packet must not hold what
	// is behind it.
	secondFlight = 10 * time.Millisecond
	maxFlights   = 4

	// staleAfter bounds how long a state may reject by its projection: credits
	// and raises made elsewhere are seen by then (charge.md 2.7).
	staleAfter = time.Second
	// maxPollFloor bounds how seldom the store is asked about a bucket that is
	// exhausted.
	maxPollFloor = 250 * time.Millisecond

	// Many callers that are answered at once come back at once, too: waiting
	// until all are there, for a moment at most, spares a write that carries
	// the first of them alone, while the others wait for two.
	crowd  = 16
	gather = 2 * time.Millisecond

	// retryBase is the first wait after a write that was certainly not applied.
	retryBase = 5 * time.Millisecond
	maxShrink = 16 // halvings of the share taken after lost races

	// patience bounds how long a job waits for a store that takes no writes,
	// whoever waits for it: in a long outage settlements and credits would pile
	// up without end.
	patience = 10 * time.Second
	// maxHold is the longest wait for one of the process's writes.
	maxHold = time.Second
)

// actor is all that a process does with one bucket at a time: a queue of jobs,
// and the writes that are out for it. It exists only while there is any. It has
// no goroutine; everything happens in calls, under the lock of its shard.
type actor struct {
	engine *actors
	shard  *shard
	key    Key

	queue   []*job // charges in their order, between other kinds
	flights []*flight

	known bool // the sight was told by the store
	sight

	pace     pace
	answered int       // by the last write, where that was a crowd; else 0
	gatherBy time.Time // when they are waited for no longer, by the steady clock
	lost     int       // races lost in a row, see fitting
	retries  int       // writes in a row that were not applied
	held     int       // times in a row that the process had no write left
	wakeAt   time.Time // of the timer that is set, by the steady clock; zero for none
}

// flight is a request to the store that is out.
type flight struct {
	kind  jobKind
	jobs  []*job
	write Write
	wants []want    // in sum
	sent  time.Time // by the steady clock
	stamp Stamp     // the time by which the store's answer is to be read
}

// stamp is the time by which the bucket is charged: the own clock, but never
// behind the last writer's (charge.md 2.1).
func (a *actor) stamp(now instant) Stamp {
	t := StampOf(now.clock)
	if a.known && a.state.Exists {
		t = max(t, a.state.Last+Stamp(now.clock.Sub(a.at).Milliseconds()))
	}
	return t
}

// observe takes on a state that the store told, unless a newer one is known.
func (a *actor) observe(s State, by Stamp, now instant) {
	if a.known && older(&s, &a.state) {
		return
	}
	a.known, a.sight = true, sight{state: s, at: now.clock, by: by, next: a.pace.next}
	a.engine.seen.put(a.key.ID(), a.sight)
}

// answer finishes a job that needs no request to the store.
func (a *actor) answer(j *job, now instant, cached bool) bool {
	if j.kind == jobCredit {
		return false
	}
	j.ask(&a.state)
	s := situation{target: j.target, state: a.state, t: a.stamp(now)}
	if len(j.wants) == 0 && (j.kind != jobLook || a.known && a.age(now) <= maxPollFloor) {
		j.outcome = outcomeApplied
	} else if j.kind != jobSettle {
		j.outcome = a.judge(&s, j, now)
	}
	if j.outcome == outcomeNone {
		return false
	}
	j.cached = cached
	a.finish(j, &s)
	return true
}

// judge is what the state seen last proves about a charge or a look, if it is
// fresh enough to prove anything: charge.md 2.7. Where it would prove the same
// a little longer, whatever was refilled meanwhile, the job is told how long.
func (a *actor) judge(s *situation, j *job, now instant) outcome {
	age := a.age(now)
	due := a.state.Exists && j.target.Revision > a.state.Revision
	out := outcomeNone
	told := *s // as it was when the store was asked; what was absent was full then too
	told.t = a.by
	for _, x := range j.wants {
		l := s.limit(x.name)
		floor := pollFloor(&l.Params)
		switch {
		case x.need > l.Capacity:
			return outcomeNever
		case !a.known || due:
			continue
		case age < floor && told.available(x.name) < x.need:
			out, j.rest, j.by = outcomeShort, max(j.rest, floor-age), a.by
		case age <= staleAfter && l.Available(s.t) < x.need:
			out = outcomeShort
		}
	}
	if out == outcomeNone && j.kind == jobLook && a.known && !due && a.fresh(s, j, age) {
		return outcomeApplied
	}
	return out
}

// enough is what a state says of a look that has just read it.
func (s *situation) enough(wants []want) outcome {
	for _, x := range wants {
		if s.available(x.name) < x.need {
			return outcomeShort
		}
	}
	return outcomeApplied
}

// age is how old the state seen last is. Where the clock was set back since,
// it is too old for anything.
func (a *actor) age(now instant) time.Duration {
	age := now.clock.Sub(a.at)
	if age < 0 {
		return math.MaxInt64
	}
	return age
}

// fresh reports whether a look may be admitted from a state of this age. One
// that asks for nothing, to be told what is left, has no limit's floor.
func (a *actor) fresh(s *situation, j *job, age time.Duration) bool {
	if age > maxPollFloor {
		return false
	}
	for _, x := range j.wants {
		l := s.limit(x.name)
		if age > pollFloor(&l.Params) {
			return false
		}
	}
	return true
}

// pollFloor is how long a state that was short is not asked again: charge.md
// 2.7.
func pollFloor(p *Params) time.Duration {
	return min(maxPollFloor, time.Duration(p.Refill.Fill(p.Capacity))*time.Millisecond/4)
}

// finish hands a job its outcome; it is told once the lock is released.
func (a *actor) finish(j *job, s *situation) {
	j.state, j.t, j.inFlight = s.state, s.t, false
	a.shard.finished.add(j)
}

// fail ends a job without a decision.
func (a *actor) fail(j *job, err error, now instant) {
	j.outcome, j.err = outcomeFailed, err
	a.finish(j, &situation{state: a.state, t: a.stamp(now)})
}

// step sends what can be sent.
func (a *actor) step(now instant) {
	for len(a.queue) > 0 {
		if wait := a.wait(now); wait != 0 {
			if wait > 0 {
				a.wake(now, wait)
			}
			return
		}
		if !a.fly(now) {
			return
		}
	}
	a.retire(now)
}

// wait is how long until a request may be sent; below zero, until one comes
// back.
func (a *actor) wait(now instant) time.Duration {
	wait := a.pace.wait(now.steady)
	if n := len(a.flights); n >= maxFlights {
		return -1
	} else if n > 0 {
		wait = max(wait, secondFlight-now.steady.Sub(a.flights[n-1].sent))
	}
	if len(a.queue) < a.answered {
		wait = max(wait, a.gatherBy.Sub(now.steady))
	}
	return wait
}

// gather has the next write wait for those whom this one answered, for half of
// what it took at most.
func (a *actor) gather(f *flight, now instant) {
	a.answered = 0
	if n := len(f.jobs); n >= crowd {
		a.answered, a.gatherBy = n+len(a.queue), now.steady.Add(min(gather, now.steady.Sub(f.sent)/2))
	}
}

// wake sets a timer to go on.
func (a *actor) wake(now instant, d time.Duration) {
	at := now.steady.Add(d)
	if !a.wakeAt.IsZero() && !at.Before(a.wakeAt) {
		return
	}
	a.wakeAt = at
	a.engine.env.after(d, func() {
		a.shard.mu.Lock()
		if a.wakeAt.Equal(at) {
			a.wakeAt = time.Time{}
		}
		now := a.engine.env.now()
		a.sweep(now)
		a.step(now)
		a.shard.unlock()
	})
}

// sweep answers what can be answered by now.
func (a *actor) sweep(now instant) {
	a.queue = slices.DeleteFunc(a.queue, func(j *job) bool { return a.answer(j, now, false) })
}

// retire ends an actor that has nothing to do; one that was throttled stays
// until it has its pace again, one that answered a crowd while it waits for it.
func (a *actor) retire(now instant) {
	if len(a.queue) > 0 || len(a.flights) > 0 {
		return
	}
	if wait := a.gatherBy.Sub(now.steady); a.answered > 0 && wait > 0 {
		a.wake(now, wait)
		return
	}
	if a.pace.rate < startPace && now.steady.Sub(a.pace.throttled) < time.Minute {
		a.wake(now, time.Minute)
		return
	}
	if a.shard.actors[a.key.ID()] == a {
		delete(a.shard.actors, a.key.ID())
	}
}

// landed takes in what came of a request.
func (a *actor) landed(f *flight, s State, err error) {
	a.shard.mu.Lock()
	now := a.engine.env.now()
	a.flights = slices.DeleteFunc(a.flights, func(o *flight) bool { return o == f })
	var refused *RefusedError
	switch {
	case err == nil:
		a.gather(f, now)
		a.observe(s, f.stamp, now)
		a.lost, a.retries = 0, 0
		a.succeed(f, s, now)
	case errors.As(err, &refused):
		a.observe(refused.State, f.stamp, now)
		a.retries = 0
		if f.kind == jobCredit { // that incarnation is gone: nothing to give back to
			a.succeed(f, refused.State, now)
			break
		}
		a.lost++
		a.requeue(f, now, nil)
	case errors.Is(err, ErrNotApplied) && !errors.Is(err, ErrUnusable):
		if f.kind != jobLook && errors.Is(err, ErrThrottled) {
			a.pace.throttle(now.steady)
		}
		a.requeue(f, now, err)
		back := a.engine.env.jitter(retryBase << min(a.retries, 5))
		a.retries++
		a.pace.hold(now.steady.Add(back))
	default:
		for _, j := range f.jobs {
			a.fail(j, err, now)
		}
	}
	a.sweep(now)
	a.step(now)
	a.shard.unlock()
}

// succeed finishes the jobs of a request that was applied and left s, and gives
// back what nobody waits for any more. What was taken was taken from s: the
// state seen last may be that of a later incarnation.
func (a *actor) succeed(f *flight, left State, now instant) {
	s := situation{state: left, t: a.stamp(now)}
	if f.kind == jobLook && f.jobs[0].kind == jobCharge { // decided by what was read, in a moment
		for _, j := range f.jobs {
			j.read = true
		}
		a.requeue(f, now, nil)
		return
	}
	for _, j := range f.jobs {
		j.outcome = outcomeApplied
		if f.kind == jobLook {
			s.target, s.state = j.target, a.state
			if j.outcome = a.judge(&s, j, now); j.outcome == outcomeNone {
				j.outcome = s.enough(j.wants)
			}
		}
		if f.kind == jobCharge || f.kind == jobSettle {
			j.taken = taken(j.taken[:0], j.wants, &left)
		}
		if j.abandoned && !j.keep && f.kind == jobCharge && len(j.taken) > 0 {
			a.queue = append(a.queue, &job{
				kind: jobCredit, target: j.target, born: left.Born, back: j.taken, since: now.steady, done: func(*job) {},
			})
		}
		a.finish(j, &s)
	}
}

// taken appends what a job charged, by slot.
func taken(out []slotAmount, wants []want, s *State) []slotAmount {
	for _, x := range wants {
		if i := s.slot(x.name); x.c > 0 && i >= 0 {
			out = append(out, slotAmount{slot: i + 1, name: x.name, amount: x.c})
		}
	}
	return out
}

// requeue puts the jobs of a request that was not applied back in front.
// Charges whose callers have gone are forgotten; what has waited too long for a
// store that takes no writes fails with err, which is why.
func (a *actor) requeue(f *flight, now instant, err error) {
	back := make([]*job, 0, len(f.jobs)+len(a.queue))
	for _, j := range f.jobs {
		j.inFlight = false
		switch {
		case j.abandoned && j.kind == jobCharge:
			a.fail(j, ErrNotApplied, now)
		case err != nil && j.tired(now):
			a.fail(j, err, now)
		default:
			back = append(back, j)
		}
	}
	a.queue = append(back, a.queue...)
}
