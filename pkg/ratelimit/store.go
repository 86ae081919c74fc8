package ratelimit

import (
	"context"
	"fmt"
)

// Store keeps buckets. It executes the writes that this package plans and
// knows no arithmetic. It is safe for concurrent use, and every State that it
// returns is the caller's to keep and nobody's to change.
type Store interface {
	// Apply makes one conditional change of one bucket, atomically and at most
	// once: a store never sends a write again whose outcome it does not know.
	// It returns the bucket as the change left it.
	//
	// Errors: a [*RefusedError] when the condition was false, with the bucket
	// as it is; one that matches [ErrNotApplied] when the change was certainly
	// not made, and [ErrThrottled] or [ErrUnusable] beside it where that is
	// why; any other means that the outcome is unknown, and the change must be
	// taken as made. The write may be used again once Apply returned.
	Apply(ctx context.Context, w *Write) (State, error)

	// Get reads a bucket; of one that is absent, a State with Exists false. It
	// may be slightly out of date where the store is not in the process.
	Get(ctx context.Context, k Key) (State, error)
}

// RefusedError is a store's answer to a write whose condition was false.
type RefusedError struct {
	State State // the bucket as the store found it, Exists false when absent
}

func (e *RefusedError) Error() string {
	if !e.State.Exists {
		return "the condition of the write was false: the bucket is absent"
	}
	return fmt.Sprintf("the condition of the write was false: the bucket has revision %d", e.State.Revision)
}
