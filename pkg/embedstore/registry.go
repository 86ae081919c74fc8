package embedstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

var _ hierarchy.Namespaces = (*Store)(nil)

// space is a namespace as charges see it: its buckets belong to it, and not to
// its name.
type space struct {
	id string
	// gone is set before a purge takes the buckets away, so that none comes
	// after it.
	gone atomic.Bool
	// forgot is when operations were forgotten last; only an update touches it.
	forgot time.Time
}

// namespaceRecord is a namespace as it is kept.
type namespaceRecord hierarchy.Namespace

type namespaceJSON struct {
	Name      string    `json:"name"`
	ID        string    `json:"id"`
	State     string    `json:"state"`
	CreatedAt time.Time `json:"created_at"`
	DeletedAt time.Time `json:"deleted_at,omitzero"`
	Revision  int64     `json:"revision"`
}

func (n namespaceRecord) MarshalJSON() ([]byte, error) {
	return json.Marshal(namespaceJSON{n.Name, n.ID, n.State.String(), n.CreatedAt, n.DeletedAt, n.Revision})
}

func (n *namespaceRecord) UnmarshalJSON(b []byte) error {
	var j namespaceJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	state, ok := hierarchy.ParseNamespaceState(j.State)
	if !ok {
		return fmt.Errorf("the state %q of a namespace is not known", j.State)
	}
	*n = namespaceRecord{j.Name, j.ID, state, j.CreatedAt, j.DeletedAt, j.Revision}
	return nil
}

// active is the namespace that a name leads to.
func active(r reader, name string) (hierarchy.Namespace, error) {
	id, err := r.get(nameKey(name))
	if err == nil && id == nil {
		err = hierarchy.ErrUnknownNamespace
	}
	if err != nil {
		return hierarchy.Namespace{}, fmt.Errorf("namespace %q: %w", name, err)
	}
	return namespace(r, string(id))
}

// namespace is the one of an id.
func namespace(r reader, id string) (hierarchy.Namespace, error) {
	var n namespaceRecord
	found, err := read(r, idKey(id), &n)
	if err == nil && !found {
		err = hierarchy.ErrUnknownNamespace
	}
	if err != nil {
		return hierarchy.Namespace{}, fmt.Errorf("namespace %s: %w", id, err)
	}
	return hierarchy.Namespace(n), nil
}

// RegisterNamespace makes a namespace, or returns the one that the name leads
// to already.
func (s *Store) RegisterNamespace(ctx context.Context, name string, c hierarchy.Cause) (hierarchy.Namespace, error) {
	if err := ratelimit.CheckNamespace(name); err != nil {
		return hierarchy.Namespace{}, err
	}
	return s.change(ctx, c, hierarchy.ActionRegister, func(r reader) (hierarchy.Namespace, bool, error) {
		ns, err := active(r, name)
		if !errors.Is(err, hierarchy.ErrUnknownNamespace) {
			return ns, false, err
		}
		return hierarchy.Namespace{Name: name, ID: strings.ToLower(rand.Text()), CreatedAt: c.At}, true, nil
	})
}

// DeleteNamespace takes the name away from a namespace, and keeps all that it
// holds.
func (s *Store) DeleteNamespace(ctx context.Context, name string, c hierarchy.Cause) (hierarchy.Namespace, error) {
	return s.change(ctx, c, hierarchy.ActionDelete, func(r reader) (hierarchy.Namespace, bool, error) {
		ns, err := active(r, name)
		ns.State, ns.DeletedAt = hierarchy.NamespaceDeleted, c.At
		return ns, true, err
	})
}

// RecoverNamespace gives a deleted namespace its name back.
func (s *Store) RecoverNamespace(ctx context.Context, id string, c hierarchy.Cause) (hierarchy.Namespace, error) {
	return s.change(ctx, c, hierarchy.ActionRecover, func(r reader) (hierarchy.Namespace, bool, error) {
		ns, err := namespace(r, id)
		switch {
		case err != nil || ns.State == hierarchy.NamespaceActive:
			return ns, false, err
		case ns.State == hierarchy.NamespacePurging:
			return ns, false, fmt.Errorf("namespace %s: %w", id, hierarchy.ErrPurged)
		}
		other, err := r.get(nameKey(ns.Name))
		if err == nil && other != nil {
			err = &hierarchy.NameTakenError{Name: ns.Name, ID: string(other)}
		}
		ns.State, ns.DeletedAt = hierarchy.NamespaceActive, time.Time{}
		return ns, true, err
	})
}

// change makes a change of a namespace itself: plan says what becomes of it, and
// whether anything does.
func (s *Store) change(
	ctx context.Context, c hierarchy.Cause, action string, plan func(reader) (hierarchy.Namespace, bool, error),
) (hierarchy.Namespace, error) {
	if err := c.Check(); err != nil {
		return hierarchy.Namespace{}, err
	}
	c.At = hierarchy.Kept(c.At)
	s.registering.Lock() // what charges see follows the records, in their order
	defer s.registering.Unlock()
	var ns hierarchy.Namespace
	err := s.update(ctx, func(w writer) error {
		planned, changes, err := plan(w)
		if ns = planned; err != nil || !changes {
			return err
		}
		ns.Revision++
		if ns.State == hierarchy.NamespaceActive {
			w.put(nameKey(ns.Name), []byte(ns.ID))
		} else {
			w.remove(nameKey(ns.Name))
		}
		event := hierarchy.NamespaceEvent(c, action, ns.Revision)
		return s.record(w, ns, hierarchy.Change{Revision: ns.Revision, At: c.At}, []hierarchy.Event{event})
	})
	if err != nil {
		return hierarchy.Namespace{}, err
	}
	s.see(ns)
	return ns, nil
}

// Namespace is the one that a name leads to.
func (s *Store) Namespace(ctx context.Context, name string) (hierarchy.Namespace, error) {
	var ns hierarchy.Namespace
	err := s.view(ctx, func(r reader) (err error) {
		ns, err = active(r, name)
		return err
	})
	return ns, err
}

// Namespaces lists those that a name leads to, in the order of their names.
func (s *Store) Namespaces(ctx context.Context, p hierarchy.Page) (hierarchy.NamespaceListing, error) {
	return s.namespaces(ctx, nameKeys, p, func(r reader, value []byte) (hierarchy.Namespace, bool, error) {
		ns, err := namespace(r, string(value))
		return ns, true, err
	})
}

// Orphans lists those that no name leads to.
func (s *Store) Orphans(ctx context.Context, p hierarchy.Page) (hierarchy.NamespaceListing, error) {
	return s.namespaces(ctx, idKeys, p, func(_ reader, value []byte) (hierarchy.Namespace, bool, error) {
		var n namespaceRecord
		err := json.Unmarshal(value, &n)
		return hierarchy.Namespace(n), n.State != hierarchy.NamespaceActive, err
	})
}

func (s *Store) namespaces(
	ctx context.Context, prefix string, p hierarchy.Page, take func(r reader, value []byte) (hierarchy.Namespace, bool, error),
) (hierarchy.NamespaceListing, error) {
	var l hierarchy.NamespaceListing
	err := s.view(ctx, func(r reader) (err error) {
		l.Next, err = page(r, prefix, p, false, func(value []byte) (bool, error) {
			ns, taken, err := take(r, value)
			if taken && err == nil {
				l.Namespaces = append(l.Namespaces, ns)
			}
			return taken, err
		})
		return err
	})
	return l, err
}

// purgeStep is how many records one update of a purge removes.
const purgeStep = 1000

// PurgeNamespace removes a deleted namespace and all that it holds.
func (s *Store) PurgeNamespace(ctx context.Context, id string, progress func(removed int)) error {
	err := s.update(ctx, func(w writer) error {
		ns, err := namespace(w, id)
		if err == nil && ns.State == hierarchy.NamespaceActive {
			err = fmt.Errorf("namespace %q: %w", ns.Name, hierarchy.ErrNamespaceActive)
		}
		if err != nil {
			return err
		}
		ns.State = hierarchy.NamespacePurging
		return write(w, idKey(id), namespaceRecord(ns))
	})
	if err != nil {
		return err
	}
	removed := s.dropBuckets(id)
	for _, prefix := range owned {
		for {
			n, err := s.removeSome(ctx, prefix+id+"/")
			if err != nil {
				return err
			}
			if removed += n; progress != nil {
				progress(removed)
			}
			if n < purgeStep {
				break
			}
		}
	}
	return s.update(ctx, func(w writer) error {
		w.remove(idKey(id))
		return nil
	})
}

// removeSome removes records under a prefix, and returns how many.
func (s *Store) removeSome(ctx context.Context, prefix string) (int, error) {
	n := 0
	err := s.update(ctx, func(w writer) error {
		n = 0
		return w.scan(prefix, "", false, func(key string, _ []byte) (bool, error) {
			w.remove(key)
			n++
			return n < purgeStep, nil
		})
	})
	return n, err
}

// forgetStep is how many outdated records one change takes with it: more than
// it adds, and little beside it.
const forgetStep = 4 * hierarchy.MaxPuts

// forget removes records under a prefix that are from before a time.
func forget(w writer, prefix string, before time.Time) error {
	n := 0
	return w.scan(prefix, "", false, func(key string, value []byte) (bool, error) {
		var dated struct{ At time.Time }
		if err := json.Unmarshal(value, &dated); err != nil {
			return false, fmt.Errorf("reading record %q: %w", key, err)
		}
		if !dated.At.Before(before) {
			return false, nil
		}
		w.remove(key)
		n++
		return n < forgetStep, nil
	})
}
