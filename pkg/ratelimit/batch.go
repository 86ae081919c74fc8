package ratelimit

import "context"

// batch is one decision on its way: the buckets that it concerns.
type batch struct {
	entries  []entry // one for each charge's bucket and each of its parents'
	works    []work  // one for each bucket that is charged
	fallback Fallback
	asked    *asked
	disabled bool // a bucket's mode denies
	required bool // no limits apply to a charge that requires some
}

// entry is one charge's interest in one bucket.
type entry struct {
	charge, parent int
	target         *Target // nil: no limits apply
	tier           string
	metadata       map[string]string
	work           int // index, or -1 when the bucket isn't charged
}

// resolve finds out which buckets the charges concern.
func (b *batch) resolve(ctx context.Context, slack int64, a *Ask) error {
	t, charges := StampOf(a.Now), a.Charges
	for i := range charges {
		res, err := a.Resolver.Resolve(ctx, charges[i].Query)
		if i == 0 {
			b.fallback = res.OnUnavailable
		}
		if err != nil {
			return &unavailableError{err}
		}
		e := entry{charge: i, tier: res.Tier, metadata: res.Metadata, work: -1}
		if len(res.Targets) == 0 {
			b.entries = append(b.entries, e)
			b.required = b.required || charges[i].Required && !charges[i].Settle
		}
		for j := range res.Targets {
			e.parent, e.target, e.work = j, &res.Targets[j], -1
			switch {
			case e.target.Mode == ModeDisabled:
				b.disabled = b.disabled || !charges[i].Settle
			case e.target.Mode != ModeBypass && len(e.target.Limits) > 0:
				e.work = b.workOf(e.target, &charges[i], t, slack)
			}
			b.entries = append(b.entries, e)
		}
	}
	return nil
}

// workOf is the index of the work on a target's bucket, with the charge's cost
// added to it.
func (b *batch) workOf(t *Target, c *Charge, now Stamp, slack int64) int {
	for i := range b.works {
		if w := &b.works[i]; w.target.Key == t.Key && w.settle == c.Settle {
			w.costs = append(w.costs, c.Cost)
			return i
		}
	}
	if len(b.works) < cap(b.works) {
		b.works = b.works[:len(b.works)+1] // its slices are used again
	} else {
		b.works = append(b.works, work{})
	}
	w := &b.works[len(b.works)-1]
	w.target, w.settle, w.now, w.t, w.slack = t, c.Settle, now, now, slack
	w.costs = append(w.costs, c.Cost)
	return len(b.works) - 1
}

// denied reports whether the charges can't all be admitted.
func (b *batch) denied() bool {
	return b.disabled || b.required || b.any(func(w *work) bool { return !w.settle && w.denied() })
}

// settled reports whether all that settles was booked.
func (b *batch) settled() bool {
	return !b.any(func(w *work) bool { return w.settle && !w.applied })
}

// cached reports whether what denies rests on states seen before.
func (b *batch) cached() bool {
	return b.any(func(w *work) bool { return w.denied() && w.cached })
}

// any reports whether something is true of any work. A work is large: it is
// looked at where it lies.
func (b *batch) any(is func(w *work) bool) bool {
	for i := range b.works {
		if is(&b.works[i]) {
			return true
		}
	}
	return false
}
