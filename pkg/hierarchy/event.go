package hierarchy

import (
	"encoding/binary"
	"time"

	"github.com/oklog/ulid/v2"
)

// Items are the edit's items as they are once it is made at a revision, in the
// order of Puts. Stores call it.
func (e *Edit) Items(revision int64) []Item {
	items := make([]Item, len(e.Puts))
	for i := range e.Puts {
		items[i] = e.Puts[i].Item
		items[i].Revision, items[i].UpdatedAt = revision, Kept(e.At)
	}
	return items
}

// Change is the record of the edit, made at a revision. Stores call it.
func (e *Edit) Change(revision int64) Change {
	c := Change{Revision: revision, At: Kept(e.At), Refs: make([]Ref, len(e.Puts))}
	for i := range e.Puts {
		c.Refs[i] = e.Puts[i].Item.Ref
	}
	return c
}

// Events are the audit events of the edit, made at a revision; before are the
// items as they were, in the order of Puts. Stores call it.
func (e *Edit) Events(revision int64, before []Item) []Event {
	after := e.Items(revision)
	events := make([]Event, len(after))
	for i := range after {
		events[i] = newEvent(e.Cause, e.Action, after[i].Ref, revision, i)
		if before[i].Exists() {
			events[i].Before = &before[i]
		}
		if after[i].Exists() {
			events[i].After = &after[i]
		}
	}
	return events
}

// The actions on a namespace, as audit events have them.
const (
	ActionRegister = "register-namespace"
	ActionDelete   = "delete-namespace"
	ActionRecover  = "recover-namespace"
)

// NamespaceEvent is the audit event of an action on a namespace, which raised
// its revision. Stores call it.
func NamespaceEvent(c Cause, action string, revision int64) Event {
	return newEvent(c, action, Ref{Kind: KindNamespace}, revision, 0)
}

// newEvent makes an event. The revision and its place among those of the
// revision stand where a ULID has its random bits: they are as unique in the
// namespace, and keep the order of changes made in one millisecond.
func newEvent(c Cause, action string, target Ref, revision int64, i int) Event {
	var id ulid.ULID
	// The only errors are a time after 10889 and a length other than ten.
	_ = id.SetTime(uint64(max(0, c.At.UnixMilli())))
	entropy := binary.BigEndian.AppendUint64(nil, uint64(max(0, revision)))
	_ = id.SetEntropy(append(entropy, 0, byte(i))) //nolint:gosec // i is below MaxPuts
	return Event{ID: id.String(), At: Kept(c.At), By: c.By, Action: action, Target: target, Revision: revision}
}

// Kept is a time as stores keep it: in UTC, to the millisecond.
func Kept(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()).UTC() }
