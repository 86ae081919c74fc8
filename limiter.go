package extauthz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/extauthz/extauthz/internal/stack"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Limiter charges buckets, and changes limits, in one namespace of a store. It
// is safe for concurrent use. Make one with [Open].
type Limiter struct {
	namespace string
	shared    *shared
}

// shared is what the Limiters of all namespaces of a store have in common.
type shared struct {
	options Options
	store   store
	cache   *hierarchy.Cache
	limiter *ratelimit.Limiter
	stack   *stack.Stack  // nil: there can't be one
	who     func() string // authenticates the caller, once
}

// Acquire charges what a request asks for, of all limits of its bucket and of
// its parents', or of none. Close the lease, or use [Limiter.Do].
//
// The errors: an [*ExceededError] when it was denied; one that matches
// [ErrUnavailable] when the store gave no answer, or [ErrUnknownNamespace];
// [*InvalidKeyError], [*InvalidCostError] or [*InvalidLimitError] when the
// request can't be asked; the context's.
func (l *Limiter) Acquire(ctx context.Context, r Request) (*Lease, error) {
	return l.shared.limiter.Acquire(ctx, l.own(r))
}

// Do acquires, calls f, and commits; it gives back when f returns an error or
// panics. It returns f's error, or that of Acquire or of the lease's Commit.
func (l *Limiter) Do(ctx context.Context, r Request, f func(context.Context, *Lease) error) error {
	return l.shared.limiter.Do(ctx, l.own(r), f)
}

// Balance is what is left in the bucket of a request, and in those of its
// parents; its Consume is not asked for. The errors are those of Acquire.
func (l *Limiter) Balance(ctx context.Context, r Request) ([]BucketStatus, error) {
	return l.shared.limiter.Balance(ctx, l.own(r))
}

// own is a request in the Limiter's namespace, unless it names one.
func (l *Limiter) own(r Request) Request {
	if r.Namespace == "" {
		r.Namespace = l.namespace
	}
	return r
}

// Namespace is a Limiter of another namespace of the same store, which it
// registers where [Options.Register] is set. It shares all with this one and
// needs no Close; after that of the one that was opened it must not be used. The
// error matches [ErrUnknownNamespace], or is an [*InvalidKeyError] or the
// store's.
func (l *Limiter) Namespace(ctx context.Context, name string) (*Limiter, error) {
	if err := ratelimit.CheckNamespace(name); err != nil {
		return nil, err
	}
	other := &Limiter{namespace: name, shared: l.shared}
	if err := other.find(ctx); err != nil {
		return nil, err
	}
	return other, nil
}

// find sees to it that the namespace is there, if that is its caller's to do.
func (l *Limiter) find(ctx context.Context) error {
	s := l.shared
	_, err := s.store.Namespace(ctx, l.namespace)
	switch {
	case !errors.Is(err, ErrUnknownNamespace):
		return err
	case !s.options.Register && l.namespace != ratelimit.DefaultNamespace:
		return fmt.Errorf("%w: register it, or set Options.Register", err)
	}
	if _, err := s.store.RegisterNamespace(ctx, l.namespace, l.cause()); err != nil {
		return fmt.Errorf("registering the namespace %q: %w", l.namespace, err)
	}
	l.refresh(ctx)
	return nil
}

// refresh lets this process see what it has changed. Where the store gives no
// answer any more, the change is seen within seconds all the same.
func (l *Limiter) refresh(ctx context.Context) {
	if err := l.shared.cache.Refresh(ctx, l.namespace); err != nil {
		l.shared.options.Log.Warn("a change of limits was made, and is seen late", "namespace", l.namespace, "err", err)
	}
}

// closeWithin bounds Close.
const closeWithin = 10 * time.Second

// Close waits for what is on its way to the store, for 10 seconds at most, and
// closes it. The Limiter, and those that Namespace made of it, must not be used
// any more; closing one again does nothing.
func (l *Limiter) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	var errs []error
	if err := l.shared.limiter.Close(ctx); err != nil {
		errs = append(errs, fmt.Errorf("waiting for the last writes: %w", err))
	}
	l.shared.cache.Close()
	l.shared.closeStack()
	if err := l.shared.store.Close(); err != nil {
		errs = append(errs, fmt.Errorf("closing the store: %w", err))
	}
	return errors.Join(errs...)
}
