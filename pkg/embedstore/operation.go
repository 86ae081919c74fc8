package embedstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

var _ hierarchy.Operator = (*Store)(nil)

func doneOf(id string) string { return doneKeys + id + "/" }

// Operate makes an operation. Where the store has a file, that it was made is
// there before Operate returns, and the bucket within about a second.
func (s *Store) Operate(ctx context.Context, namespace string, o *hierarchy.Operation) error {
	if err := o.Check(); err != nil {
		return err
	}
	return s.update(ctx, func(w writer) error {
		ns, err := active(w, namespace)
		if err != nil {
			return err
		}
		var made hierarchy.Operated
		found, err := read(w, doneOf(ns.ID)+o.ID, &made)
		if err != nil {
			return err
		}
		if found && made.At.Add(hierarchy.KeepOperations).After(o.At) {
			return &hierarchy.RepeatedError{ID: o.ID, Made: made}
		}
		if err := s.recordOperation(w, ns.ID, o); err != nil {
			return err
		}
		return s.writeBucket(namespace, ns.ID, o)
	})
}

// writeBucket makes an operation's write. It comes last, as nothing takes it
// back.
func (s *Store) writeBucket(namespace, id string, o *hierarchy.Operation) error {
	if o.Write == nil {
		return nil
	}
	sp := (*s.names.Load())[namespace]
	if sp == nil || sp.id != id {
		return unknown(namespace)
	}
	k := keyIn(sp, &o.Key)
	_, err := s.shard(k).apply(k, o.Write, s.keep)
	if errors.Is(err, errGone) {
		return unknown(namespace)
	}
	return err
}

// recordOperation writes that an operation was made, and forgets what has been
// known for long enough.
func (s *Store) recordOperation(w writer, id string, o *hierarchy.Operation) error {
	event, err := o.Event()
	if err != nil {
		return err
	}
	var old []string
	err = w.scan(doneOf(id), "", false, func(key string, value []byte) (bool, error) {
		var made hierarchy.Operated
		if err := json.Unmarshal(value, &made); err != nil {
			return false, fmt.Errorf("reading the record of an operation: %w", err)
		}
		if !made.At.Add(hierarchy.KeepOperations).After(o.At) {
			old = append(old, key)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, key := range old {
		w.remove(key)
	}
	return errors.Join(write(w, doneOf(id)+o.ID, o.Record()), write(w, auditKey(id, event.ID), event))
}
