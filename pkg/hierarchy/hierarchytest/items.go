package hierarchytest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// An item is written, changed and read; each of its revisions is that of the
// edit that wrote it last.
func testItems(t *testing.T, s *suite) {
	w := s.world(t, "")
	a, b := hierarchy.ResourceRef("a"), hierarchy.ResourceRef("b")
	same(t, "never written", []hierarchy.Item{{Ref: a}, {Ref: b}}, w.items(t, a, b))

	first := w.edit(t, hierarchy.Put{Item: limited(a, 5)})
	i := w.item(t, a)
	want := limited(a, 5)
	want.Revision, want.UpdatedAt = first, w.at
	same(t, "written", want, i)
	if !i.Exists() || i.UpdatedAt.Location() != time.UTC {
		t.Errorf("exists %t, at %s", i.Exists(), i.UpdatedAt)
	}
	second := w.edit(t, w.put(t, limited(b, 7)), w.put(t, limited(a, 6)))
	items := w.items(t, b, a)
	if rate(&items[0]) != 7 || rate(&items[1]) != 6 || items[0].Revision != second || items[1].Revision != second {
		t.Errorf("after the second edit: %+v", items)
	}
	w.edit(t, w.put(t, limited(b, 8)))
	if got := w.item(t, a).Revision; got != second {
		t.Errorf("another item's edit moved this one to %d", got)
	}
	if items := w.items(t); len(items) != 0 {
		t.Errorf("no refs gave %v", items)
	}
}

// What an item can say, it says after it was read.
func testItemsOfAnyKind(t *testing.T, s *suite) {
	w := s.world(t, "")
	limits := []ratelimit.Limit{
		ratelimit.PerMinute("rpm", 60), ratelimit.Custom("tpm", 150_000, 100_000, time.Minute),
		ratelimit.Custom("odd", 1, 3, 1500*time.Millisecond), ratelimit.Custom("most", ratelimit.MaxTokens, 1_000_000, time.Second),
	}
	all := []hierarchy.Item{
		{Ref: hierarchy.SystemRef(), Level: hierarchy.Level{Limits: limits, OnUnavailable: ratelimit.FallbackLocal}},
		{Ref: hierarchy.ResourceRef("gpt-4"), Level: hierarchy.Level{Mode: ratelimit.ModeDisabled, OnUnavailable: ratelimit.FallbackDeny}},
		{Ref: hierarchy.TierRef("gold", ""), Manager: "infra", Level: hierarchy.Level{Limits: limits[:1]}},
		{Ref: hierarchy.TierRef("gold", "gpt-4"), Level: hierarchy.Level{Mode: ratelimit.ModeBypass}},
		{Ref: hierarchy.ProfileRef("acme")},
		{Ref: hierarchy.ProfileRef("user"), Profile: hierarchy.Profile{
			DisplayName: "A \"User\" \u00e9", Tier: "gold", Parent: "acme", Cascade: true, Metadata: map[string]string{"crm": "42", "": "", "x": "\x00<&>"},
		}},
		{Ref: hierarchy.EntityRef("user", ""), Level: hierarchy.Level{Mode: ratelimit.ModeOn}},
		{Ref: hierarchy.EntityRef("user", "gpt-4"), Level: hierarchy.Level{Limits: limits[2:], Mode: ratelimit.ModeOn}},
	}
	delete(all[5].Profile.Metadata, "")
	var puts []hierarchy.Put
	var refs []hierarchy.Ref
	for _, i := range all {
		puts, refs = append(puts, hierarchy.Put{Item: i}), append(refs, i.Ref)
	}
	revision := w.edit(t, puts...)
	for i := range all {
		all[i].Revision, all[i].UpdatedAt = revision, w.at
	}
	same(t, "all kinds", all, w.items(t, refs...))

	// Each says less: what it said before is gone.
	for i := range puts {
		puts[i] = hierarchy.Put{Item: hierarchy.Item{Ref: refs[i]}, Expect: revision}
		all[i] = hierarchy.Item{Ref: refs[i], Revision: revision + 1}
	}
	w.edit(t, puts...)
	for i := range all {
		all[i].UpdatedAt = w.at
	}
	same(t, "all kinds, empty", all, w.items(t, refs...))
}

// What is deleted keeps its revision, and goes on from there when it is made
// again.
func testTombstones(t *testing.T, s *suite) {
	w := s.world(t, "")
	ref := hierarchy.EntityRef("e", "r")
	first := w.edit(t, hierarchy.Put{Item: limited(ref, 5)})
	second := w.edit(t, hierarchy.Put{Item: deleted(ref), Expect: first})
	same(t, "deleted", hierarchy.Item{Ref: ref, Revision: second, Deleted: true, UpdatedAt: w.at}, w.item(t, ref))
	if got := w.list(t, hierarchy.Selector{}, 0); len(got) != 0 {
		t.Errorf("the list has %v", got)
	}
	if got := w.list(t, hierarchy.Selector{Deleted: true}, 0); len(got) != 1 || !got[0].Deleted {
		t.Errorf("the list with tombstones has %v", got)
	}
	isConflict(t, w.refusedPuts(t, hierarchy.Put{Item: limited(ref, 6)}), ref, 0, second)
	isConflict(t, w.refusedPuts(t, hierarchy.Put{Item: limited(ref, 6), Expect: first}), ref, first, second)
	third := w.edit(t, hierarchy.Put{Item: limited(ref, 6), Expect: second})
	if i := w.item(t, ref); i.Deleted || i.Revision != third || rate(&i) != 6 {
		t.Errorf("made again: %+v", i)
	}
	// A tombstone of what never was keeps bucket and configuration in step too.
	never := hierarchy.TierRef("never", "")
	fourth := w.edit(t, hierarchy.Put{Item: deleted(never)})
	if i := w.item(t, never); !i.Deleted || i.Revision != fourth {
		t.Errorf("deleted without having been: %+v", i)
	}
}

func testConflicts(t *testing.T, s *suite) {
	w := s.world(t, "")
	a, b := hierarchy.ResourceRef("a"), hierarchy.ResourceRef("b")
	isConflict(t, w.refusedPuts(t, hierarchy.Put{Item: limited(a, 1), Expect: 7}), a, 7, 0)
	first := w.edit(t, hierarchy.Put{Item: limited(a, 5)})
	isConflict(t, w.refusedPuts(t, hierarchy.Put{Item: limited(a, 1)}), a, 0, first)
	second := w.edit(t, hierarchy.Put{Item: limited(a, 6), Expect: first})
	err := w.refusedPuts(t, hierarchy.Put{Item: limited(a, 1), Expect: first})
	isConflict(t, err, a, first, second)
	var c *hierarchy.ConflictError
	if errors.As(err, &c); rate(&c.Found) != 6 {
		t.Errorf("the conflict shows %+v", c.Found)
	}
	// One of two: neither is written.
	isConflict(t, w.refusedPuts(t, hierarchy.Put{Item: limited(b, 9)}, hierarchy.Put{Item: limited(a, 9), Expect: first}), a, first, second)
	items := w.items(t, a, b)
	if rate(&items[0]) != 6 || items[1].Revision != 0 {
		t.Errorf("after the conflicts: %+v", items)
	}
	// What an edit says that it relies on is a condition like any other.
	relying := hierarchy.Edit{Cause: w.cause(), Action: "test", Puts: []hierarchy.Put{{Item: limited(b, 1)}}, Reads: []hierarchy.Expectation{{Ref: a, Revision: first}}}
	isConflict(t, w.refused(t, relying), a, first, second)
	relying.Reads[0].Revision = second
	if _, err := w.Store.Edit(t.Context(), w.ns.Name, relying); err != nil {
		t.Errorf("an edit that relies on what is so: %v", err)
	}
}

// What can't be used is not written.
func testRefused(t *testing.T, s *suite) {
	w := s.world(t, "")
	valid := hierarchy.Put{Item: limited(hierarchy.SystemRef(), 5)}
	for what, puts := range map[string][]hierarchy.Put{
		"nothing":           {},
		"the same twice":    {valid, valid},
		"a bad limit":       {{Item: limited(hierarchy.SystemRef(), 0)}},
		"no name":           {{Item: limited(hierarchy.EntityRef("", ""), 5)}},
		"a reserved name":   {{Item: limited(hierarchy.EntityRef("e", ratelimit.ReservedResource), 5)}},
		"a name too long":   {{Item: limited(hierarchy.EntityRef(strings.Repeat("x", hierarchy.MaxName+1), ""), 5)}},
		"the namespace":     {{Item: hierarchy.Item{}}},
		"limits of profile": {{Item: limited(hierarchy.ProfileRef("e"), 5)}},
		"one of two":        {valid, {Item: limited(hierarchy.ResourceRef(""), 5)}},
	} {
		t.Run(what, func(t *testing.T) {
			err := w.refusedPuts(t, puts...)
			var item *hierarchy.InvalidItemError
			var edit *hierarchy.InvalidEditError
			if !errors.As(err, &item) && !errors.As(err, &edit) {
				t.Errorf("%v", err)
			}
		})
	}
	anonymous := hierarchy.Edit{Cause: hierarchy.Cause{At: s.at}, Action: "test", Puts: []hierarchy.Put{valid}}
	var edit *hierarchy.InvalidEditError
	if err := w.refused(t, anonymous); !errors.As(err, &edit) {
		t.Errorf("by nobody: %v", err)
	}
	if _, err := w.Store.RegisterNamespace(t.Context(), s.unique+"anonymous", hierarchy.Cause{At: s.at}); !errors.As(err, &edit) {
		t.Errorf("registered by nobody: %v", err)
	}
}

// An edit of the most items, each as large as can be, is one change.
func testLargeEdits(t *testing.T, s *suite) {
	w := s.world(t, "")
	var puts []hierarchy.Put
	for n := range hierarchy.MaxPuts {
		i := profile(fmt.Sprintf("%0*d", hierarchy.MaxName, n), strings.Repeat("\xff", hierarchy.MaxName))
		i.Profile.Metadata = map[string]string{"long": strings.Repeat("x", 8000)}
		puts = append(puts, hierarchy.Put{Item: i})
	}
	revision := w.edit(t, puts...)
	for n := range puts {
		if i := w.item(t, puts[n].Item.Ref); i.Revision != revision || len(i.Profile.Metadata["long"]) != 8000 {
			t.Fatalf("item %d is at revision %d of %d", n, i.Revision, revision)
		}
	}
	if got := len(w.events(t, hierarchy.Selector{Kinds: []hierarchy.Kind{hierarchy.KindEntity}})); got != len(puts) {
		t.Errorf("%d events", got)
	}
	more := append(puts[:len(puts):len(puts)], hierarchy.Put{Item: limited(hierarchy.SystemRef(), 1)})
	var edit *hierarchy.InvalidEditError
	if err := w.refusedPuts(t, more...); !errors.As(err, &edit) {
		t.Errorf("one item more: %v", err)
	}
}

// Attributes that this program doesn't know survive its edits, and end with the
// item.
func testUnknownAttributes(t *testing.T, s *suite) {
	if s.Plant == nil || s.Planted == nil {
		t.Skip("no hook to plant attributes with")
	}
	w := s.world(t, "")
	for _, ref := range []hierarchy.Ref{hierarchy.ProfileRef("e"), hierarchy.EntityRef("e", "r"), hierarchy.SystemRef()} {
		w.edit(t, hierarchy.Put{Item: hierarchy.Item{Ref: ref}})
		w.Plant(t, w.ns, ref)
		if !w.Planted(t, w.ns, ref) {
			t.Fatalf("%s: nothing was planted", ref)
		}
		i := w.item(t, ref)
		i.Manager = "another"
		w.edit(t, hierarchy.Put{Item: i, Expect: i.Revision})
		if !w.Planted(t, w.ns, ref) {
			t.Errorf("%s: an edit took the unknown attribute away", ref)
		}
		if w.item(t, ref).Manager != "another" {
			t.Errorf("%s: the edit is lost", ref)
		}
		w.edit(t, w.put(t, deleted(ref)))
		w.edit(t, w.put(t, hierarchy.Item{Ref: ref}))
		if w.Planted(t, w.ns, ref) {
			t.Errorf("%s: what was deleted came back", ref)
		}
	}
}

// A call whose context is over does nothing, and says so.
func testCancelled(t *testing.T, s *suite) {
	w := s.world(t, "")
	before := w.mark(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := hierarchy.Edit{Cause: s.cause(), Action: "test", Puts: []hierarchy.Put{{Item: limited(hierarchy.SystemRef(), 5)}}}
	_, errs := w.Store.Edit(ctx, w.ns.Name, e)
	_, register := w.Store.RegisterNamespace(ctx, s.unique+"never", s.cause())
	_, remove := w.Store.DeleteNamespace(ctx, w.ns.Name, s.cause())
	_, mark := w.Store.Mark(ctx, w.ns.Name)
	_, items := w.Store.Items(ctx, w.ns.Name, []hierarchy.Ref{hierarchy.SystemRef()})
	for what, err := range map[string]error{"Edit": errs, "RegisterNamespace": register, "DeleteNamespace": remove, "Mark": mark, "Items": items} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if w.mark(t) != before {
		t.Error("something was changed")
	}
	if _, err := w.Store.Namespace(t.Context(), s.unique+"never"); !errors.Is(err, hierarchy.ErrUnknownNamespace) {
		t.Errorf("the namespace: %v", err)
	}
}
