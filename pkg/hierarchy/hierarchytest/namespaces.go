package hierarchytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func testRegister(t *testing.T, s *suite) {
	name := s.unique + "new"
	s.isUnknown(t, name)
	w := s.world(t, "new")
	at := s.at
	again, err := s.Store.RegisterNamespace(t.Context(), name, s.cause())
	if err != nil {
		t.Fatalf("registering it again: %v", err)
	}
	same(t, "registered again", w.ns, again)
	shown, err := s.Store.Namespace(t.Context(), name)
	if err != nil {
		t.Fatalf("Namespace: %v", err)
	}
	same(t, "shown", w.ns, shown)
	if w.ns.Name != name || w.ns.ID == "" || w.ns.State != hierarchy.NamespaceActive || !w.ns.CreatedAt.Equal(at) || !w.ns.DeletedAt.IsZero() {
		t.Errorf("registered: %+v", w.ns)
	}
	if got := w.mark(t).Revision; got != w.ns.Revision {
		t.Errorf("at revision %d, and %d is shown", got, w.ns.Revision)
	}
	for _, bad := range []string{"", "a/b", "a#b", " a", strings.Repeat("x", 65), "\x00"} {
		var invalid *ratelimit.InvalidKeyError
		if _, err := s.Store.RegisterNamespace(t.Context(), bad, s.cause()); !errors.As(err, &invalid) {
			t.Errorf("name %q: %v", bad, err)
		}
	}
}

// isUnknown checks that a name leads nowhere, whatever is asked.
func (s *suite) isUnknown(t *testing.T, name string) {
	t.Helper()
	ctx := t.Context()
	_, show := s.Store.Namespace(ctx, name)
	_, mark := s.Store.Mark(ctx, name)
	_, changes := s.Store.Changes(ctx, name, hierarchy.Mark{})
	_, items := s.Store.Items(ctx, name, []hierarchy.Ref{hierarchy.SystemRef()})
	_, list := s.Store.List(ctx, name, hierarchy.Selector{}, hierarchy.Page{})
	_, events := s.Store.Events(ctx, name, hierarchy.Selector{}, hierarchy.Page{})
	_, edit := s.Store.Edit(ctx, name, hierarchy.Edit{Cause: s.cause(), Action: "test", Puts: []hierarchy.Put{{Item: limited(hierarchy.SystemRef(), 1)}}})
	_, remove := s.Store.DeleteNamespace(ctx, name, s.cause())
	for what, err := range map[string]error{
		"Namespace": show, "Mark": mark, "Changes": changes, "Items": items, "List": list, "Events": events, "Edit": edit, "DeleteNamespace": remove,
	} {
		if !errors.Is(err, hierarchy.ErrUnknownNamespace) {
			t.Errorf("%s of a name that leads nowhere: %v", what, err)
		}
	}
}

// All who register a name at once get the same namespace.
func testConcurrentRegistrations(t *testing.T, s *suite) {
	const n = 16
	got := make([]hierarchy.Namespace, n)
	c := s.cause()
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = s.Store.RegisterNamespace(t.Context(), s.unique, c); err != nil {
				t.Errorf("RegisterNamespace: %v", err)
			}
		})
	}
	wg.Wait()
	for _, ns := range got {
		if ns.ID != got[0].ID || ns.ID == "" {
			t.Fatalf("namespaces %q and %q of one name", ns.ID, got[0].ID)
		}
	}
}

// A name that was given away shows nothing of what it led to.
func testNamesAreUsedAgain(t *testing.T, s *suite) {
	ctx, old := t.Context(), s.world(t, "")
	name, ref := old.ns.Name, hierarchy.EntityRef("e", "r")
	old.edit(t, hierarchy.Put{Item: limited(ref, 5)})
	last := old.mark(t)
	gone := s.remove(t, name)
	if gone.ID != old.ns.ID || gone.State != hierarchy.NamespaceDeleted || !gone.DeletedAt.Equal(s.at) || gone.Revision <= last.Revision {
		t.Errorf("deleted: %+v", gone)
	}
	s.isUnknown(t, name)

	w := s.world(t, "")
	if w.ns.ID == old.ns.ID {
		t.Fatal("the new namespace is the old one")
	}
	if i := w.item(t, ref); i.Revision != 0 || len(w.list(t, hierarchy.Selector{Deleted: true}, 0)) != 0 || len(w.events(t, hierarchy.Selector{})) != 1 {
		t.Errorf("the new namespace begins with %+v", i)
	}
	if _, err := s.Store.Changes(ctx, name, last); !errors.Is(err, hierarchy.ErrGap) {
		t.Errorf("changes after a mark of the old one: %v", err)
	}
}

// What was deleted comes back whole by its id, once its name is free.
func testRecover(t *testing.T, s *suite) {
	ctx, old := t.Context(), s.world(t, "")
	name, ref := old.ns.Name, hierarchy.EntityRef("e", "r")
	old.edit(t, hierarchy.Put{Item: limited(ref, 5)})
	gone := s.remove(t, name)
	w := s.world(t, "")
	w.edit(t, hierarchy.Put{Item: limited(ref, 9)})
	var taken *hierarchy.NameTakenError
	if _, err := s.Store.RecoverNamespace(ctx, old.ns.ID, s.cause()); !errors.As(err, &taken) || taken.ID != w.ns.ID || taken.Name != name {
		t.Errorf("recovered beside the new one: %v", err)
	}
	s.remove(t, name)
	back, err := s.Store.RecoverNamespace(ctx, old.ns.ID, s.cause())
	if err != nil {
		t.Fatalf("RecoverNamespace: %v", err)
	}
	if back.Name != name || back.State != hierarchy.NamespaceActive || !back.DeletedAt.IsZero() || back.Revision <= gone.Revision {
		t.Errorf("recovered: %+v", back)
	}
	if i := old.item(t, ref); rate(&i) != 5 {
		t.Errorf("recovered with %+v", i)
	}
	if again, err := s.Store.RecoverNamespace(ctx, old.ns.ID, s.cause()); err != nil || again.Revision != back.Revision {
		t.Errorf("recovered what is there: %+v, %v", again, err)
	}
	var actions []string
	for _, e := range old.events(t, hierarchy.Selector{Kinds: []hierarchy.Kind{hierarchy.KindNamespace}}) {
		actions = append(actions, e.Action)
	}
	same(t, "events", []string{hierarchy.ActionRecover, hierarchy.ActionDelete, hierarchy.ActionRegister}, actions)
}

// remove deletes a namespace.
func (s *suite) remove(t *testing.T, name string) hierarchy.Namespace {
	t.Helper()
	ns, err := s.Store.DeleteNamespace(t.Context(), name, s.cause())
	if err != nil {
		t.Fatalf("DeleteNamespace: %v", err)
	}
	return ns
}

func testListNamespaces(t *testing.T, s *suite) {
	var made, lost []hierarchy.Namespace
	for n := range 7 {
		w := s.world(t, fmt.Sprint(n))
		if n%3 == 1 {
			lost = append(lost, s.remove(t, w.ns.Name))
			continue
		}
		made = append(made, w.ns)
	}
	for _, size := range []int{2, 0} {
		same(t, "active", made, s.every(t, s.Store.Namespaces, size))
		orphans := s.every(t, s.Store.Orphans, size)
		slices.SortFunc(orphans, func(a, b hierarchy.Namespace) int { return strings.Compare(a.Name, b.Name) })
		same(t, "orphans", lost, orphans)
	}
}

// listing is a method that lists namespaces.
type listing func(ctx context.Context, p hierarchy.Page) (hierarchy.NamespaceListing, error)

// every is each namespace of this test in a list.
func (s *suite) every(t *testing.T, list listing, size int) []hierarchy.Namespace {
	t.Helper()
	var all []hierarchy.Namespace
	for p := (hierarchy.Page{Limit: size}); ; {
		l, err := list(t.Context(), p)
		if err != nil {
			t.Fatalf("listing namespaces: %v", err)
		}
		if len(l.Namespaces) > p.Size() {
			t.Fatalf("a page of %d holds %d", p.Size(), len(l.Namespaces))
		}
		for _, ns := range l.Namespaces {
			if strings.HasPrefix(ns.Name, s.unique) {
				all = append(all, ns)
			}
		}
		if l.Next == "" {
			return all
		}
		p.After = l.Next
	}
}

// A purge takes all that a namespace holds, and nothing of another.
func testPurge(t *testing.T, s *suite) {
	ctx := t.Context()
	w, other := s.world(t, ""), s.world(t, "other")
	refs := everyRef()[:60]
	w.write(t, refs, 0)
	kept := other.write(t, refs, 1000)
	if err := s.Store.PurgeNamespace(ctx, w.ns.ID, nil); !errors.Is(err, hierarchy.ErrNamespaceActive) {
		t.Fatalf("an active one: %v", err)
	}
	w.mark(t)
	s.remove(t, w.ns.Name)
	if s.Left != nil && s.Left(t, w.ns) == 0 {
		t.Fatal("the hook sees nothing of what is there")
	}
	last := 0
	err := s.Store.PurgeNamespace(ctx, w.ns.ID, func(removed int) {
		if removed < last {
			t.Errorf("%d removed after %d", removed, last)
		}
		last = removed
	})
	if err != nil {
		t.Fatalf("PurgeNamespace: %v", err)
	}
	if last < 2*len(refs) {
		t.Errorf("%d removed of %d items and as many events", last, len(refs))
	}
	if s.Left == nil {
		t.Log("no hook to see what is left")
	} else if n := s.Left(t, w.ns); n != 0 {
		t.Errorf("%d records are left", n)
	}
	for _, ns := range s.every(t, s.Store.Orphans, 0) {
		t.Errorf("an orphan is left: %+v", ns)
	}
	if err := s.Store.PurgeNamespace(ctx, w.ns.ID, nil); !errors.Is(err, hierarchy.ErrUnknownNamespace) {
		t.Errorf("purged again: %v", err)
	}
	if _, err := s.Store.RecoverNamespace(ctx, w.ns.ID, s.cause()); !errors.Is(err, hierarchy.ErrUnknownNamespace) {
		t.Errorf("recovered: %v", err)
	}
	other.check(t, kept)
	s.isUnknown(t, w.ns.Name)
	fresh := s.world(t, "")
	if got := len(fresh.list(t, hierarchy.Selector{Deleted: true}, 0)); got != 0 {
		t.Errorf("registered anew with %d items", got)
	}
}
