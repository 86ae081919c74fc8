package ratelimit

import (
	"math"
	"time"
)

// decision says what came of a batch.
func (b *batch) decision(charges []Charge) Decision {
	n := 0
	for i := range b.entries {
		if e := &b.entries[i]; e.work >= 0 {
			n += max(len(b.works[e.work].state.Limits), len(e.target.Limits))
		}
	}
	var d Decision
	var statuses []LimitStatus
	if len(b.entries) == 1 && n <= 2 { // most are: one allocation
		room := new(struct {
			buckets [1]BucketStatus
			limits  [2]LimitStatus
		})
		d.Buckets, statuses = room.buckets[:], room.limits[:0]
	} else {
		d.Buckets, statuses = make([]BucketStatus, len(b.entries)), make([]LimitStatus, 0, n)
	}
	for i := range b.entries {
		from := len(statuses)
		statuses = b.status(&d.Buckets[i], &b.entries[i], charges, statuses)
		d.Buckets[i].Limits = statuses[from:len(statuses):len(statuses)]
	}
	d.Reason, d.RetryAfter = b.reason(&d)
	d.Allowed = d.Reason < ReasonExceeded
	if !d.Allowed && b.cached() {
		d.Source = SourceCache
	}
	return d
}

// reason is the reason for the decision, and the wait if it is a denial.
func (b *batch) reason(d *Decision) (Reason, time.Duration) {
	switch {
	case b.disabled:
		return ReasonDisabled, 0
	case b.required:
		return ReasonUnlimited, 0
	}
	wait, limits, bypass, denied := time.Duration(0), false, false, false
	for i := range d.Buckets {
		s := &d.Buckets[i]
		limits = limits || !s.NoLimits
		bypass = bypass || s.Mode == ModeBypass
		for j := range s.Limits {
			if l := &s.Limits[j]; l.Never {
				return ReasonNever, 0
			} else if l.Violated {
				denied = true
				wait = max(wait, l.RetryAfter)
			}
		}
	}
	switch {
	case denied || b.denied():
		return ReasonExceeded, max(wait, time.Millisecond)
	case !limits:
		return ReasonNoLimits, 0
	case bypass && len(b.works) == 0:
		return ReasonBypass, 0
	}
	return ReasonAllowed, 0
}

// status fills what is said of one entry, and appends its limits to out.
func (b *batch) status(s *BucketStatus, e *entry, charges []Charge, out []LimitStatus) []LimitStatus {
	s.Charge, s.Parent, s.Tier, s.Metadata = e.charge, e.parent, e.tier, e.metadata
	s.Key = charges[e.charge].Query.Key
	if e.target == nil {
		s.NoLimits = true
		return out
	}
	s.Key, s.Level, s.Mode = e.target.Key, e.target.Level, e.target.Mode
	if e.work < 0 {
		return out
	}
	w := &b.works[e.work]
	cost := &charges[e.charge].Cost
	takes := cost.Takes()
	names(w.target, &w.state, func(name string) bool {
		n, named := cost.Of(name)
		if named || !cost.all && len(takes) == 0 {
			out = append(out, w.status(name, n, named))
		}
		return true
	})
	for _, t := range takes {
		if !w.has(t.Limit) {
			s.Unknown = append(s.Unknown, t.Limit)
		}
	}
	return out
}

// has reports whether a charge may take from a limit of this name.
func (w *work) has(name string) (found bool) {
	names(w.target, &w.state, func(n string) bool {
		found = n == name
		return !found
	})
	return found
}

// status is what is said of one limit, from the state seen last. Where the
// state does not have the limit, or not with the numbers that are in force, it
// is as it would be once it has.
func (w *work) status(name string, cost int64, named bool) LimitStatus {
	l := w.limit(name)
	s := LimitStatus{Limit: l.limit(), Cost: cost, Looked: named && cost == 0, Balance: l.Available(w.t)}
	s.FullAfter = until(w.t, l.EnoughAt(l.Capacity))
	if w.settle || !named || w.applied || w.verdict == verdictNothing {
		return s
	}
	need := w.want(name).need
	if w.rest > 0 { // what is refilled until the store is asked again doesn't count
		s.Balance = min(s.Balance, l.Available(w.by))
	}
	switch {
	case need > l.Capacity:
		s.Violated, s.Never = true, true
	case s.Balance < need:
		s.Violated = true
		s.RetryAfter = max(until(w.t, l.EnoughAt(need)), w.rest)
	}
	return s
}

// limit is the limit that has these parameters.
func (p Params) limit() Limit {
	l := Limit{Name: p.Name, Burst: p.Capacity.Tokens()}
	if c, ok := p.Refill.(Continuous); ok {
		l.Rate, l.Period = c.Amount.Tokens(), time.Duration(c.Period)*time.Millisecond
	}
	return l
}

// until is the time from one stamp to a later one; 0 when it is not later.
func until(from, to Stamp) time.Duration {
	const most = math.MaxInt64 / int64(time.Millisecond)
	if to <= from {
		return 0
	}
	return time.Duration(min(int64(to)-int64(from), most)) * time.Millisecond
}
