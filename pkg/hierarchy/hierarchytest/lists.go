package hierarchytest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// Pages of any size give the same list, each item once.
func testLists(t *testing.T, s *suite) {
	w := s.world(t, "")
	if got := w.list(t, hierarchy.Selector{}, 0); len(got) != 0 {
		t.Errorf("an empty namespace lists %v", got)
	}
	var refs []hierarchy.Ref
	for n := range 130 {
		refs = append(refs, hierarchy.EntityRef(fmt.Sprintf("user-%03d", n), ""))
	}
	w.write(t, refs, 0)
	whole := refsOf(w.list(t, hierarchy.Selector{}, hierarchy.MaxPage))
	same(t, "the whole", refs, whole)
	first := w.list(t, hierarchy.Selector{}, 0)
	for _, size := range []int{1, 7, 65, 129, 130, 131, 10 * hierarchy.MaxPage} {
		got := w.list(t, hierarchy.Selector{}, size)
		same(t, fmt.Sprintf("in pages of %d", size), first, got)
	}
	if _, err := w.Store.List(t.Context(), w.ns.Name, hierarchy.Selector{}, hierarchy.Page{After: "no such page!"}); err == nil {
		t.Error("a page that never was is accepted")
	}
}

// A selector selects what it says.
func testSelectors(t *testing.T, s *suite) {
	w := s.world(t, "")
	refs := everyRef()
	w.write(t, refs, 0)
	var all []hierarchy.Selector
	for _, kinds := range [][]hierarchy.Kind{
		nil,
		{hierarchy.KindResource},
		{hierarchy.KindEntity},
		{hierarchy.KindEntityResource},
		{hierarchy.KindTier, hierarchy.KindTierResource},
		{hierarchy.KindEntity, hierarchy.KindEntityDefault, hierarchy.KindEntityResource},
	} {
		for _, name := range []string{"", "a", "a/b", "\x00", "nobody"} {
			all = append(all, hierarchy.Selector{Kinds: kinds, Name: name})
		}
		for _, prefix := range []string{"a", "a\x00", "a/", "%", "\xff", "e", "xx", "nobody"} {
			all = append(all, hierarchy.Selector{Kinds: kinds, Prefix: prefix})
		}
		all = append(all, hierarchy.Selector{Kinds: kinds, Resource: "a/b"}, hierarchy.Selector{Kinds: kinds, Resource: "c", Name: "a/b"},
			hierarchy.Selector{Kinds: kinds, Resource: "c", Prefix: "a"})
	}
	for _, sel := range all {
		var want []hierarchy.Ref
		for _, ref := range refs {
			if sel.Selects(ref) {
				want = append(want, ref)
			}
		}
		same(t, fmt.Sprintf("%#v", sel), want, refsOf(w.list(t, sel, 5)))
	}
}

// Each change of each item is told: who, what, when, before and after.
func testEvents(t *testing.T, s *suite) {
	w := s.world(t, "")
	a, b := hierarchy.EntityRef("e", "r"), hierarchy.SystemRef()
	edit := func(action string, puts ...hierarchy.Put) int64 {
		t.Helper()
		e := hierarchy.Edit{Cause: hierarchy.Cause{By: hierarchy.Actor{Caller: "arn:x", As: action + "er"}, At: s.cause().At}, Action: action, Puts: puts}
		revision, err := w.Store.Edit(t.Context(), w.ns.Name, e)
		if err != nil {
			t.Fatalf("Edit: %v", err)
		}
		return revision
	}
	r1 := edit("set", hierarchy.Put{Item: limited(a, 1)}, hierarchy.Put{Item: limited(b, 2)})
	i1, j1, t1 := w.item(t, a), w.item(t, b), s.at
	r2 := edit("change", w.put(t, limited(a, 3)))
	i2, t2 := w.item(t, a), s.at
	r3 := edit("delete", w.put(t, deleted(a)))
	t3 := s.at
	r4 := edit("set", w.put(t, limited(a, 4)))
	i4, t4 := w.item(t, a), s.at
	by := func(as string) hierarchy.Actor { return hierarchy.Actor{Caller: "arn:x", As: as + "er"} }
	want := []hierarchy.Event{
		{At: t4, By: by("set"), Action: "set", Target: a, Revision: r4, After: &i4},
		{At: t3, By: by("delete"), Action: "delete", Target: a, Revision: r3, Before: &i2},
		{At: t2, By: by("change"), Action: "change", Target: a, Revision: r2, Before: &i1, After: &i2},
		{At: t1, By: by("set"), Action: "set", Target: b, Revision: r1, After: &j1},
		{At: t1, By: by("set"), Action: "set", Target: a, Revision: r1, After: &i1},
	}
	got := w.events(t, hierarchy.Selector{})
	ids := map[string]bool{}
	for i := range got {
		if len(got[i].ID) != 26 || ids[got[i].ID] {
			t.Errorf("the id %q", got[i].ID)
		}
		ids[got[i].ID] = true
		got[i].ID = ""
	}
	if len(got) != len(want)+1 {
		t.Fatalf("%d events", len(got))
	}
	registered := got[len(want)]
	if registered.Action != hierarchy.ActionRegister || registered.Target.Kind != hierarchy.KindNamespace || registered.By.Caller != "tester" {
		t.Errorf("the first event is %+v", registered)
	}
	same(t, "events", want, got[:len(want)])
	for i, n := range map[*hierarchy.Selector]int{
		{Name: "e"}: 4, {Name: "e", Resource: "r"}: 4, {Kinds: []hierarchy.Kind{hierarchy.KindSystem}}: 1, {Name: "x"}: 0,
		{Kinds: []hierarchy.Kind{hierarchy.KindNamespace}}: 1,
	} {
		if got := w.events(t, *i); len(got) != n {
			t.Errorf("%+v: %d events, not %d", *i, len(got), n)
		}
	}
}

// Newest first, also where several were made in one millisecond; each once,
// whatever the pages.
func testEventsOfPages(t *testing.T, s *suite) {
	w := s.world(t, "")
	ref := hierarchy.SystemRef()
	at := s.at.Add(time.Minute)
	for n := range 30 {
		e := hierarchy.Edit{
			Cause: hierarchy.Cause{By: hierarchy.Actor{Caller: "me"}, At: at.Add(time.Duration(n/10) * time.Millisecond)}, Action: "test",
			Puts: []hierarchy.Put{w.put(t, limited(ref, int64(n+1))), w.put(t, limited(hierarchy.ResourceRef("r"), int64(n+1)))},
		}
		if _, err := w.Store.Edit(t.Context(), w.ns.Name, e); err != nil {
			t.Fatalf("Edit: %v", err)
		}
	}
	whole := w.events(t, hierarchy.Selector{})
	if len(whole) != 61 {
		t.Errorf("%d events", len(whole))
	}
	if !slices.IsSortedFunc(whole, func(a, b hierarchy.Event) int { return int(b.Revision - a.Revision) }) {
		t.Error("not the newest first")
	}
	for _, size := range []int{1, 7, 60, 61} {
		same(t, fmt.Sprintf("in pages of %d", size), whole, w.eventsBy(t, hierarchy.Selector{}, size))
	}
	if got := w.eventsBy(t, hierarchy.Selector{Kinds: []hierarchy.Kind{hierarchy.KindResource}}, 4); len(got) != 30 {
		t.Errorf("%d events of the resource", len(got))
	}
}
