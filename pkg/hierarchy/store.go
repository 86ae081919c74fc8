package hierarchy

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Source is the configuration in a store as a resolver reads it. Every read is
// strongly consistent: what was written before it began, or shown by another
// read that had ended by then, it shows. It is safe for concurrent use.
//
// Each method names a namespace; one that is not registered is an error that
// matches [ErrUnknownNamespace]. Other errors mean that the store gave no
// answer.
type Source interface {
	// Mark is where the namespace's history stands.
	Mark(ctx context.Context, namespace string) (Mark, error)

	// Changes are the changes after a mark, oldest first, without a gap; none
	// when the mark is the latest. The error matches [ErrGap] when they can't
	// be told any more: some are no longer kept, the mark is of another history
	// or later than the latest, or they are more than [MaxChanges].
	Changes(ctx context.Context, namespace string, after Mark) ([]Change, error)

	// Items reads items, in the order of refs, at most [MaxItems]; one that was
	// never written comes with its Ref and Revision 0. Each item is as it was
	// at some moment of the call, not all at the same one.
	Items(ctx context.Context, namespace string, refs []Ref) ([]Item, error)
}

// MaxItems is how many items one call of [Source.Items] may ask for.
const MaxItems = 100

// MaxChanges is how many changes are worth telling one by one.
const MaxChanges = 1000

// Mark is a moment in a namespace's history. Marks are comparable.
type Mark struct {
	ID string // the namespace's: a name that is used again begins another history
	// Revision counts the namespace's changes; 0 before the first.
	Revision int64
}

// Change is the record of one change of a namespace's configuration. It is
// kept for [KeepChanges] at least.
type Change struct {
	Revision int64     `json:"revision"`
	At       time.Time `json:"at"`   // by the changer's clock, to the millisecond
	Refs     []Ref     `json:"refs"` // the items that the change wrote
}

// KeepChanges is how long a store keeps the record of a change. A process that
// was away for longer meets a gap.
const KeepChanges = 24 * time.Hour

// Editor is the configuration in a store as admins change it. It is safe for
// concurrent use, also by many processes.
type Editor interface {
	Source

	// Edit makes a change: all of it or nothing. It raises the namespace's
	// revision by one, gives that revision to each item, and adds the change's
	// record and an audit event for each item, in one transaction. It returns
	// the new revision.
	//
	// The store calls [Prepare] first: the errors are also [*InvalidItemError]
	// and [*InvalidEditError]. A [*ConflictError] says that an item wasn't at
	// the revision that was expected; nothing was written, and the caller reads
	// again and decides. Edits of other items never conflict: where only the
	// namespace's revision moved, the store tries again by itself while the
	// context lasts.
	//
	// Attributes of an item that this program doesn't know are kept, until the
	// item is deleted.
	Edit(ctx context.Context, namespace string, e Edit) (int64, error)

	// List lists items, in an order of the store's own that does not change.
	// Items that are written meanwhile may be missed or not.
	List(ctx context.Context, namespace string, s Selector, p Page) (Listing, error)

	// Events lists the audit events about the items that are selected, newest
	// first. They are kept for as long as the store is configured to.
	Events(ctx context.Context, namespace string, s Selector, p Page) (EventListing, error)
}

// Edit is one change of a namespace's configuration.
type Edit struct {
	Cause
	Action string // what is done, a word for the audit: set-limits
	Puts   []Put  // 1 to MaxPuts, each of another item
	// Reads are items that the edit relies on and doesn't write: it fails when
	// one has moved. Callers leave this to [Prepare].
	Reads []Expectation
}

// Names reports whether the edit writes an item, or relies on it.
func (e *Edit) Names(r Ref) bool {
	return slices.ContainsFunc(e.Puts, func(p Put) bool { return p.Item.Ref == r }) ||
		slices.ContainsFunc(e.Reads, func(x Expectation) bool { return x.Ref == r })
}

// The most that one edit can hold, so that a store with at most 100 actions in
// a transaction has three for each put, one for each read, and some to spare.
const (
	MaxPuts  = 24
	MaxReads = 24
)

// Put writes one item.
type Put struct {
	// Item is the item as it is to be. Its Revision and UpdatedAt are the
	// store's to set. With Deleted it becomes a tombstone and says nothing.
	Item Item
	// Expect is the revision that the item must have: that of the item as the
	// caller saw it, a tombstone's too, 0 for one that was never written.
	Expect int64
}

// Expectation is an item that must be at a revision.
type Expectation struct {
	Ref      Ref
	Revision int64
}

// Cause is who changes something, and when.
type Cause struct {
	By Actor
	At time.Time // by the changer's clock; kept to the millisecond
}

// Actor is who changes something.
type Actor struct {
	Caller string `json:"caller"`       // as authenticated: never empty
	As     string `json:"as,omitempty"` // what the caller says to act for; may be empty
}

// Event is the audit record of one change of one item.
type Event struct {
	// ID is a ULID: by time, and for events of one millisecond in the order of
	// the changes. It is unique in its namespace.
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	By       Actor     `json:"by"`
	Action   string    `json:"action"`
	Detail   string    `json:"detail,omitempty"` // of an Operation
	Target   Ref       `json:"target"`
	Revision int64     `json:"revision"` // the namespace's after the change; 0 of an Operation
	// Before and After are nil where there was, or is, no such item, and for
	// what happens to the namespace itself.
	Before *Item `json:"before,omitempty"`
	After  *Item `json:"after,omitempty"`
}

// Selector selects items: those that match each of its fields. The zero
// Selector selects all.
type Selector struct {
	Kinds    []Kind // any of these; none: every kind
	Name     string // empty: any
	Resource string // empty: any
	// Prefix begins the Name, or, for kinds without one, the Resource.
	Prefix string
	// Deleted selects tombstones too. It means nothing for events.
	Deleted bool
}

// Selects reports whether the selector selects an item of this name.
func (s *Selector) Selects(r Ref) bool {
	switch {
	case len(s.Kinds) > 0 && !slices.Contains(s.Kinds, r.Kind),
		s.Name != "" && s.Name != r.Name,
		s.Resource != "" && s.Resource != r.Resource:
		return false
	case r.Name == "":
		return strings.HasPrefix(r.Resource, s.Prefix)
	}
	return strings.HasPrefix(r.Name, s.Prefix)
}

// Page says which part of a list is wanted.
type Page struct {
	// Limit is the most to return; 0 is [DefaultPage]. A store may return less,
	// and at most [MaxPage].
	Limit int
	// After is the Next of the part before this one, empty for the first.
	After string
}

// PageAt is the After of the part of a list that begins behind a store's key.
func PageAt(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

// Key is the key that the part begins behind, empty for the first. People hand
// After back, and may hand in anything: then it is an error.
func (p Page) Key() (string, error) {
	key, err := base64.RawURLEncoding.DecodeString(p.After)
	if err != nil {
		return "", fmt.Errorf("%q is no page of this list", p.After)
	}
	return string(key), nil
}

// Size is how many are wanted, between 1 and [MaxPage].
func (p Page) Size() int {
	if p.Limit <= 0 {
		return DefaultPage
	}
	return min(p.Limit, MaxPage)
}

// The sizes of pages.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// Listing is a part of a list of items. Next is empty at the end.
type Listing struct {
	Items []Item
	Next  string
}

// EventListing is a part of a list of events. Next is empty at the end.
type EventListing struct {
	Events []Event
	Next   string
}
