package hierarchytest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// After each mark, the changes are those that were made since, in order.
func testChanges(t *testing.T, s *suite) {
	w := s.world(t, "")
	marks := []hierarchy.Mark{w.mark(t)}
	var made []hierarchy.Change
	for n := range 12 {
		var puts []hierarchy.Put
		var refs []hierarchy.Ref
		for m := range 1 + n%3 {
			ref := hierarchy.EntityRef(fmt.Sprintf("e%d\xff/#", m), fmt.Sprint("r", n%2))
			i := limited(ref, int64(n+1))
			if n%5 == 4 {
				i = deleted(ref)
			}
			puts, refs = append(puts, w.put(t, i)), append(refs, ref)
		}
		revision := w.edit(t, puts...)
		made = append(made, hierarchy.Change{Revision: revision, At: w.at, Refs: refs})
		marks = append(marks, w.mark(t))
	}
	for n, m := range marks {
		got, err := w.Store.Changes(t.Context(), w.ns.Name, m)
		if err != nil {
			t.Fatalf("Changes after %d: %v", m.Revision, err)
		}
		same(t, fmt.Sprintf("after %d", m.Revision), made[n:], got)
	}
}

func testGaps(t *testing.T, s *suite) {
	w := s.world(t, "")
	start := w.mark(t)
	ref := hierarchy.SystemRef()
	for n := range 5 {
		w.edit(t, w.put(t, limited(ref, int64(n+1))))
	}
	end := w.mark(t)
	gap := func(what string, m hierarchy.Mark) {
		t.Helper()
		if got, err := w.Store.Changes(t.Context(), w.ns.Name, m); !errors.Is(err, hierarchy.ErrGap) {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	gap("another history", hierarchy.Mark{ID: "another", Revision: start.Revision})
	gap("another history, at its end", hierarchy.Mark{ID: "another", Revision: end.Revision})
	gap("none", hierarchy.Mark{})
	gap("the future", hierarchy.Mark{ID: end.ID, Revision: end.Revision + 1})
	if _, err := w.Store.Changes(t.Context(), s.unique+"none", start); !errors.Is(err, hierarchy.ErrUnknownNamespace) {
		t.Errorf("of no namespace: %v", err)
	}
	if s.Forget == nil {
		t.Log("no hook to forget a change with")
		return
	}
	w.Forget(t, w.ns, start.Revision+2)
	gap("one is missing", start)
	gap("the next is missing", hierarchy.Mark{ID: start.ID, Revision: start.Revision + 1})
	if got, err := w.Store.Changes(t.Context(), w.ns.Name, hierarchy.Mark{ID: start.ID, Revision: start.Revision + 2}); err != nil || len(got) != 3 {
		t.Errorf("after the missing one: %v, %v", got, err)
	}
}

// Fifty editors at once: each changes an item that all of them change, and one
// of its own, and none of it is lost.
func testConcurrentEditors(t *testing.T, s *suite) {
	const editors = 50
	w := s.world(t, "")
	shared := hierarchy.ResourceRef("shared")
	start := w.edit(t, hierarchy.Put{Item: limited(shared, 1)})
	causes := make([]hierarchy.Cause, editors)
	for n := range causes {
		causes[n] = s.cause()
	}
	var wg sync.WaitGroup
	for n := range editors {
		wg.Go(func() {
			own := hierarchy.Edit{Cause: causes[n], Action: "own", Puts: []hierarchy.Put{{Item: limited(hierarchy.EntityRef(fmt.Sprint(n), ""), 7)}}}
			if _, err := w.Store.Edit(t.Context(), w.ns.Name, own); err != nil {
				t.Errorf("an edit that conflicts with none: %v", err)
			}
			if err := w.increment(t.Context(), shared, causes[n]); err != nil {
				t.Errorf("increment: %v", err)
			}
		})
	}
	wg.Wait()
	if i := w.item(t, shared); rate(&i) != editors+1 {
		t.Errorf("%d of %d changes of one item are there", rate(&i)-1, editors)
	}
	if got := len(w.list(t, hierarchy.Selector{Kinds: []hierarchy.Kind{hierarchy.KindEntityDefault}}, 0)); got != editors {
		t.Errorf("%d of %d items are there", got, editors)
	}
	if got := w.mark(t).Revision; got != start+2*editors {
		t.Errorf("revision %d after %d edits from %d", got, 2*editors, start)
	}
	changes, err := w.Store.Changes(t.Context(), w.ns.Name, hierarchy.Mark{ID: w.ns.ID, Revision: start})
	if err != nil || len(changes) != 2*editors {
		t.Errorf("%d changes: %v", len(changes), err)
	}
	if got := len(w.events(t, hierarchy.Selector{Kinds: []hierarchy.Kind{hierarchy.KindEntityDefault, hierarchy.KindResource}})); got != 2*editors+1 {
		t.Errorf("%d events", got)
	}
}

// increment adds one to an item's rate, as often as somebody else was faster.
func (w *world) increment(ctx context.Context, ref hierarchy.Ref, c hierarchy.Cause) error {
	for {
		items, err := w.Store.Items(ctx, w.ns.Name, []hierarchy.Ref{ref})
		if err != nil {
			return err
		}
		put := hierarchy.Put{Item: limited(ref, rate(&items[0])+1), Expect: items[0].Revision}
		_, err = w.Store.Edit(ctx, w.ns.Name, hierarchy.Edit{Cause: c, Action: "increment", Puts: []hierarchy.Put{put}})
		var conflict *hierarchy.ConflictError
		if !errors.As(err, &conflict) {
			return err
		}
	}
}

// Parents never go round in a circle, and are never more than MaxParents.
func testParents(t *testing.T, s *suite) {
	w := s.world(t, "")
	circular := func(what string, i hierarchy.Item) {
		t.Helper()
		var invalid *hierarchy.InvalidItemError
		if err := w.refusedPuts(t, w.put(t, i)); !errors.As(err, &invalid) || invalid.Ref != i.Ref {
			t.Errorf("%s: %v", what, err)
		}
	}
	circular("its own parent", profile("a", "a"))
	w.edit(t, w.put(t, profile("a", "b"))) // b has no profile, and need not have
	circular("two", profile("b", "a"))
	w.edit(t, w.put(t, profile("b", "c")))
	circular("three", profile("c", "a"))
	w.edit(t, w.put(t, deleted(hierarchy.ProfileRef("b"))))
	w.edit(t, w.put(t, profile("c", "a"))) // b leads nowhere any more
	circular("through what is new", profile("b", "c"))

	for n := range hierarchy.MaxParents {
		w.edit(t, w.put(t, profile(fmt.Sprint(n), fmt.Sprint(n+1))))
	}
	circular("too many", profile("below", "0"))
	w.edit(t, w.put(t, profile("below", "1")))
}

// An edit is taken as a whole: what is above an entity may be in it too.
func testParentsOfOneEdit(t *testing.T, s *suite) {
	w := s.world(t, "")
	var invalid *hierarchy.InvalidItemError
	err := w.refusedPuts(t, hierarchy.Put{Item: profile("a", "b")}, hierarchy.Put{Item: profile("b", "c")}, hierarchy.Put{Item: profile("c", "a")})
	if !errors.As(err, &invalid) {
		t.Errorf("a circle in one edit: %v", err)
	}
	w.edit(t, hierarchy.Put{Item: profile("a", "b")}, hierarchy.Put{Item: profile("b", "c")})
	// Turned round in one edit.
	w.edit(t, w.put(t, profile("a", "")), w.put(t, profile("b", "a")), w.put(t, profile("c", "b")))
}

// Two edits that would close a circle between them, at once: one of them fails.
func testConcurrentParents(t *testing.T, s *suite) {
	w := s.world(t, "")
	for n := range 8 {
		a, b := fmt.Sprint("a", n), fmt.Sprint("b", n)
		errs := make([]error, 2)
		causes := []hierarchy.Cause{s.cause(), s.cause()}
		var wg sync.WaitGroup
		for i, p := range []hierarchy.Item{profile(a, b), profile(b, a)} {
			wg.Go(func() {
				_, errs[i] = w.Store.Edit(t.Context(), w.ns.Name, hierarchy.Edit{Cause: causes[i], Action: "test", Puts: []hierarchy.Put{{Item: p}}})
			})
		}
		wg.Wait()
		items := w.items(t, hierarchy.ProfileRef(a), hierarchy.ProfileRef(b))
		if items[0].Exists() && items[1].Exists() || !items[0].Exists() && !items[1].Exists() {
			t.Fatalf("round %d: %+v, after %v", n, items, errs)
		}
		var invalid *hierarchy.InvalidItemError
		if err := errors.Join(errs...); !errors.As(err, &invalid) {
			t.Fatalf("round %d: %v", n, err)
		}
	}
}
