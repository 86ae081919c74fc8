package server

import (
	"context"
	"fmt"
	"time"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// limitsOf is the configuration of a store that may not be open yet.
type limitsOf struct{ store *store }

// Mark implements hierarchy.Source.
func (l limitsOf) Mark(ctx context.Context, namespace string) (hierarchy.Mark, error) {
	s, err := l.store.configuration()
	if err != nil {
		return hierarchy.Mark{}, err
	}
	return s.Mark(ctx, namespace)
}

// Changes implements hierarchy.Source.
func (l limitsOf) Changes(ctx context.Context, namespace string, after hierarchy.Mark) ([]hierarchy.Change, error) {
	s, err := l.store.configuration()
	if err != nil {
		return nil, err
	}
	return s.Changes(ctx, namespace, after)
}

// Items implements hierarchy.Source.
func (l limitsOf) Items(ctx context.Context, namespace string, refs []hierarchy.Ref) ([]hierarchy.Item, error) {
	s, err := l.store.configuration()
	if err != nil {
		return nil, err
	}
	return s.Items(ctx, namespace, refs)
}

// registerWithin bounds the registering of a namespace.
const registerWithin = 10 * time.Second

// register registers the namespace that the process is configured with, if it
// isn't.
func register(ctx context.Context, s admin.Store, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, registerWithin)
	defer cancel()
	by := hierarchy.Cause{By: hierarchy.Actor{Caller: "extauthz serve"}, At: time.Now()}
	if _, err := s.RegisterNamespace(ctx, namespace, by); err != nil {
		return fmt.Errorf("registering the namespace %q: %w", namespace, err)
	}
	return nil
}
