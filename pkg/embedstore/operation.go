package embedstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

var _ hierarchy.Operator = (*Store)(nil)

func doneOf(id string) string { return doneKeys + id + "/" }

// forgetEvery is how often at most a namespace forgets operations that have been
// known for long enough: it reads all that it knows for that.
const forgetEvery = time.Hour

// Operate makes an operation. Where the store has a file, that it was made and
// what came of the bucket are there before Operate returns, both or neither.
func (s *Store) Operate(ctx context.Context, namespace string, o *hierarchy.Operation) error {
	if err := o.Check(); err != nil {
		return err
	}
	return s.update(ctx, func(w writer) error {
		ns, err := active(w, namespace)
		if err != nil {
			return err
		}
		sp := (*s.names.Load())[namespace]
		if sp == nil || sp.id != ns.ID {
			return unknown(namespace)
		}
		var made hierarchy.Operated
		found, err := read(w, doneOf(ns.ID)+o.ID, &made)
		if err != nil {
			return err
		}
		if found && made.At.Add(hierarchy.KeepOperations).After(o.At) {
			return &hierarchy.RepeatedError{ID: o.ID, Made: made}
		}
		if err := recordOperation(w, sp, o); err != nil {
			return err
		}
		return s.writeBucket(w, namespace, sp, o)
	})
}

// writeBucket makes an operation's write. It comes last, as nothing takes it
// back.
func (s *Store) writeBucket(w writer, namespace string, sp *space, o *hierarchy.Operation) error {
	if o.Write == nil {
		return nil
	}
	k := keyIn(sp, &o.Key)
	state, err := s.shard(k).apply(k, o.Write, s.keep)
	switch {
	case errors.Is(err, errGone):
		return unknown(namespace)
	case err != nil || !s.durable:
		return err
	}
	return write(w, stateKey(sp.id, k.rest), saved(&state))
}

// recordOperation writes that an operation was made, and forgets what has been
// known for long enough.
func recordOperation(w writer, sp *space, o *hierarchy.Operation) error {
	event, err := o.Event()
	if err != nil {
		return err
	}
	if since := o.At.Sub(sp.forgot); since < 0 || since >= forgetEvery {
		if err := forgetOperations(w, sp.id, o.At); err != nil {
			return err
		}
		sp.forgot = o.At
	}
	return errors.Join(write(w, doneOf(sp.id)+o.ID, o.Record()), write(w, auditKey(sp.id, event.ID), event))
}

// forgetOperations removes the records of those that have been known for long
// enough.
func forgetOperations(w writer, id string, now time.Time) error {
	var old []string
	err := w.scan(doneOf(id), "", false, func(key string, value []byte) (bool, error) {
		var made hierarchy.Operated
		if err := json.Unmarshal(value, &made); err != nil {
			return false, fmt.Errorf("reading the record of an operation: %w", err)
		}
		if !made.At.Add(hierarchy.KeepOperations).After(now) {
			old = append(old, key)
		}
		return true, nil
	})
	for _, key := range old {
		w.remove(key)
	}
	return err
}
