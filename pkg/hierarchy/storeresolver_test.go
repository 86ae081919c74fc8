package hierarchy_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// TestMain fails when a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inStore writes a document into the store, but for what a store refuses.
func (f *fixture) inStore(doc hierarchy.Document) {
	f.t.Helper()
	var items []hierarchy.Item
	add := func(ref hierarchy.Ref, l hierarchy.Level) {
		if !refused(ref.Name) && !refused(ref.Resource) {
			items = append(items, hierarchy.Item{Ref: ref, Level: l})
		}
	}
	add(hierarchy.SystemRef(), doc.System)
	for name, l := range doc.Resources {
		add(hierarchy.ResourceRef(name), l)
	}
	for name, x := range doc.Tiers {
		add(hierarchy.TierRef(name, ""), x.Level)
		for r, l := range x.Resources {
			add(hierarchy.TierRef(name, r), l)
		}
	}
	for name, e := range doc.Entities {
		add(hierarchy.EntityRef(name, ""), e.Level)
		for r, l := range e.Resources {
			add(hierarchy.EntityRef(name, r), l)
		}
		if !refused(name) {
			p := hierarchy.Profile{Tier: e.Tier, Parent: e.Parent, Cascade: e.Cascade, Metadata: e.Metadata}
			items = append(items, hierarchy.Item{Ref: hierarchy.ProfileRef(name), Profile: p})
		}
	}
	f.set(items...)
}

// refused reports whether a store can say nothing of a name, or not what the
// document does: parents in a circle.
func refused(name string) bool {
	return len(name) > hierarchy.MaxName || strings.Contains(name, "loop")
}

// A document in the store says what it says in a file; above an empty store a
// document says all.
func TestStoreAndFileSayTheSame(t *testing.T) {
	doc := hierarchy.TestDocument()
	inFile, inStore := newFixture(t, doc), newFixture(t, hierarchy.Document{})
	inStore.inStore(doc)
	override := ratelimit.PerHour("requests", 7)
	plain := hierarchy.NewResolver("default", doc)
	for _, entity := range append(slices.Collect(maps.Keys(doc.Entities)), "anybody") {
		for _, resource := range append(slices.Collect(maps.Keys(doc.Resources)), "other") {
			q := inFile.query(entity, resource)
			for _, q := range []ratelimit.Query{
				q,
				{Key: q.Key, Tier: "gold"},
				{Key: q.Key, Tier: "dark", Override: &override},
				{Key: q.Key, DefaultLimits: []ratelimit.Limit{override}},
			} {
				want, err := plain.Resolve(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				compare(t, "the file's", want, inFile.resolve(q))
				if !refused(entity) && !refused(resource) {
					compare(t, "the store's", want, withoutRevisions(t, inStore.resolve(q)))
				}
			}
		}
	}
}

// withoutRevisions takes the revisions away, which each target has.
func withoutRevisions(t *testing.T, res ratelimit.Resolution) ratelimit.Resolution {
	t.Helper()
	res.Targets = slices.Clone(res.Targets)
	for i := range res.Targets {
		x := &res.Targets[i]
		if x.Revision == 0 && x.Level != ratelimit.LevelOverride {
			t.Fatalf("%+v: without a revision", *x)
		}
		x.Revision = 0
	}
	return res
}

func compare(t *testing.T, what string, want, got ratelimit.Resolution) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.AllowUnexported(ratelimit.Key{})); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// At each level the store's word comes before the file's; v is the largest
// revision down to the level that won, tombstones included.
func TestLevelsAndRevisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said := func(rate int64) hierarchy.Level { return limited(hierarchy.SystemRef(), rate).Level }
		f := newFixture(t, hierarchy.Document{
			System:    hierarchy.Level{Limits: said(10).Limits, OnUnavailable: ratelimit.FallbackDeny},
			Resources: map[string]hierarchy.Level{"api": said(20)},
			Tiers:     map[string]hierarchy.Tier{"gold": {Level: said(30), Resources: map[string]hierarchy.Level{"api": said(40)}}},
			Entities: map[string]hierarchy.Entity{
				"e": {Tier: "gold", Level: said(50), Resources: map[string]hierarchy.Level{"api": said(60)}},
				"g": {Tier: "gold"},
			},
		})
		after := func(item hierarchy.Item, entity, want string) {
			t.Helper()
			revision := f.set(item)
			time.Sleep(6 * time.Second)
			f.is(f.query(entity, "api"), strings.ReplaceAll(want, "NOW", fmt.Sprint("v", revision)))
		}
		f.is(f.query("e", "api"), "e entity+resource 60 kept v0")
		after(limited(hierarchy.SystemRef(), 11), "e", "e entity+resource 60 kept v0")
		after(limited(hierarchy.EntityRef("e", ""), 51), "e", "e entity+resource 60 kept v0")
		after(limited(hierarchy.EntityRef("e", "api"), 61), "e", "e entity+resource 61 kept NOW")
		after(deleted(hierarchy.EntityRef("e", "api")), "e", "e entity+resource 60 kept NOW")
		after(limited(hierarchy.EntityRef("x", ""), 1), "x", "x entity 1 kept NOW")
		after(deleted(hierarchy.EntityRef("x", "")), "x", "x resource 20 NOW")
		after(limited(hierarchy.ResourceRef("api"), 21), "x", "x resource 21 NOW")
		// A profile in the store takes the place of the file's: no tier.
		after(profile("g", "", ""), "g", "g resource 21 NOW")
		after(profile("g", "gold", ""), "g", "g tier+resource 40 NOW")
		after(limited(hierarchy.TierRef("gold", ""), 31), "g", "g tier+resource 40 v10")
		after(limited(hierarchy.TierRef("gold", "api"), 41), "g", "g tier+resource 41 NOW")
		after(limited(hierarchy.TierRef("silver", ""), 33), "g", "g tier+resource 41 v12")
		after(profile("g", "silver", ""), "g", "g tier 33 NOW")
		// Modes are said apart from limits.
		after(hierarchy.Item{Ref: hierarchy.ResourceRef("api"), Level: hierarchy.Level{Mode: ratelimit.ModeDisabled}}, "x", "x resource 20 disabled NOW")
		if res := f.resolve(f.query("x", "api")); res.OnUnavailable != ratelimit.FallbackDeny {
			t.Errorf("on_unavailable is %s", res.OnUnavailable)
		}
		after(hierarchy.Item{Ref: hierarchy.SystemRef(), Level: hierarchy.Level{OnUnavailable: ratelimit.FallbackAllow}}, "x", "x resource 20 disabled v15")
		if res := f.resolve(f.query("x", "api")); res.OnUnavailable != ratelimit.FallbackAllow {
			t.Errorf("on_unavailable is %s", res.OnUnavailable)
		}
	})
}

// A parent is charged by its own levels, wherever they are said.
func TestParentsOfStore(t *testing.T) {
	f := newFixture(t, hierarchy.Document{Entities: map[string]hierarchy.Entity{
		"filed": {Level: limited(hierarchy.SystemRef(), 70).Level, Parent: "top", Cascade: true},
	}})
	f.set(limited(hierarchy.SystemRef(), 5), limited(hierarchy.EntityRef("top", ""), 80), limited(hierarchy.TierRef("gold", ""), 90))
	f.set(profile("mid", "gold", "filed"), profile("child", "", "mid"), limited(hierarchy.EntityRef("child", "api"), 1))
	f.is(f.query("child", "api"), "child entity+resource 1 kept v3, mid tier 90 v3, filed entity 70 kept v0, top entity 80 kept v2")
	f.read("three parents", 2, 0, 4, 5+3+5+3) // and with mid's tier: its two items
	f.is(f.query("mid", "api"), "mid tier 90 v3, filed entity 70 kept v0, top entity 80 kept v2")
	f.read("one of them", 0, 0, 0, 0)
}

// What is cached costs nothing; what isn't, no more than it must.
func TestReads(t *testing.T) {
	f := newFixture(t, hierarchy.Document{})
	f.set(limited(hierarchy.SystemRef(), 5), profile("golden", "gold", ""))
	f.read("nothing yet", 0, 0, 0, 0)
	f.is(f.query("anybody", "api"), "anybody system 5 v2")
	f.read("the first entity", 2, 0, 1, 5)
	for range 3 {
		f.is(f.query("anybody", "api"), "anybody system 5 v2")
	}
	f.read("a seen one", 0, 0, 0, 0)
	f.is(f.query("nobody", "api"), "nobody system 5 v2")
	f.read("another one", 1, 0, 1, 3)
	f.is(f.query("anybody", "web"), "anybody system 5 v2")
	f.read("another resource", 1, 0, 1, 2)
	f.is(f.query("golden", "api"), "golden system 5 v2")
	f.read("one with a tier", 1, 0, 2, 3+2)
	f.is(ratelimit.Query{Key: f.query("anybody", "api").Key, Tier: "gold"}, "anybody system 5 v2")
	f.read("a tier that is known", 0, 0, 0, 0)
}

// A change drops what it names, and nothing else.
func TestChangesDropWhatTheyName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, hierarchy.Document{})
		f.set(limited(hierarchy.SystemRef(), 5))
		const others = 100
		for n := range others {
			f.is(f.query(fmt.Sprint("other", n), "api"), fmt.Sprintf("other%d system 5 v2", n))
		}
		f.is(f.query("busy", "api"), "busy system 5 v2")
		f.reads()
		for n := range 1000 {
			f.set(limited(hierarchy.EntityRef(fmt.Sprint("written", n), ""), 9))
			if n%100 == 0 {
				time.Sleep(time.Second)
			}
		}
		f.set(limited(hierarchy.EntityRef("busy", ""), 6))
		f.is(f.query("busy", "api"), "busy system 5 v2") // not yet known
		time.Sleep(6 * time.Second)
		f.is(f.query("busy", "api"), "busy entity 6 kept v1003")
		for n := range others {
			f.is(f.query(fmt.Sprint("other", n), "api"), fmt.Sprintf("other%d system 5 v2", n))
		}
		got := f.reads()
		if got[0] != 1 || got[2] != 1 || got[3] != 1 {
			t.Errorf("read %v for one change that concerns anybody", got)
		}
		if got[1] < 2 || got[1] > 4 {
			t.Errorf("%d polls in 16 s", got[1])
		}
		f.set(limited(hierarchy.SystemRef(), 7))
		time.Sleep(6 * time.Second)
		f.is(f.query("other1", "api"), "other1 system 7 v1004")
		got = f.reads()
		if got[0] != 1 || got[2] != 1 || got[3] != 1 {
			t.Errorf("read %v for the system's change and one entity", got)
		}
		if got[1] < 1 || got[1] > 2 { // when is drawn, every 5 s or so
			t.Errorf("%d polls in 6 s", got[1])
		}
	})
}

// After more changes than are told one by one, all is dropped.
func TestGapDropsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, hierarchy.Document{})
		f.is(f.query("a", "api"), "")
		for n := range hierarchy.MaxChanges + 1 {
			f.set(limited(hierarchy.EntityRef("a", ""), int64(n+1)))
		}
		f.is(f.query("a", "api"), "")
		time.Sleep(6 * time.Second)
		f.is(f.query("a", "api"), fmt.Sprintf("a entity %d kept v%d", hierarchy.MaxChanges+1, hierarchy.MaxChanges+2))
	})
}

// A name that leads to another namespace by now shows nothing of the old one,
// also where their revisions are the same.
func TestNamesAreResolvedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, hierarchy.Document{})
		f.set(limited(hierarchy.SystemRef(), 5))
		f.is(f.query("a", "api"), "a system 5 v2")
		if _, err := f.DeleteNamespace(t.Context(), "default", f.cause()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		for range 100 {
			if _, err := f.r.Resolve(t.Context(), f.query("a", "api")); !errors.Is(err, hierarchy.ErrUnknownNamespace) {
				t.Fatalf("of a deleted namespace: %v", err)
			}
		}
		f.read("a deleted namespace", 2+1, 1, 1, 5)
		f.register("default")
		f.set(limited(hierarchy.SystemRef(), 6))
		f.set(limited(hierarchy.SystemRef(), 7))
		time.Sleep(6 * time.Second)
		f.is(f.query("a", "api"), "a system 7 v3")
	})
}

// A bucket that shows a later revision has the changes read at once, and not
// over and over.
func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixtureOf(t, hierarchy.Document{}, hierarchy.CacheConfig{Poll: time.Hour})
		q := f.query("a", "api")
		f.is(q, "")
		f.reads()
		f.r.Stale(q.Key, 1)
		synctest.Wait()
		f.read("a bucket as old as what is known", 0, 0, 0, 0)
		f.set(limited(hierarchy.EntityRef("a", ""), 7))
		f.is(q, "")
		f.r.Stale(q.Key, 2)
		synctest.Wait()
		f.is(q, "a entity 7 kept v2")
		f.read("a newer bucket", 1, 1, 1, 1)
		for range 1000 { // of a namespace that was restored: nothing will ever show that revision
			f.r.Stale(q.Key, 99)
			time.Sleep(time.Millisecond)
		}
		if got := f.reads(); got[1] < 3 || got[1] > 5 {
			t.Errorf("read %v in a second of a bucket that is newer than anything", got)
		}
	})
}

// While the store is down what is cached serves; the rest is an error.
func TestStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed atomic.Int64
		f := newFixtureOf(t, hierarchy.Document{}, hierarchy.CacheConfig{OnError: func(ns string, err error) {
			if ns != "default" || !errors.Is(err, errDown) {
				t.Errorf("namespace %q: %v", ns, err)
			}
			failed.Add(1)
		}})
		f.set(limited(hierarchy.SystemRef(), 5))
		f.is(f.query("a", "api"), "a system 5 v2")
		f.down.Store(true)
		time.Sleep(time.Minute)
		f.is(f.query("a", "api"), "a system 5 v2")
		if _, err := f.r.Resolve(t.Context(), f.query("b", "api")); !errors.Is(err, errDown) {
			t.Errorf("uncached: %v", err)
		}
		if n := failed.Load(); n < 10 || n > 14 {
			t.Errorf("%d failed polls in a minute", n)
		}
		f.down.Store(false)
		f.is(f.query("b", "api"), "b system 5 v2")
	})
}

// Any number who ask for the same at once cost one reading, and one who gives
// up doesn't take it from the others.
func TestAskedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, hierarchy.Document{})
		f.set(limited(hierarchy.SystemRef(), 5))
		f.getBetween(func(string) { time.Sleep(10 * time.Millisecond) })
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := f.r.Resolve(impatient, f.query("a", "api")); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("impatient: %v", err)
			}
		})
		synctest.Wait()
		for range 50 {
			wg.Go(func() { f.is(f.query("a", "api"), "a system 5 v2") })
		}
		wg.Wait()
		f.read("fifty at once", 2, 0, 1, 5)
	})
}

// What a process has changed itself is in force when it has refreshed, also a
// namespace that it asked for in vain.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, hierarchy.Document{})
		q := f.query("a", "api")
		refresh := func(ns string) {
			t.Helper()
			if err := f.cache.Refresh(t.Context(), ns); err != nil {
				t.Fatal(err)
			}
		}
		refresh("default")
		f.is(q, "")
		f.set(limited(hierarchy.SystemRef(), 5))
		f.is(q, "")
		refresh("default")
		f.is(q, "a system 5 v2")
		other := ratelimit.Query{Key: hierarchy.TestKey(t, "other", "a", "api", "")}
		if _, err := f.r.Resolve(t.Context(), other); !errors.Is(err, hierarchy.ErrUnknownNamespace) {
			t.Fatal(err)
		}
		f.register("other")
		f.setIn("other", limited(hierarchy.SystemRef(), 7))
		refresh("other")
		f.is(other, "a system 7 v2")
		f.down.Store(true)
		if err := f.cache.Refresh(t.Context(), "default"); !errors.Is(err, errDown) {
			t.Errorf("down: %v", err)
		}
		f.cache.Close()
		if err := f.cache.Refresh(t.Context(), "default"); err == nil || errors.Is(err, errDown) {
			t.Errorf("closed: %v", err)
		}
	})
}
