package ratelimit

import "math"

// due reports whether the bucket must take on the target's limits first:
// charge.md 2.6. At an equal revision limits are only added or changed; those
// that the target does not know stay.
func (s *situation) due() bool {
	if s.target.Revision != s.state.Revision {
		return s.target.Revision > s.state.Revision
	}
	for i := range s.target.Limits {
		l := s.state.Find(s.target.Limits[i].Name)
		if l == nil || !l.Is(s.target.Limits[i]) {
			return true
		}
	}
	return false
}

// planReshape gives the bucket the target's limits, and charges it in the same
// write where the tokens are there. Where they are not, and for settlements,
// it only reshapes: what is decided next rests on the limits in force.
func (s *situation) planReshape(w *Write) verdict {
	full := s.reshaper()
	if len(s.wants) > 0 && !s.settle {
		switch v := full.write(w); v {
		case verdictWrite, verdictNever, verdictNothing:
			return v
		case verdictShort, verdictReshape:
		}
	}
	bare := s.reshaper()
	bare.wants = nil
	bare.write(w)
	return verdictReshape
}

func (s *situation) reshaper() reshaper {
	r := reshaper{situation: *s, need: math.MinInt64}
	r.t = max(s.t, s.state.ShapedAt)
	return r
}

// reshaper plans one reshape; its t is t' of charge.md 2.6.
type reshaper struct {
	situation
	need    Stamp
	shape   []LimitState // the slots as they will be
	touched bool         // something is charged
}

func (r *reshaper) write(w *Write) verdict {
	r.start(w, OpReshape)
	r.shape = append(make([]LimitState, 0, len(r.state.Limits)+len(r.target.Limits)), r.state.Limits...)
	for i := range r.target.Limits {
		if v := r.own(w, ParamsOf(r.target.Limits[i])); v != verdictWrite {
			return v
		}
	}
	for i := range r.state.Limits {
		if v := r.others(w, i); v != verdictWrite {
			return v
		}
	}
	if len(r.wants) > 0 && !r.touched { // only looks: all there, nothing to write
		return verdictNothing
	}
	hash := shapeOf(r.shape)
	at := r.t
	w.Same, w.Revision, w.Shape = true, r.state.Revision, r.state.Shape
	w.AtMost, w.Reshaped = &at, at
	w.NewShape, w.NewRevision, w.NewHash = true, r.target.Revision, hash
	switch {
	case r.target.Revision > r.state.Revision && !r.target.Expires:
		w.TTLRemove = r.state.ExpiresAt != 0
	case r.target.Revision > r.state.Revision || r.state.ExpiresAt != 0:
		r.keepUntil(w, r.need)
	}
	return verdictWrite
}

// own plans the part of one of the target's own limits.
func (r *reshaper) own(w *Write, p Params) verdict {
	i := r.state.slot(p.Name)
	if i < 0 {
		i = len(r.shape)
		r.shape = append(r.shape, LimitState{})
	}
	was := r.shape[i]
	r.shape[i] = LimitState{Params: p, On: true}
	x := r.want(p.Name)
	if x.need > p.Capacity {
		return verdictNever
	}
	if was.On {
		return r.kept(w, i, &was, p, x)
	}
	lw := LimitWrite{Slot: i + 1, Min: NoMin, Max: NoMax, Form: FormSet, Params: &p, Charged: x.c}
	lw.Value = p.Capacity.minus(x.c).minus(p.Refill.Total(r.t))
	r.touched = r.touched || x.c > 0
	r.need = max(r.need, r.fullBy(&p, min(0, p.Capacity.minus(x.c))))
	w.Limits = append(w.Limits, lw)
	return verdictWrite
}

// others plans the part of a limit of the bucket that the target does not
// have: gone where the target is newer, kept as it is where it is not.
func (r *reshaper) others(w *Write, i int) verdict {
	l := &r.state.Limits[i]
	if !l.On {
		return verdictWrite
	}
	for j := range r.target.Limits {
		if r.target.Limits[j].Name == l.Name {
			return verdictWrite
		}
	}
	if r.target.Revision > r.state.Revision {
		r.shape[i].On = false
		w.Limits = append(w.Limits, LimitWrite{Slot: i + 1, Min: NoMin, Max: NoMax, Form: FormRemove})
		return verdictWrite
	}
	return r.kept(w, i, l, l.Params, want{})
}

// kept plans the part of a limit that stays, with its old or with new numbers.
// The balance is carried over, clamped to what both old and new can hold.
func (r *reshaper) kept(w *Write, i int, was *LimitState, p Params, x want) verdict {
	oldF, newF := was.Refill.Total(r.t), p.Refill.Total(r.t)
	raw := was.Balance.plus(oldF)
	most := min(was.Capacity, p.Capacity)
	slack := min(r.slackOf(&was.Params), r.slackOf(&p))
	if x.need > 0 && x.need > min(raw, most) {
		return verdictShort
	}
	r.touched = r.touched || x.c > 0
	lw := LimitWrite{Slot: i + 1, Min: NoMin, Max: NoMax, Charged: x.c}
	if p != was.Params {
		lw.Params = &p
	}
	least := Millitokens(0)
	if raw > most.plus(slack) {
		lw.Form, lw.Value = FormSet, most.minus(x.c).minus(newF)
		lw.Min = most.minus(oldF)
	} else {
		lw.Form, lw.Value = FormAdd, oldF.minus(newF).minus(x.c)
		lw.Max = most.plus(slack).minus(oldF)
		switch {
		case x.need > 0:
			lw.Min = x.need.minus(oldF)
		default: // its debt must be known: the expiry covers all limits
			least = min(0, raw).minus(p.Capacity)
			lw.Min = least.minus(oldF)
		}
	}
	r.need = max(r.need, r.fullBy(&p, least))
	w.Limits = append(w.Limits, lw)
	return verdictWrite
}

// planCredit gives tokens back to the incarnation that they were taken from,
// by slot: charge.md 2.5. Nothing else is asked of the bucket, and what
// overflows is clamped by the next charge.
func planCredit(w *Write, k Key, t, born Stamp, back []slotAmount) {
	*w = Write{Key: k, Op: OpCredit, Stamp: t, BornIs: &born, Limits: w.Limits[:0]}
	for _, b := range back {
		w.Limits = append(w.Limits, LimitWrite{
			Slot: b.slot, Min: NoMin, Max: NoMax, Exists: true,
			Form: FormAdd, Value: b.amount, Returned: b.amount,
		})
	}
}

// slotAmount is an amount of one limit of a bucket.
type slotAmount struct {
	slot   int
	name   string
	amount Millitokens
}
