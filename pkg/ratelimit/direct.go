package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// direct is the engine for a store in the process: it asks the store in the
// caller's goroutine, plans, applies, and plans again for as long as the state
// that comes back has enough.
type direct struct {
	store      Store
	compensate time.Duration // bounds giving back
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

func (e *direct) look(ctx context.Context, b *batch) error {
	for i := range b.works {
		if err := e.read(ctx, &b.works[i]); err != nil {
			return err
		}
	}
	return nil
}

// read reads the bucket and plans, without writing.
func (e *direct) read(ctx context.Context, w *work) error {
	s, err := e.store.Get(ctx, w.target.Key)
	if err != nil {
		return &unavailableError{err}
	}
	w.observe(s)
	w.replan()
	return nil
}

// run charges: first it looks at every bucket, so that a denial costs no
// write; then settlements; then the charges, one after the other, giving back
// when a later one is denied.
func (e *direct) run(ctx context.Context, b *batch, _ bool) error {
	if err := e.look(ctx, b); err != nil {
		return err
	}
	for i := range b.works {
		if w := &b.works[i]; w.settle {
			if err := e.charge(ctx, w); err != nil {
				return err
			}
		}
	}
	if b.denied() { // nothing to give back
		return nil
	}
	for i := range b.works {
		if b.denied() {
			break
		}
		w := &b.works[i]
		if w.settle {
			continue
		}
		if err := e.charge(ctx, w); err != nil {
			return errors.Join(err, e.undo(ctx, b))
		}
	}
	if b.denied() {
		return e.undo(ctx, b)
	}
	return nil
}

// undo gives back what was charged for a request that is not admitted. It goes
// on when the caller has gone away.
func (e *direct) undo(ctx context.Context, b *batch) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.compensate)
	defer cancel()
	var errs []error
	for i := range b.works {
		if w := &b.works[i]; !w.settle {
			if err := e.giveBack(ctx, w); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

func (e *direct) adjust(ctx context.Context, w *work) error {
	if err := e.read(ctx, w); err != nil {
		return err
	}
	return e.charge(ctx, w)
}

func (e *direct) close(context.Context) error { return nil }

// charge sends what was planned, and plans and sends again until the charge is
// applied or is proven impossible. An error matches ErrUnavailable: the outcome
// is unknown.
func (e *direct) charge(ctx context.Context, w *work) error {
	for range maxTries {
		if w.verdict != verdictWrite && w.verdict != verdictReshape {
			return nil
		}
		s, err := e.store.Apply(ctx, &w.write)
		if err == nil {
			w.observe(s)
			if w.verdict == verdictWrite {
				w.took()
				return nil
			}
		} else if err := w.refused(ctx, err); err != nil {
			return err
		}
		w.replan()
	}
	return &contendedError{tries: maxTries}
}

// refused takes on the state by which a write was refused; the error is one
// whose outcome is unknown.
func (w *work) refused(ctx context.Context, err error) error {
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		w.observe(refused.State)
	case errors.Is(err, ErrNotApplied) && !errors.Is(err, ErrUnusable) && ctx.Err() == nil:
	default:
		return &unavailableError{err}
	}
	return nil
}

// giveBack credits what was charged. Sent once: what an unknown outcome lost
// stays lost until it is refilled.
func (e *direct) giveBack(ctx context.Context, w *work) error {
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
