package extauthz

import (
	"context"
	"fmt"
	"time"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Ping asks the store whether the namespace is there, with one strongly
// consistent read. The error matches [ErrUnknownNamespace], or means that the
// store gave no answer.
func (l *Limiter) Ping(ctx context.Context) error {
	_, err := l.shared.store.Mark(ctx, l.namespace)
	return err
}

// Status is how a store and a namespace are.
type Status struct {
	Stack    string // the table's name; empty for an embedded store
	Path     string // of an embedded store's file; empty: there is none
	Embedded bool
	// Namespace has its revision: the number of changes made in it.
	Namespace hierarchy.Namespace
	Latency   time.Duration        // of the reads that found out
	Cache     hierarchy.CacheStats // what this process knows of limits
	Writes    ratelimit.Stats      // what this process has on its way to the table
}

// Status reads the namespace and tells how it went. The errors are those of
// Ping.
func (l *Limiter) Status(ctx context.Context) (Status, error) {
	s := l.shared
	start := time.Now()
	ns, err := s.store.Namespace(ctx, l.namespace)
	if err != nil {
		return Status{}, fmt.Errorf("reading the namespace: %w", err)
	}
	return Status{
		Stack: s.options.Stack, Path: s.options.Path, Embedded: s.options.Embedded,
		Namespace: ns, Latency: time.Since(start), Cache: s.cache.Stats(), Writes: s.limiter.Stats(),
	}, nil
}
