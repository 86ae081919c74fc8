package ratelimit

import "slices"

// job is what one caller wants of one bucket, on its way through the bucket's
// actor. Its fields belong to the actor until done is called.
type job struct {
	kind   jobKind
	target *Target
	costs  []Cost // of a charge, a settlement or a look
	net    []want // of an adjustment, instead of costs
	born   Stamp  // the incarnation that an adjustment or a credit is for
	back   []slotAmount

	// done is called once, with no lock held, when the job has its outcome.
	done func(*job)

	wants     []want
	byItem    bool // wants are by the bucket's limits, which are newer than the target's
	asked     bool
	inFlight  bool
	abandoned bool // the caller has gone; see keep
	keep      bool // an abandoned charge stays charged when it was applied

	outcome outcome
	err     error
	state   State // that the outcome rests on
	t       Stamp
	cached  bool // the outcome needed no answer of the store
	told    bool // the caller's: done was called
	taken   []slotAmount
}

// jobKind is what kind of write a job needs. Jobs of one kind are merged.
type jobKind uint8

const (
	jobCharge jobKind = iota
	jobSettle         // settlements and adjustments
	jobCredit
	jobLook
	jobNone // nothing to do
)

// outcome is what became of a job.
type outcome uint8

const (
	outcomeNone    outcome = iota
	outcomeApplied         // or, of a look, there was enough
	outcomeShort
	outcomeNever
	outcomeFailed // see err
)

// ask works out what the job wants of each limit, by the names that are in
// force.
func (j *job) ask(state *State) {
	byItem := state.Exists && state.Revision > j.target.Revision
	if j.asked && byItem == j.byItem || j.kind == jobCredit {
		return
	}
	j.asked, j.byItem = true, byItem
	if j.net != nil {
		j.wants = j.net
		return
	}
	j.wants = wantsOf(j.wants[:0], j.target, state, j.costs)
}

// wantsOf is what costs want of the limits of a bucket, in sum.
func wantsOf(out []want, t *Target, state *State, costs []Cost) []want {
	names(t, state, func(name string) bool {
		x := want{name: name}
		for i := range costs {
			x.add(&costs[i])
		}
		if x.need > 0 {
			out = append(out, x)
		}
		return true
	})
	return out
}

// merges reports whether two jobs can be part of one write.
func (j *job) merges(o *job) bool {
	if j.kind != o.kind {
		return false
	}
	if j.kind == jobCredit {
		return j.born == o.born
	}
	if j.born != 0 && o.born != 0 && j.born != o.born {
		return false
	}
	return sameTarget(j.target, o.target)
}

// sameTarget reports whether two targets of one bucket charge it alike.
func sameTarget(a, b *Target) bool {
	return a == b || a.Revision == b.Revision && a.Expires == b.Expires && slices.Equal(a.Limits, b.Limits)
}
