package ratelimit

import (
	"context"
	"errors"
	"fmt"
)

// engine charges single buckets: it plans, applies, and plans again for as
// long as the state that comes back has enough.
type engine struct {
	store Store
	slack int64 // milliseconds, see situation
}

// maxTries bounds the races that a charge may lose against other writers
// before it counts as contended. Each try has seen a state with enough.
const maxTries = 100

// contendedError is returned for a charge that lost every race: nobody can say
// whether it would have been admitted.
type contendedError struct{ tries int }

func (e *contendedError) Error() string {
	return fmt.Sprintf("the bucket is contended: %d writes lost a race", e.tries)
}

func (e *contendedError) Is(target error) bool { return target == ErrUnavailable }

// unavailableError is a failure of the store behind a charge.
type unavailableError struct{ err error }

func (e *unavailableError) Error() string        { return ErrUnavailable.Error() + ": " + e.err.Error() }
func (e *unavailableError) Unwrap() error        { return e.err }
func (e *unavailableError) Is(target error) bool { return target == ErrUnavailable }

// work is one bucket in a decision: what is wanted of it, the state seen last,
// and what became of it.
type work struct {
	situation
	now     Stamp
	costs   []Cost
	adjust  []want // instead of costs: amounts of a lease, of either sign
	write   Write
	verdict verdict      // of the last plan
	applied bool         // the last plan's write was applied
	taken   []slotAmount // what was charged and not given back
}

// observe takes on a state that the store returned.
func (w *work) observe(s State) {
	w.state = s
	w.t = max(w.now, s.Last)
}

// denied reports whether the state seen last is proof that the charge can't be
// admitted.
func (w *work) denied() bool { return w.verdict == verdictShort || w.verdict == verdictNever }

// ask works out what is wanted of each limit of the bucket.
func (w *work) ask() {
	w.wants = w.wants[:0]
	if len(w.adjust) > 0 {
		w.wants = append(w.wants, w.adjust...)
		return
	}
	names(w.target, &w.state, func(name string) bool {
		x := want{name: name}
		named := false
		for _, c := range w.costs {
			n, ok := c.Of(name)
			named = named || ok
			x.look = x.look || ok && n == 0
			x.c = x.c.plus(Milli(n))
		}
		if named {
			w.wants = append(w.wants, x)
		}
		return true
	})
}

// look reads the bucket and plans, without writing.
func (e *engine) look(ctx context.Context, w *work) error {
	s, err := e.store.Get(ctx, w.target.Key)
	if err != nil {
		return &unavailableError{err}
	}
	w.observe(s)
	w.replan()
	return nil
}

func (w *work) replan() {
	w.ask()
	w.verdict = verdictNothing
	if len(w.wants) > 0 {
		w.verdict = w.plan(&w.write)
	}
}

// charge sends what was planned, and plans and sends again until the charge is
// applied or is proven impossible. An error matches ErrUnavailable: the outcome
// is unknown.
func (e *engine) charge(ctx context.Context, w *work) error {
	for range maxTries {
		if w.verdict != verdictWrite && w.verdict != verdictReshape {
			return nil
		}
		s, err := e.store.Apply(ctx, &w.write)
		var refused *RefusedError
		switch {
		case err == nil:
			w.observe(s)
			if w.verdict == verdictWrite {
				w.took()
				return nil
			}
		case errors.As(err, &refused):
			w.observe(refused.State)
		case errors.Is(err, ErrNotApplied) && ctx.Err() == nil:
		default:
			return &unavailableError{err}
		}
		w.replan()
	}
	return &contendedError{tries: maxTries}
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

// giveBack credits what was charged. Sent once: what an unknown outcome lost
// stays lost until it is refilled.
func (e *engine) giveBack(ctx context.Context, w *work) error {
	if len(w.taken) == 0 {
		return nil
	}
	planCredit(&w.write, w.target.Key, w.t, w.state.Born, w.taken)
	w.taken = w.taken[:0]
	s, err := e.store.Apply(ctx, &w.write)
	var refused *RefusedError
	switch {
	case err == nil:
		w.observe(s)
	case errors.As(err, &refused): // that incarnation is gone: nothing to give back to
		w.observe(refused.State)
	default:
		return &unavailableError{err}
	}
	return nil
}
