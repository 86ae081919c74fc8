package ratelimit

import (
	"slices"
	"time"
)

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
	next *job // in the list of those that are finished and not told yet

	wants     []want
	asked     bool
	revision  int64     // of the limits by which wants are
	since     time.Time // of its queueing, by the steady clock
	inFlight  bool
	read      bool // of a charge that only looks: the store was asked, nothing is to be written
	abandoned bool // the caller has gone; see keep
	keep      bool // an abandoned charge stays charged when it was applied

	outcome outcome
	err     error
	state   State // that the outcome rests on
	t       Stamp
	cached  bool          // the outcome needed no answer of the store
	rest    time.Duration // not 0: how long outcomeShort stands at least, whatever is refilled
	by      Stamp         // with rest: by which the bucket was short
	told    bool          // the caller's: done was called
	taken   []slotAmount

	room struct { // for what most jobs have, so that it is one allocation
		costs [1]Cost
		wants [1]want
		taken [1]slotAmount
	}
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

// tired reports whether the job has waited too long for the store to take it.
func (j *job) tired(now instant) bool { return now.steady.Sub(j.since) > patience }

// ask works out what the job wants of each limit, by the names that are in
// force: the target's, or the bucket's where those are newer.
func (j *job) ask(state *State) {
	revision := j.target.Revision
	if state.Exists {
		revision = max(revision, state.Revision)
	}
	if j.asked && revision == j.revision || j.kind == jobCredit {
		return
	}
	j.asked, j.revision = true, revision
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

// looks reports whether a charge takes nothing. No write asks the store for it,
// so it has to be read.
func (j *job) looks() bool { return j.kind == jobCharge && onlyLooks(j.wants) }

func onlyLooks(wants []want) bool {
	return len(wants) > 0 && !slices.ContainsFunc(wants, func(x want) bool { return x.c != 0 })
}

// merges reports whether two jobs can be part of one write.
func (j *job) merges(o *job) bool {
	if j.kind != o.kind || j.born != o.born {
		return false
	}
	return j.kind == jobCredit || sameTarget(j.target, o.target)
}

// sameTarget reports whether two targets of one bucket charge it alike.
func sameTarget(a, b *Target) bool {
	return a == b || a.Revision == b.Revision && a.Expires == b.Expires && slices.Equal(a.Limits, b.Limits)
}
