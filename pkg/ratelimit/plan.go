package ratelimit

import (
	"math"
	"slices"
	"strings"
)

// ttlMargin is M of charge.md 2.8, in milliseconds: longer than the skew of
// clocks and the life of any request to a store together.
const ttlMargin = 60_000

// want is what is wanted of one limit.
type want struct {
	name string
	c    Millitokens // taken; below zero, given back (adjustments only)
	// need is the balance that must be there: c, or more where a look asks for
	// something to be left.
	need Millitokens
}

// situation is all that a plan is made from. Planning is pure: the same
// situation gives the same plan.
type situation struct {
	target *Target
	state  State  // Exists false: the bucket is absent
	t      Stamp  // now, and not before state.Last
	slack  int64  // milliseconds of refill, see charge.md 2.1
	wants  []want // of limits that the bucket has or will have
	settle bool   // booked whatever the balance: what is needed does not count
	poll   bool   // ask the store, although the state seen last is short
	// born is the incarnation that an adjustment gives back to.
	born Stamp
}

// verdict is what a plan comes to.
type verdict uint8

const (
	verdictWrite   verdict = iota // send the write; applied, it takes all that is wanted
	verdictReshape                // send the write; applied, plan again from what it left
	verdictNothing                // nothing to write: admitted
	verdictShort                  // too few tokens, and the state is proof of it
	verdictNever                  // more is wanted than the bucket can hold
)

// plan is what to do next about a situation.
func (s *situation) plan(w *Write) verdict {
	if !s.state.Exists {
		return s.planCreate(w)
	}
	if s.due() {
		return s.planReshape(w)
	}
	return s.planCharge(w)
}

// names calls f for each limit that a charge of this situation may take from:
// the target's own, or, where the bucket knows a newer revision, the bucket's.
// It stops when f returns false.
func names(t *Target, state *State, f func(name string) bool) {
	if state.Exists && state.Revision > t.Revision {
		for i := range state.Limits {
			if l := &state.Limits[i]; l.On && !f(l.Name) {
				return
			}
		}
		return
	}
	for i := range t.Limits {
		if !f(t.Limits[i].Name) {
			return
		}
	}
}

// want is what is wanted of a limit.
func (s *situation) want(name string) want {
	for _, w := range s.wants {
		if w.name == name {
			return w
		}
	}
	return want{name: name}
}

// start fills what every write has.
func (s *situation) start(w *Write, op Op) {
	*w = Write{Key: s.target.Key, Op: op, Stamp: s.t, Limits: w.Limits[:0]}
}

// planCreate is create-or-full, charge.md 2.2.
func (s *situation) planCreate(w *Write) verdict {
	s.start(w, OpCreate)
	limits := s.target.Limits
	if !slices.IsSortedFunc(limits, byName) {
		limits = slices.Clone(limits)
		slices.SortFunc(limits, byName)
	}
	shape := make([]LimitState, len(limits))
	need, touched := Stamp(math.MinInt64), false
	for i, l := range limits {
		shape[i] = LimitState{Params: ParamsOf(l), On: true}
		p := &shape[i].Params
		x := s.want(l.Name)
		c := max(0, x.c) // nothing to give back to
		if x.need > p.Capacity && !s.settle {
			return verdictNever
		}
		f := p.Refill.Total(s.t)
		lw := LimitWrite{Slot: i + 1, Min: NoMin, Max: NoMax, Form: FormSetIfAbsent, Value: p.Capacity.minus(c).minus(f), Params: p}
		switch {
		case c > 0:
			lw.Form, lw.Min, lw.Charged = FormSet, p.Capacity.minus(f), c
			touched = true
		case x.need > 0 && !s.settle:
			lw.Min = x.need.minus(f)
		}
		need = max(need, s.fullBy(p, min(0, p.Capacity.minus(c))))
		w.Limits = append(w.Limits, lw)
	}
	if !touched { // an absent bucket is full: a look needs no write
		return verdictNothing
	}
	w.OrAbsent, w.Same, w.Revision, w.Shape = true, true, s.target.Revision, shapeOf(shape)
	w.NewShape, w.NewRevision, w.NewHash, w.Reshaped = true, w.Revision, w.Shape, s.t
	if s.target.Expires {
		w.TTLSet = s.longer(need)
		w.TTLBelow = w.TTLSet
	}
	return verdictWrite
}

func byName(a, b Limit) int { return strings.Compare(a.Name, b.Name) }

// planCharge is a charge, a look, a settlement or an adjustment of a bucket
// whose limits are in force as they are: charge.md 2.3 to 2.5.
func (s *situation) planCharge(w *Write) verdict {
	s.start(w, OpCharge)
	if s.settle {
		w.Op = OpSettle
	}
	need, touched, charged := Stamp(math.MinInt64), false, false
	for _, x := range s.wants {
		i := s.state.slot(x.name)
		if i < 0 || !s.state.Limits[i].On {
			continue
		}
		l := &s.state.Limits[i]
		lw := LimitWrite{Slot: i + 1, Min: NoMin, Max: NoMax}
		least, v := s.part(&lw, l, x, w)
		if v != verdictWrite {
			return v
		}
		if lw.Form == FormKeep && lw.Min == NoMin {
			continue
		}
		if lw.Form != FormKeep {
			touched = true
		}
		if lw.Charged > 0 {
			need = max(need, s.fullBy(&l.Params, least))
			charged = true
		}
		w.Limits = append(w.Limits, lw)
	}
	switch {
	case !touched:
		return verdictNothing
	case !charged: // nothing but credits: they hold for any shape
		w.Op = OpCredit
		return verdictWrite
	}
	w.Same, w.Revision, w.Shape = true, s.state.Revision, s.state.Shape
	if s.state.ExpiresAt != 0 {
		s.keepUntil(w, need)
	}
	return verdictWrite
}

// part plans what one limit's share of a charge does, and returns the least
// balance that it can leave.
func (s *situation) part(lw *LimitWrite, l *LimitState, x want, w *Write) (least Millitokens, v verdict) {
	f := l.Refill.Total(s.t)
	raw := l.Balance.plus(f)
	c, full := x.c, raw > l.Capacity.plus(s.slackOf(&l.Params))
	switch {
	case c < 0: // giving back needs no refill: charge.md 2.5
		if s.state.Born == s.born {
			lw.Form, lw.Value, lw.Returned, lw.Exists = FormAdd, -c, -c, true
			w.BornIs = &s.born
		}
		return 0, verdictWrite
	case c == 0:
		if s.settle || x.need == 0 {
			return 0, verdictWrite
		}
		lw.Min = x.need.minus(f)
	}
	switch {
	case s.settle:
	case x.need > l.Capacity:
		return 0, verdictNever
	case x.need > min(raw, l.Capacity) && !s.poll:
		return 0, verdictShort
	}
	if c == 0 {
		return 0, verdictWrite
	}
	lw.Charged = c
	if full {
		lw.Form, lw.Value = FormSet, l.Capacity.minus(c).minus(f)
		lw.Min = l.Capacity.minus(f)
		return min(0, l.Capacity.minus(c)), verdictWrite
	}
	lw.Form, lw.Value = FormAdd, -c
	lw.Max = l.Capacity.plus(s.slackOf(&l.Params)).minus(f)
	switch {
	case !s.settle:
		lw.Min = x.need.minus(f)
	case s.state.ExpiresAt != 0: // the debt must be known, to keep the bucket until it is repaid
		lowest := min(0, raw).minus(l.Capacity)
		lw.Min = lowest.minus(f)
		least = lowest.minus(c)
	}
	return least, verdictWrite
}

// slackOf is s of charge.md 2.1: how far above its capacity a limit still
// counts as not full.
func (s *situation) slackOf(p *Params) Millitokens { return p.Refill.Gain(s.slack) }

// fullBy is when a limit that is left with least is surely full again, with
// the margin of charge.md 2.8.
func (s *situation) fullBy(p *Params, least Millitokens) Stamp {
	return s.t + Stamp(min(p.Refill.Fill(p.Capacity.minus(least)), 1<<53)) + ttlMargin
}

// longer is the expiry that is set where one at need would do: so much later
// that the next charges need not move it.
func (s *situation) longer(need Stamp) int64 { return (need + (need-s.t)/2).Unix() }

// keepUntil lets an item that expires live until need at least: charge.md 2.8.
func (s *situation) keepUntil(w *Write, need Stamp) {
	if s.state.ExpiresAt >= need.Unix() {
		w.TTLMin = need.Unix()
		return
	}
	w.TTLSet = s.longer(need)
	w.TTLBelow = w.TTLSet
}

// limit is a limit of the bucket as it will be charged next.
func (s *situation) limit(name string) LimitState {
	has := s.state.Find(name)
	if has != nil && (s.state.Revision > s.target.Revision) {
		return *has
	}
	for i := range s.target.Limits {
		if s.target.Limits[i].Name != name {
			continue
		}
		if has != nil && has.Is(s.target.Limits[i]) {
			return *has
		}
		p := ParamsOf(s.target.Limits[i])
		balance := p.Capacity
		if has != nil {
			balance = min(balance, has.Available(s.t))
		}
		return LimitState{Params: p, On: true, Balance: balance.minus(p.Refill.Total(s.t))}
	}
	return LimitState{Params: Params{Name: name, Refill: Continuous{Amount: 1, Period: 1}}}
}

// available is what a limit holds at the time by which the bucket is charged.
func (s *situation) available(name string) Millitokens {
	l := s.limit(name)
	return l.Available(s.t)
}
