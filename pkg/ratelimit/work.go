package ratelimit

import (
	"context"
	"time"
)

// engine charges the buckets of decisions. It is safe for concurrent use.
type engine interface {
	// run charges all of a batch, or none of it but what settles. The error
	// matches ErrUnavailable, or is the context's; keep says that the caller
	// will be admitted in that case, so that what is charged stays charged.
	run(ctx context.Context, b *batch, keep bool) error
	// look plans each of a batch's works, and charges nothing.
	look(ctx context.Context, b *batch) error
	// adjust books what a lease is net more, and gives back what it is net less.
	adjust(ctx context.Context, w *work) error
	// giveBack credits what a work has taken. It is sent once: what an unknown
	// outcome lost stays lost until it is refilled.
	giveBack(ctx context.Context, w *work) error
	// close waits for what is out.
	close(ctx context.Context) error
}

// work is one bucket in a decision: what is wanted of it, the state seen last,
// and what became of it.
type work struct {
	situation
	now     Stamp
	costs   []Cost
	net     []want // instead of costs: amounts of a lease, of either sign
	write   Write
	verdict verdict       // of the last plan
	applied bool          // the last plan's write was applied
	cached  bool          // the verdict rests on a state seen before
	rest    time.Duration // not 0: how long verdictShort stands at least, whatever is refilled
	by      Stamp         // with rest: by which the bucket was short
	taken   []slotAmount  // what was charged and not given back
}

// observe takes on a state that the store returned.
func (w *work) observe(s State) {
	w.state, w.t = s, w.now
	if s.Exists {
		w.t = max(w.now, s.Last)
	}
}

// denied reports whether the state seen last is proof that the charge can't be
// admitted.
func (w *work) denied() bool { return w.verdict == verdictShort || w.verdict == verdictNever }

// ask works out what is wanted of each limit of the bucket.
func (w *work) ask() {
	if len(w.net) > 0 {
		w.wants = append(w.wants[:0], w.net...)
		return
	}
	w.wants = wantsOf(w.wants[:0], w.target, &w.state, w.costs)
}

// add adds what a cost takes, after what is wanted already.
func (x *want) add(c *Cost) {
	n, named := c.Of(x.name)
	if !named {
		return
	}
	x.need = max(x.need, x.c.plus(max(Milli(n), 1)))
	x.c = x.c.plus(Milli(n))
}

func (w *work) replan() {
	w.ask()
	w.verdict = verdictNothing
	if len(w.wants) > 0 {
		w.verdict = w.plan(&w.write)
	}
}

// took remembers what the applied write charged, by slot.
func (w *work) took() {
	w.applied = true
	for i := range w.write.Limits {
		if l := &w.write.Limits[i]; l.Charged > 0 {
			w.taken = append(w.taken, slotAmount{slot: l.Slot, name: w.state.Limits[l.Slot-1].Name, amount: l.Charged})
		}
	}
}
