package ratelimit

import "slices"

// fly sends one request for as many jobs as fit into one, and reports whether
// it did anything. Kinds are tried in the order in which they are queued: a
// charge that waits for tokens holds up neither settlements nor credits.
func (a *actor) fly(now instant) bool {
	var tried [4]bool
	for _, head := range a.queue {
		if tried[head.kind] {
			continue
		}
		tried[head.kind] = true
		if a.flyKind(head, now) {
			return true
		}
	}
	return false
}

func (a *actor) flyKind(head *job, now instant) bool {
	f := &flight{kind: head.kind, sent: now.steady, stamp: a.stamp(now)}
	switch head.kind {
	case jobLook:
		f.jobs = a.all(head)
		a.depart(f, now)
		a.engine.env.get(a.key, func(s State, err error) { a.landed(f, s, err) })
		return true
	case jobCredit:
		f.jobs = a.all(head)
		planCredit(&f.write, a.key, f.stamp, head.born, sum(f.jobs))
		return a.send(f, f.jobs, now)
	case jobCharge, jobSettle:
	}
	s := situation{
		target: head.target, state: a.state, t: f.stamp, slack: a.engine.slack,
		settle: head.kind == jobSettle, born: head.born,
	}
	if head.kind == jobSettle {
		f.jobs = a.all(head)
		for _, j := range f.jobs {
			s.wants = merge(s.wants, j.wants)
		}
	} else if f.jobs, s.wants = a.fitting(&s, head); len(f.jobs) == 0 {
		if len(a.flights) > 0 {
			return false // what is out may leave enough
		}
		// A write asks the store, though the state seen last is short.
		f.jobs, s.wants, s.poll = []*job{head}, head.wants, !head.looks()
	}
	if head.kind == jobCharge && onlyLooks(s.wants) && !a.told(&s, f.jobs, now) {
		a.read(f, head, now)
		return true
	}
	return a.launch(f, &s, now)
}

// launch sends what is planned for a request's jobs, or finishes them where
// there is nothing to send.
func (a *actor) launch(f *flight, s *situation, now instant) bool {
	f.wants = s.wants
	asking := f.jobs
	switch s.plan(&f.write) {
	case verdictReshape:
		f.jobs, f.wants = nil, nil
	case verdictNothing:
		a.finishAll(f, s, outcomeApplied)
		return true
	case verdictNever, verdictShort: // the view and the plan agree; a caller must not hang if they don't
		a.finishAll(f, s, outcomeShort)
		return true
	case verdictWrite:
	}
	return a.send(f, asking, now)
}

// finishAll finishes jobs for which nothing is sent.
func (a *actor) finishAll(f *flight, s *situation, out outcome) {
	a.drop(f.jobs)
	for _, j := range f.jobs {
		j.outcome = out
		a.finish(j, s)
	}
}

// told reports whether what is known of the bucket may decide charges that only
// look: charge.md 2.4.
func (a *actor) told(s *situation, jobs []*job, now instant) bool {
	return !slices.ContainsFunc(jobs, func(j *job) bool {
		return !j.read && (!a.known || !a.fresh(s, j, a.age(now)))
	})
}

// read asks the store for all charges that only look and can be decided with a
// first one. It counts as a write: who looks chooses the bucket too.
func (a *actor) read(f *flight, head *job, now instant) {
	f.kind, f.jobs = jobLook, nil
	for _, j := range a.all(head) {
		if j.looks() {
			f.jobs = append(f.jobs, j)
		}
	}
	if !a.engine.budget.take(now.steady, a.known && a.state.Exists) {
		a.drop(f.jobs)
		for _, j := range f.jobs {
			a.fail(j, errBudget{}, now)
		}
		return
	}
	a.depart(f, now)
	a.engine.env.get(a.key, func(s State, err error) { a.landed(f, s, err) })
}

// all are the jobs that can be written with a first one, in their order.
func (a *actor) all(head *job) []*job {
	var out []*job
	for _, j := range a.queue {
		if head.merges(j) {
			out = append(out, j)
		}
	}
	return out
}

// fitting are the charges that fit after those before them, in their order,
// and what they want in sum. After a lost race the share is smaller: rivals
// saw the same tokens (charge.md, section 4, 10).
func (a *actor) fitting(s *situation, head *job) (jobs []*job, wants []want) {
	type room struct {
		name string
		left Millitokens
	}
	rooms := make([]room, 0, 4)
	left := func(name string) Millitokens {
		for _, r := range rooms {
			if r.name == name {
				return r.left
			}
		}
		l := s.limit(name)
		n := l.Available(s.t)
		for _, f := range a.flights {
			for _, x := range f.wants {
				if x.name == name {
					n = n.minus(max(0, x.c))
				}
			}
		}
		rooms = append(rooms, room{name, n})
		return n
	}
	shrink := min(a.lost, maxShrink)
	for _, j := range a.queue {
		if !head.merges(j) {
			continue
		}
		fits := true
		for _, x := range j.wants {
			total := left(x.name)
			share := total
			if len(jobs) > 0 && shrink > 0 {
				share = total >> shrink
			}
			if have := wanted(wants, x.name); have.plus(x.need) > share {
				fits = false
				break
			}
		}
		if fits {
			jobs, wants = append(jobs, j), merge(wants, j.wants)
		}
	}
	return jobs, wants
}

// wanted is what is wanted of a limit so far.
func wanted(wants []want, name string) Millitokens {
	for _, w := range wants {
		if w.name == name {
			return w.c
		}
	}
	return 0
}

// merge adds what one job wants to what those before it want.
func merge(all, more []want) []want {
	for _, x := range more {
		i := slices.IndexFunc(all, func(w want) bool { return w.name == x.name })
		if i < 0 {
			all = append(all, x)
			continue
		}
		all[i].need = max(all[i].need, all[i].c.plus(x.need))
		all[i].c = all[i].c.plus(x.c)
	}
	return all
}

// sum is what credits give back together.
func sum(jobs []*job) []slotAmount {
	var out []slotAmount
	for _, j := range jobs {
		for _, b := range j.back {
			if i := slices.IndexFunc(out, func(o slotAmount) bool { return o.slot == b.slot }); i >= 0 {
				out[i].amount = out[i].amount.plus(b.amount)
			} else {
				out = append(out, b)
			}
		}
	}
	return out
}

// errBudget is the failure of charges beyond the process's writes per second.
type errBudget struct{}

func (errBudget) Error() string        { return "this process makes no more writes per second" }
func (errBudget) Is(target error) bool { return target == ErrUnavailable }

// send sends a planned write for the jobs that ask for it, if the process may
// make one more. If not, charges are answered by the fallback; what must be
// booked waits, as long as it has patience.
func (a *actor) send(f *flight, asking []*job, now instant) bool {
	if a.engine.budget.take(now.steady, a.known && a.state.Exists) {
		a.held = 0
		a.depart(f, now)
		a.engine.env.apply(&f.write, func(s State, err error) { a.landed(f, s, err) })
		return true
	}
	failed := false
	for _, j := range asking {
		if j.kind == jobCharge || j.tired(now) {
			a.drop([]*job{j})
			a.fail(j, errBudget{}, now)
			failed = true
		}
	}
	if !failed {
		d := min(maxHold, 2*retryBase<<min(a.held, 10))
		a.held++
		a.wake(now, d/2+a.engine.env.jitter(d/2))
	}
	return failed
}

// depart takes a request's jobs out of the queue.
func (a *actor) depart(f *flight, now instant) {
	a.drop(f.jobs)
	for _, j := range f.jobs {
		j.inFlight = true
	}
	a.flights = append(a.flights, f)
	if f.kind != jobLook {
		a.pace.sent(now.steady)
	}
}

// drop takes jobs, in their order, out of the queue.
func (a *actor) drop(jobs []*job) {
	i := 0
	a.queue = slices.DeleteFunc(a.queue, func(j *job) bool {
		if i < len(jobs) && jobs[i] == j {
			i++
			return true
		}
		return false
	})
}
