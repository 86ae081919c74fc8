package hierarchytest

import (
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Store is what the suite tests.
type Store interface {
	hierarchy.Editor
	hierarchy.Namespaces
}

// Subject is a store, and what the suite can only see or do behind its back. A
// hook that is nil skips what needs it.
type Subject struct {
	Store Store
	// Plant adds an attribute that no program knows to an item's record, and
	// Planted reports whether it is there.
	Plant   func(t *testing.T, ns hierarchy.Namespace, ref hierarchy.Ref)
	Planted func(t *testing.T, ns hierarchy.Namespace, ref hierarchy.Ref) bool
	// Forget removes the record of a change, as time does.
	Forget func(t *testing.T, ns hierarchy.Namespace, revision int64)
	// Left counts what is there of a namespace: anything with its id in it.
	Left func(t *testing.T, ns hierarchy.Namespace) int
}

// Run tests a store. open is called once for each subtest, with its t to clean
// up by; it may return the same store each time, and one that holds namespaces
// of earlier runs: each test registers some that nobody ever used.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s *suite)
	}{
		{"Items", testItems},
		{"ItemsOfAnyKind", testItemsOfAnyKind},
		{"Tombstones", testTombstones},
		{"Conflicts", testConflicts},
		{"Refused", testRefused},
		{"LargeEdits", testLargeEdits},
		{"Changes", testChanges},
		{"Gaps", testGaps},
		{"UnknownAttributes", testUnknownAttributes},
		{"Parents", testParents},
		{"ParentsOfOneEdit", testParentsOfOneEdit},
		{"ConcurrentParents", testConcurrentParents},
		{"ConcurrentEditors", testConcurrentEditors},
		{"ConcurrentRegistrations", testConcurrentRegistrations},
		{"Names", testNames},
		{"Isolation", testIsolation},
		{"Lists", testLists},
		{"Selectors", testSelectors},
		{"Events", testEvents},
		{"EventsOfPages", testEventsOfPages},
		{"Register", testRegister},
		{"NamesAreUsedAgain", testNamesAreUsedAgain},
		{"Recover", testRecover},
		{"ListNamespaces", testListNamespaces},
		{"Purge", testPurge},
		{"CancelledContext", testCancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(t, &suite{Subject: open(t), unique: strings.ToLower(rand.Text()), at: time.Now().Truncate(time.Millisecond).UTC()})
		})
	}
}

// suite is what one test works with.
type suite struct {
	Subject
	unique string // begins the names of this test's namespaces
	at     time.Time
}

// cause is who changes something; each is a second after the one before.
func (s *suite) cause() hierarchy.Cause {
	s.at = s.at.Add(time.Second)
	return hierarchy.Cause{By: hierarchy.Actor{Caller: "tester", As: "somebody"}, At: s.at}
}

// world is one namespace of a test.
type world struct {
	*suite
	ns hierarchy.Namespace
}

// world registers a namespace.
func (s *suite) world(t *testing.T, name string) *world {
	t.Helper()
	ns, err := s.Store.RegisterNamespace(t.Context(), s.unique+name, s.cause())
	if err != nil {
		t.Fatalf("RegisterNamespace: %v", err)
	}
	return &world{s, ns}
}

func (w *world) mark(t *testing.T) hierarchy.Mark {
	t.Helper()
	m, err := w.Store.Mark(t.Context(), w.ns.Name)
	if err != nil {
		t.Fatalf("Mark: %v", err)
	}
	if m.ID != w.ns.ID {
		t.Fatalf("the mark is of namespace %q, not of %q", m.ID, w.ns.ID)
	}
	return m
}

func (w *world) items(t *testing.T, refs ...hierarchy.Ref) []hierarchy.Item {
	t.Helper()
	items, err := w.Store.Items(t.Context(), w.ns.Name, refs)
	if err != nil {
		t.Fatalf("Items: %v", err)
	}
	if len(items) != len(refs) {
		t.Fatalf("%d items for %d refs", len(items), len(refs))
	}
	for i, ref := range refs {
		if items[i].Ref != ref {
			t.Fatalf("item %d is %s, not %s", i, items[i].Ref, ref)
		}
	}
	return items
}

func (w *world) item(t *testing.T, ref hierarchy.Ref) hierarchy.Item {
	t.Helper()
	return w.items(t, ref)[0]
}

// put is a change of an item from what it is.
func (w *world) put(t *testing.T, i hierarchy.Item) hierarchy.Put {
	t.Helper()
	return hierarchy.Put{Item: i, Expect: w.item(t, i.Ref).Revision}
}

// edit makes an edit that must succeed; the namespace's revision rises by one.
func (w *world) edit(t *testing.T, puts ...hierarchy.Put) int64 {
	t.Helper()
	before := w.mark(t).Revision
	got, err := w.Store.Edit(t.Context(), w.ns.Name, hierarchy.Edit{Cause: w.cause(), Action: "test", Puts: puts})
	if err != nil {
		t.Fatalf("Edit: %v", err)
	}
	if got != before+1 || w.mark(t).Revision != got {
		t.Fatalf("revision %d, then an edit that returned %d, then %d", before, got, w.mark(t).Revision)
	}
	return got
}

// refused makes an edit that must fail and change nothing.
func (w *world) refused(t *testing.T, e hierarchy.Edit) error {
	t.Helper()
	before, events := w.mark(t), w.events(t, hierarchy.Selector{})
	_, err := w.Store.Edit(t.Context(), w.ns.Name, e)
	if err == nil {
		t.Fatalf("the edit succeeded: %+v", e)
	}
	if w.mark(t) != before || len(w.events(t, hierarchy.Selector{})) != len(events) {
		t.Fatalf("an edit that failed with %v left its traces", err)
	}
	return err
}

func (w *world) refusedPuts(t *testing.T, puts ...hierarchy.Put) error {
	t.Helper()
	return w.refused(t, hierarchy.Edit{Cause: w.cause(), Action: "test", Puts: puts})
}

// list is all that a selector selects, gathered in pages of a size.
func (w *world) list(t *testing.T, sel hierarchy.Selector, size int) []hierarchy.Item {
	t.Helper()
	var all []hierarchy.Item
	for p := (hierarchy.Page{Limit: size}); ; {
		l, err := w.Store.List(t.Context(), w.ns.Name, sel, p)
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		if len(l.Items) > p.Size() {
			t.Fatalf("a page of %d holds %d", p.Size(), len(l.Items))
		}
		all = append(all, l.Items...)
		if l.Next == "" {
			return all
		}
		p.After = l.Next
	}
}

func (w *world) events(t *testing.T, sel hierarchy.Selector) []hierarchy.Event {
	t.Helper()
	return w.eventsBy(t, sel, 0)
}

func (w *world) eventsBy(t *testing.T, sel hierarchy.Selector, size int) []hierarchy.Event {
	t.Helper()
	var all []hierarchy.Event
	for p := (hierarchy.Page{Limit: size}); ; {
		l, err := w.Store.Events(t.Context(), w.ns.Name, sel, p)
		if err != nil {
			t.Fatalf("Events: %v", err)
		}
		if len(l.Events) > p.Size() {
			t.Fatalf("a page of %d holds %d", p.Size(), len(l.Events))
		}
		all = append(all, l.Events...)
		if l.Next == "" {
			return all
		}
		p.After = l.Next
	}
}

// limited is an item with one limit of a rate.
func limited(ref hierarchy.Ref, rate int64) hierarchy.Item {
	return hierarchy.Item{Ref: ref, Level: hierarchy.Level{Limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", rate)}}}
}

// profile is an entity's with a parent.
func profile(entity, parent string) hierarchy.Item {
	return hierarchy.Item{Ref: hierarchy.ProfileRef(entity), Profile: hierarchy.Profile{Parent: parent, Cascade: parent != ""}}
}

func deleted(ref hierarchy.Ref) hierarchy.Item { return hierarchy.Item{Ref: ref, Deleted: true} }

// rate is the rate of an item's only limit, or 0.
func rate(i *hierarchy.Item) int64 {
	if len(i.Level.Limits) != 1 {
		return 0
	}
	return i.Level.Limits[0].Rate
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func isConflict(t *testing.T, err error, ref hierarchy.Ref, expected, found int64) {
	t.Helper()
	var c *hierarchy.ConflictError
	if !errors.As(err, &c) || c.Ref != ref || c.Expected != expected || c.Found.Revision != found || c.Found.Ref != ref {
		t.Fatalf("%v, not a conflict over %s between %d and %d", err, ref, expected, found)
	}
}

func refsOf(items []hierarchy.Item) []hierarchy.Ref {
	refs := make([]hierarchy.Ref, len(items))
	for i := range items {
		refs[i] = items[i].Ref
	}
	slices.SortFunc(refs, hierarchy.Ref.Compare)
	return refs
}
