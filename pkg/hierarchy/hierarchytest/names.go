package hierarchytest

import (
	"slices"
	"strings"
	"testing"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// names are made to be taken for each other: separators, escapes, ends of
// texts, the longest there can be, and look-alikes.
var names = []string{
	"a", "A", "a#", "a/", "a/b", "a#b", "a%2Fb", "a%", "a%25", "%", "%00", "\x00", "a\x00", "a\x00b", "a\x00\x01", "\x00\x01", "\x00\x02", "a\x01",
	"a b", " a", "a ", "_default", "default", "e", "c", "-", ".", "..", "~", "*", "\xff", "\xfe", "\xff\xff", "a\xff",
	"\u00e9", "e\u0301", "\u0430", "K", "\u212a", "\ufeffa", "a\u200b", "\ufffd", "\U0001f642", "null", "{}", `{"base64":"YQ=="}`,
	strings.Repeat("x", hierarchy.MaxName), strings.Repeat("x", hierarchy.MaxName-1) + "y",
	strings.Repeat("/", hierarchy.MaxName), strings.Repeat("/", hierarchy.MaxName-1) + "#", strings.Repeat("\x00", hierarchy.MaxName),
	"~" + strings.Repeat("0", 64), "spiffe://td/ns/x", "::1", "2001:db8::1",
}

// everyRef are items whose names are made to collide, in every kind, with every
// name at least once in each place.
func everyRef() []hierarchy.Ref {
	refs := []hierarchy.Ref{hierarchy.SystemRef()}
	for n, name := range names {
		other := names[(n+1)%len(names)]
		refs = append(
			refs, hierarchy.ResourceRef(name), hierarchy.ProfileRef(name), hierarchy.TierRef(name, ""), hierarchy.EntityRef(name, ""),
			hierarchy.TierRef(name, other), hierarchy.EntityRef(name, other),
		)
	}
	// What two parts could run together to.
	for _, pair := range [][2]string{{"a", "b/c"}, {"a/b", "c"}, {"a#b", "c"}, {"a", "b#c"}, {"a\x00", "b"}, {"a", "\x00b"}, {"a\x00\x01", "b"}, {"a", "b\x00\x01"}} {
		refs = append(refs, hierarchy.EntityRef(pair[0], pair[1]), hierarchy.TierRef(pair[0], pair[1]))
	}
	slices.SortFunc(refs, hierarchy.Ref.Compare)
	return slices.Compact(refs)
}

// itemOf is an item that no other ref has, of number n from 1.
func itemOf(ref hierarchy.Ref, n int64) hierarchy.Item {
	if ref.Kind == hierarchy.KindEntity {
		i := profile(ref.Name, "")
		i.Profile.Tier = strings.Repeat("t", int(n%200)+1)
		return i
	}
	return limited(ref, n)
}

// write writes an item for each ref.
func (w *world) write(t *testing.T, refs []hierarchy.Ref, offset int64) map[hierarchy.Ref]hierarchy.Item {
	t.Helper()
	written := map[hierarchy.Ref]hierarchy.Item{}
	n := offset
	for part := range slices.Chunk(refs, hierarchy.MaxPuts) {
		var puts []hierarchy.Put
		for _, ref := range part {
			n++
			puts = append(puts, hierarchy.Put{Item: itemOf(ref, n)})
		}
		revision := w.edit(t, puts...)
		for _, p := range puts {
			p.Item.Revision, p.Item.UpdatedAt = revision, w.at
			written[p.Item.Ref] = p.Item
		}
	}
	return written
}

// check reads each item back.
func (w *world) check(t *testing.T, written map[hierarchy.Ref]hierarchy.Item) {
	t.Helper()
	refs := make([]hierarchy.Ref, 0, len(written))
	for ref := range written {
		refs = append(refs, ref)
	}
	for part := range slices.Chunk(refs, hierarchy.MaxItems) {
		for _, got := range w.items(t, part...) {
			same(t, got.Ref.String(), written[got.Ref], got)
		}
	}
}

// No name is taken for another, in whatever place.
func testNames(t *testing.T, s *suite) {
	w := s.world(t, "")
	refs := everyRef()
	written := w.write(t, refs, 0)
	w.check(t, written)
	listed := w.list(t, hierarchy.Selector{}, 0)
	same(t, "all of them", refs, refsOf(listed))
	for _, i := range listed {
		same(t, i.Ref.String(), written[i.Ref], i)
	}
	changed, err := w.Store.Changes(t.Context(), w.ns.Name, hierarchy.Mark{ID: w.ns.ID, Revision: w.ns.Revision})
	if err != nil {
		t.Fatalf("Changes: %v", err)
	}
	var named []hierarchy.Ref
	for _, c := range changed {
		named = append(named, c.Refs...)
	}
	slices.SortFunc(named, hierarchy.Ref.Compare)
	same(t, "named by the changes", refs, named)
	for _, e := range w.events(t, hierarchy.Selector{Name: "a\x00b"}) {
		if e.Target.Name != "a\x00b" {
			t.Errorf("the events have %s", e.Target)
		}
	}
}

// Two namespaces with the same names in them, and names of their own made to
// collide, never see each other's.
func testIsolation(t *testing.T, s *suite) {
	refs := []hierarchy.Ref{hierarchy.SystemRef()}
	for _, name := range names {
		refs = append(refs, hierarchy.EntityRef(name, name), hierarchy.ProfileRef(name))
	}
	worlds := map[string]map[hierarchy.Ref]hierarchy.Item{}
	byName := map[string]*world{}
	for n, name := range []string{"", "-", ":", ".b", ":e"} {
		w := s.world(t, name)
		byName[name], worlds[name] = w, w.write(t, refs, int64(n)*1000)
	}
	for name, written := range worlds {
		w := byName[name]
		w.check(t, written)
		if got := len(w.list(t, hierarchy.Selector{}, 0)); got != len(refs) {
			t.Errorf("namespace %q lists %d of %d items", w.ns.Name, got, len(refs))
		}
		if got := len(w.events(t, hierarchy.Selector{})); got != 1+len(refs) {
			t.Errorf("namespace %q has %d events of its registration and %d items", w.ns.Name, got, len(refs))
		}
		if got := len(w.events(t, hierarchy.Selector{Kinds: []hierarchy.Kind{hierarchy.KindSystem}})); got != 1 {
			t.Errorf("namespace %q has %d events of one edit", w.ns.Name, got)
		}
	}
	// What is deleted in one stays in the others.
	w := byName[""]
	w.edit(t, w.put(t, deleted(hierarchy.SystemRef())))
	byName["-"].check(t, worlds["-"])
}
