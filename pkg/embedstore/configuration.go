package embedstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

var _ hierarchy.Editor = (*Store)(nil)

// Mark is where a namespace's history stands.
func (s *Store) Mark(ctx context.Context, namespace string) (hierarchy.Mark, error) {
	var m hierarchy.Mark
	err := s.view(ctx, func(r reader) error {
		ns, err := active(r, namespace)
		m = hierarchy.Mark{ID: ns.ID, Revision: ns.Revision}
		return err
	})
	return m, err
}

// Changes are the changes after a mark.
func (s *Store) Changes(ctx context.Context, namespace string, after hierarchy.Mark) ([]hierarchy.Change, error) {
	var changes []hierarchy.Change
	err := s.view(ctx, func(r reader) error {
		ns, err := active(r, namespace)
		if err != nil {
			return err
		}
		missed := ns.Revision - after.Revision
		if ns.ID != after.ID || missed < 0 || missed > hierarchy.MaxChanges {
			return hierarchy.ErrGap
		}
		for revision := after.Revision + 1; revision <= ns.Revision; revision++ {
			var c hierarchy.Change
			found, err := read(r, logKey(ns.ID, revision), &c)
			if err != nil {
				return err
			}
			if !found {
				return hierarchy.ErrGap
			}
			changes = append(changes, c)
		}
		return nil
	})
	return changes, err
}

// Items reads items, all as they were at one moment.
func (s *Store) Items(ctx context.Context, namespace string, refs []hierarchy.Ref) ([]hierarchy.Item, error) {
	if len(refs) > hierarchy.MaxItems {
		return nil, fmt.Errorf("%d items are more than %d", len(refs), hierarchy.MaxItems)
	}
	var items []hierarchy.Item
	err := s.view(ctx, func(r reader) error {
		ns, err := active(r, namespace)
		if err != nil {
			return err
		}
		items = make([]hierarchy.Item, len(refs))
		for i, ref := range refs {
			items[i].Ref = ref
			if _, err := read(r, itemKey(ns.ID, ref), &items[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return items, err
}

// Edit makes a change. Where the store has a file, it is there before Edit
// returns.
func (s *Store) Edit(ctx context.Context, namespace string, e hierarchy.Edit) (int64, error) {
	for {
		prepared, err := hierarchy.Prepare(ctx, s, namespace, e)
		if err != nil {
			return 0, err
		}
		var revision int64
		err = s.update(ctx, func(w writer) error {
			revision, err = s.edit(w, namespace, &prepared)
			return err
		})
		var conflict *hierarchy.ConflictError
		if errors.As(err, &conflict) && !e.Names(conflict.Ref) {
			continue // an entity above moved since it was looked at
		}
		return revision, err
	}
}

// edit makes a change in an update.
func (s *Store) edit(w writer, namespace string, e *hierarchy.Edit) (int64, error) {
	ns, err := active(w, namespace)
	if err != nil {
		return 0, err
	}
	for _, x := range e.Reads {
		if _, _, err := expect(w, ns.ID, x); err != nil {
			return 0, err
		}
	}
	ns.Revision++
	after := e.Items(ns.Revision)
	before := make([]hierarchy.Item, len(after))
	for i := range after {
		ref := after[i].Ref
		var old []byte
		if before[i], old, err = expect(w, ns.ID, hierarchy.Expectation{Ref: ref, Revision: e.Puts[i].Expect}); err != nil {
			return 0, err
		}
		value, err := after[i].MergeJSON(old)
		if err != nil {
			return 0, fmt.Errorf("writing %s: %w", ref, err)
		}
		w.put(itemKey(ns.ID, ref), value)
	}
	return ns.Revision, s.record(w, ns, e.Change(ns.Revision), e.Events(ns.Revision, before))
}

// expect reads an item that must be at a revision, and its record.
func expect(r reader, id string, x hierarchy.Expectation) (hierarchy.Item, []byte, error) {
	i := hierarchy.Item{Ref: x.Ref}
	value, err := r.get(itemKey(id, x.Ref))
	if err == nil && value != nil {
		err = json.Unmarshal(value, &i)
	}
	if err != nil {
		return i, nil, fmt.Errorf("reading %s: %w", x.Ref, err)
	}
	if i.Revision != x.Revision {
		return i, nil, &hierarchy.ConflictError{Ref: x.Ref, Expected: x.Revision, Found: i}
	}
	return i, value, nil
}

// record writes a namespace at its new revision, with what tells of the change,
// and forgets what has been told for long enough.
func (s *Store) record(w writer, ns hierarchy.Namespace, c hierarchy.Change, events []hierarchy.Event) error {
	if err := errors.Join(write(w, idKey(ns.ID), namespaceRecord(ns)), write(w, logKey(ns.ID, c.Revision), c)); err != nil {
		return err
	}
	for _, e := range events {
		if err := write(w, auditKey(ns.ID, e.ID), e); err != nil {
			return err
		}
	}
	if err := forget(w, logOf(ns.ID), c.At.Add(-hierarchy.KeepChanges)); err != nil {
		return err
	}
	return forget(w, auditOf(ns.ID), c.At.Add(-s.keepAudit))
}

// List lists items, by kind and then by name.
func (s *Store) List(ctx context.Context, namespace string, sel hierarchy.Selector, p hierarchy.Page) (hierarchy.Listing, error) {
	var l hierarchy.Listing
	err := s.view(ctx, func(r reader) error {
		ns, err := active(r, namespace)
		if err != nil {
			return err
		}
		l.Next, err = page(r, itemsOf(ns.ID), p, false, func(value []byte) (bool, error) {
			var i hierarchy.Item
			if err := json.Unmarshal(value, &i); err != nil {
				return false, fmt.Errorf("reading an item: %w", err)
			}
			if !sel.Selects(i.Ref) || i.Deleted && !sel.Deleted {
				return false, nil
			}
			l.Items = append(l.Items, i)
			return true, nil
		})
		return err
	})
	return l, err
}

// Events lists audit events, newest first.
func (s *Store) Events(ctx context.Context, namespace string, sel hierarchy.Selector, p hierarchy.Page) (hierarchy.EventListing, error) {
	var l hierarchy.EventListing
	err := s.view(ctx, func(r reader) error {
		ns, err := active(r, namespace)
		if err != nil {
			return err
		}
		l.Next, err = page(r, auditOf(ns.ID), p, true, func(value []byte) (bool, error) {
			var e hierarchy.Event
			if err := json.Unmarshal(value, &e); err != nil {
				return false, fmt.Errorf("reading an audit event: %w", err)
			}
			if !sel.Selects(e.Target) {
				return false, nil
			}
			l.Events = append(l.Events, e)
			return true, nil
		})
		return err
	})
	return l, err
}

// page calls f for each record under a prefix until as many are taken as the
// page has room for, and returns where the next begins.
func page(r reader, prefix string, p hierarchy.Page, down bool, f func(value []byte) (taken bool, err error)) (next string, err error) {
	after, err := p.Key()
	if err != nil {
		return "", err
	}
	if after != "" {
		after = prefix + after
	}
	room, last := p.Size(), ""
	err = r.scan(prefix, after, down, func(key string, value []byte) (bool, error) {
		if room == 0 {
			next = hierarchy.PageAt(last)
			return false, nil
		}
		taken, err := f(value)
		if taken {
			room--
		}
		last = key[len(prefix):]
		return true, err
	})
	return next, err
}

// read decodes the record of a key, and reports whether there is one.
func read(r reader, key string, into any) (bool, error) {
	value, err := r.get(key)
	if err != nil || value == nil {
		return false, err
	}
	if err := json.Unmarshal(value, into); err != nil {
		return false, fmt.Errorf("reading record %q: %w", key, err)
	}
	return true, nil
}

func write(w writer, key string, from any) error {
	value, err := json.Marshal(from)
	if err != nil {
		return fmt.Errorf("writing record %q: %w", key, err)
	}
	w.put(key, value)
	return nil
}
