package ratelimit

import (
	"context"
	"errors"
)

// Credit gives back what charges like those of the ask take, in each bucket up
// to its capacity, and says what is there then. It can't know whether they were
// ever taken: whoever asks for more than was charged has made tokens. A bucket
// that is absent is full, and a cost of 0 gives nothing back.
//
// Each bucket's credit is sent once. The errors are those of [Limiter.Look]; one
// that matches [ErrUnavailable] says that some of it may be lost.
func (l *Limiter) Credit(ctx context.Context, a Ask) (Decision, error) {
	b := l.batch()
	defer l.recycle(b)
	if err := l.look(ctx, b, &a); err != nil {
		return Decision{}, err
	}
	var errs []error
	for i := range b.works {
		w := &b.works[i]
		w.verdict, w.applied = verdictNothing, true // it denies nobody
		if w.state.Exists {
			w.taken = given(w.taken[:0], w.wants, &w.state)
			errs = append(errs, l.engine.giveBack(ctx, w))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Decision{}, unknownOr(err)
	}
	return b.decision(a.Charges), nil
}

// given appends what is wanted of the limits that a bucket has, by slot.
func given(out []slotAmount, wants []want, s *State) []slotAmount {
	for _, x := range taken(nil, wants, s) {
		if s.Limits[x.slot-1].On {
			out = append(out, x)
		}
	}
	return out
}
