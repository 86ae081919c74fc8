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
	// Available says that the store has answered, and within Latency.
	Available bool
	// StackStatus is CloudFormation's of the stack: CREATE_COMPLETE and the like,
	// with IN_PROGRESS or FAILED in it where there is something to wait for or to
	// see to. Empty: the table belongs to no stack, or that can't be asked.
	StackStatus string

	Stack    string // the table's name; empty for an embedded store
	Path     string // of an embedded store's file; empty: there is none
	Embedded bool
	// Namespace has its revision: the number of changes made in it.
	Namespace hierarchy.Namespace
	Latency   time.Duration        // of the reads that found out
	Cache     hierarchy.CacheStats // what this process knows of limits
	Writes    ratelimit.Stats      // what this process has on its way to the table
}

// stackTimeout bounds the question how a stack is.
const stackTimeout = 5 * time.Second

// Status reads the namespace and tells how it went. It returns what it knows
// with an error too: that of Ping, when the store is not available.
func (l *Limiter) Status(ctx context.Context) (Status, error) {
	s := l.shared
	st := Status{
		Stack: s.options.Stack, Path: s.options.Path, Embedded: s.options.Embedded,
		Cache: s.cache.Stats(), Writes: s.limiter.Stats(),
	}
	start := time.Now()
	ns, err := s.store.Namespace(ctx, l.namespace)
	if err == nil {
		st.Available, st.Namespace, st.Latency = true, ns, time.Since(start)
	} else {
		err = fmt.Errorf("reading the namespace: %w", err)
	}
	if s.stack != nil {
		ctx, cancel := context.WithTimeout(ctx, stackTimeout)
		defer cancel()
		if is, err := s.stack.State(ctx); err == nil { // else it stays unknown
			st.StackStatus = is.Status
		}
	}
	return st, err
}
