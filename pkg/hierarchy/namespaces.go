package hierarchy

import (
	"context"
	"slices"
	"time"
)

// Namespaces are the namespaces of a store. A name leads to an id, which is
// never used again and begins all that the namespace holds: a name that is
// given away shows nothing of what it led to before. It is safe for concurrent
// use, also by many processes.
//
// Registering, deleting and recovering are changes of the namespace: each
// raises its revision and writes an audit event. Names are those of
// ratelimit.CheckNamespace, whose error they bring.
type Namespaces interface {
	// RegisterNamespace makes a namespace, or returns the one that the name
	// leads to already.
	RegisterNamespace(ctx context.Context, name string, c Cause) (Namespace, error)

	// Namespace is the one that a name leads to. The error matches
	// [ErrUnknownNamespace] when there is none.
	Namespace(ctx context.Context, name string) (Namespace, error)

	// Namespaces lists those that a name leads to, in the order of their names.
	Namespaces(ctx context.Context, p Page) (NamespaceListing, error)

	// Orphans lists those that no name leads to: deleted ones, and what an
	// interrupted purge left.
	Orphans(ctx context.Context, p Page) (NamespaceListing, error)

	// DeleteNamespace takes the name away from a namespace and keeps all that it
	// holds, to be recovered or purged by its id. Processes notice within
	// seconds.
	DeleteNamespace(ctx context.Context, name string, c Cause) (Namespace, error)

	// RecoverNamespace gives a deleted namespace its name back. The error is a
	// [*NameTakenError] when the name leads to another by now, and matches
	// [ErrPurged] when a purge has begun.
	RecoverNamespace(ctx context.Context, id string, c Cause) (Namespace, error)

	// PurgeNamespace removes a deleted namespace and all that it holds, for
	// ever: configuration, buckets, audit, usage. The error matches
	// [ErrNamespaceActive] while a name leads to it. It may be called again
	// after an interruption, and goes on from there. progress, if not nil, is
	// called now and then with the number of items removed so far.
	PurgeNamespace(ctx context.Context, id string, progress func(removed int)) error
}

// Namespace is an isolated tenant world.
type Namespace struct {
	Name      string
	ID        string // opaque
	State     NamespaceState
	CreatedAt time.Time
	DeletedAt time.Time // zero while active
	Revision  int64
}

// NamespaceState is what became of a namespace.
type NamespaceState uint8

// The states.
const (
	NamespaceActive  NamespaceState = iota
	NamespaceDeleted                // it can be recovered
	NamespacePurging                // a purge has begun; there is no way back
)

var stateNames = [...]string{"active", "deleted", "purging"}

// String is the state's name, as it is stored and shown.
func (s NamespaceState) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// ParseNamespaceState reads what String writes.
func ParseNamespaceState(s string) (NamespaceState, bool) {
	i := slices.Index(stateNames[:], s)
	return NamespaceState(max(i, 0)), i >= 0 //nolint:gosec // one of three
}

// NamespaceListing is a part of a list of namespaces. Next is empty at the end.
type NamespaceListing struct {
	Namespaces []Namespace
	Next       string
}
