package hierarchy_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// truth is how the store's configuration of one moment resolves.
func truth(t *testing.T, s *embedstore.Store, q ratelimit.Query) string {
	t.Helper()
	c := hierarchy.NewCache(hierarchy.CacheConfig{Source: s})
	defer c.Close()
	res, err := c.Resolver("default", hierarchy.Document{}).Resolve(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return shown(res)
}

// Two levels that are written while they are read: what was read first must not
// be taken together with what was read last, or the bucket's revision would be
// one that nobody may correct.
func TestTornRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, hierarchy.Document{})
		f.set(limited(hierarchy.ResourceRef("api"), 5))
		f.is(f.query("x", "other"), "") // the namespace is in use
		n := 0
		f.getBetween(func(method string) {
			if method != "Items" {
				return
			}
			switch n++; n {
			case 4: // the entity's level was read: absent
				f.set(limited(hierarchy.EntityRef("e", "api"), 9))
				f.set(limited(hierarchy.ResourceRef("api"), 15))
			}
		})
		f.is(f.query("e", "api"), "e entity+resource 9 kept v3")
		if n < 8 {
			t.Errorf("read %d items: the reading wasn't repeated", n)
		}
	})
}

// Whatever is written while it is read, a resolution is one of a single moment;
// none sticks; and a bucket that was shaped by it can be told what is newer.
func TestResolutionsAreOfOneMoment(t *testing.T) {
	refs := []hierarchy.Ref{
		hierarchy.SystemRef(), hierarchy.ResourceRef("api"), hierarchy.TierRef("gold", ""), hierarchy.TierRef("gold", "api"),
		hierarchy.ProfileRef("a"), hierarchy.EntityRef("a", ""), hierarchy.EntityRef("a", "api"), hierarchy.ProfileRef("p"), hierarchy.EntityRef("p", ""),
	}
	seeds := uint64(300)
	if testing.Short() {
		seeds = 30
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			f := newFixture(t, hierarchy.Document{})
			queries := []ratelimit.Query{f.query("a", "api"), f.query("p", "api"), f.query("b", "api")}
			history := make([][]string, len(queries))
			var mu sync.Mutex // polls read too
			write := func() {
				ref := refs[rng.IntN(len(refs))]
				i := hierarchy.Item{Ref: ref}
				switch {
				case rng.IntN(4) == 0:
					i.Deleted = true
				case ref.Kind == hierarchy.KindEntity:
					parent := map[string]string{"a": "p", "p": "q"}[ref.Name]
					i = profile(ref.Name, []string{"", "gold"}[rng.IntN(2)], []string{"", parent}[rng.IntN(2)])
				default:
					i = limited(ref, rng.Int64N(1000)+1)
				}
				f.set(i)
				for n, q := range queries {
					history[n] = append(history[n], truth(t, f.Store, q))
				}
			}
			write()
			f.getBetween(func(string) {
				mu.Lock()
				defer mu.Unlock()
				if rng.IntN(8) == 0 {
					write()
				}
			})
			draw := func(n int) int {
				mu.Lock()
				defer mu.Unlock()
				return rng.IntN(n)
			}
			for range 20 {
				n := draw(len(queries))
				res, err := f.r.Resolve(t.Context(), queries[n])
				if err != nil && !errors.Is(err, hierarchy.ErrRestless) {
					t.Fatal(err)
				}
				mu.Lock()
				if err == nil && !slices.Contains(history[n], shown(res)) {
					t.Errorf("seed %d: %q was never so: %q", seed, shown(res), history[n])
				}
				mu.Unlock()
				time.Sleep(time.Duration(draw(4)) * time.Second)
			}
			f.between.Store(nil)
			time.Sleep(6 * time.Second)
			for n, q := range queries {
				if got, want := shown(f.resolve(q)), truth(t, f.Store, q); got != want {
					t.Fatalf("seed %d: query %d sticks at %q, it is %q", seed, n, got, want)
				}
			}
		})
	}
}

// More changes than are remembered, while an item is read: whether it is among
// them isn't known any more, so it is read again.
func TestTornReadOfLongAgo(t *testing.T) {
	f := newFixture(t, hierarchy.Document{})
	f.is(f.query("x", "other"), "")
	once := false
	f.getBetween(func(method string) {
		if method != "Mark" || once {
			return
		}
		once = true // all items were read
		f.set(limited(hierarchy.EntityRef("e", ""), 9))
		for n := range int64(300) {
			f.set(limited(hierarchy.EntityRef("another", ""), n+1))
		}
	})
	f.is(f.query("e", "api"), "e entity 9 kept v2")
}

// Many who are unseen at once share what they have in common: none of them is
// read again, and a change reaches them all.
func TestManyUnseenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, hierarchy.Document{})
		f.set(limited(hierarchy.SystemRef(), 5))
		f.is(f.query("x", "other"), "x system 5 v2")
		f.set(limited(hierarchy.SystemRef(), 6))
		time.Sleep(6 * time.Second) // the system's item isn't cached any more
		f.getBetween(func(string) { time.Sleep(time.Millisecond) })
		all := func(want string) {
			var wg sync.WaitGroup
			for n := range 30 {
				wg.Go(func() { f.is(f.query(fmt.Sprint(n), "api"), fmt.Sprint(n, " ", want)) })
			}
			wg.Wait()
		}
		f.reads()
		all("system 6 v3")
		if got := f.reads(); got[0] != 30 || got[2] != 30 {
			t.Errorf("read %v", got)
		}
		all("system 6 v3")
		f.read("all again", 0, 0, 0, 0)
		f.set(limited(hierarchy.SystemRef(), 7))
		time.Sleep(6 * time.Second)
		all("system 7 v4")
	})
}

// A resolution that changes get into each time is an error, and no loop.
func TestRestless(t *testing.T) {
	f := newFixture(t, hierarchy.Document{})
	n := int64(0)
	f.getBetween(func(method string) {
		if method == "Items" {
			n++
			f.set(limited(hierarchy.SystemRef(), n))
		}
	})
	if _, err := f.r.Resolve(t.Context(), f.query("a", "api")); !errors.Is(err, hierarchy.ErrRestless) {
		t.Errorf("%v", err)
	}
	f.between.Store(nil)
	f.is(f.query("a", "api"), fmt.Sprintf("a system %d v%d", n, n+1))
}

// A cache holds no more than it may, and what falls out is read again.
func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixtureOf(t, hierarchy.Document{}, hierarchy.CacheConfig{Entries: 10})
		f.set(limited(hierarchy.SystemRef(), 5))
		for range 2 {
			for n := range 200 {
				f.is(f.query(fmt.Sprint(n), "api"), fmt.Sprintf("%d system 5 v2", n))
			}
		}
		if got := f.reads(); got[3] != 2+400*3 {
			t.Errorf("read %v", got)
		}
		// Changes reach what was read again.
		f.set(limited(hierarchy.EntityRef("199", ""), 6), limited(hierarchy.EntityRef("0", ""), 7))
		time.Sleep(6 * time.Second)
		f.is(f.query("199", "api"), "199 entity 6 kept v3")
		f.is(f.query("0", "api"), "0 entity 7 kept v3")
	})
}

// Names longer than a store can speak of have no level of their own there, and
// are not taken for their beginning.
func TestLongNames(t *testing.T) {
	f := newFixture(t, hierarchy.Document{})
	long := make([]byte, 300)
	for i := range long {
		long[i] = 'x'
	}
	begin := f.query(string(long), "api").Key.Entity()
	f.set(limited(hierarchy.EntityRef(begin, ""), 1), limited(hierarchy.ResourceRef(begin), 2), limited(hierarchy.SystemRef(), 3))
	slashes := string(make([]byte, hierarchy.MaxName)) // a hash in the key, and raw beside it
	f.set(limited(hierarchy.EntityRef(slashes, ""), 4))
	f.is(f.query(string(long), "api"), begin+" system 3 v2")
	f.is(f.query("e", string(long)), "e system 3 v2")
	f.is(f.query(begin, "api"), begin+" entity 1 kept v2")
	f.is(f.query(slashes, "api"), slashes+" entity 4 kept v3")
}

// A resolver for a document that was loaded anew reads nothing again.
func TestReload(t *testing.T) {
	f := newFixture(t, hierarchy.Document{})
	f.set(limited(hierarchy.EntityRef("a", ""), 5))
	f.is(f.query("a", "api"), "a entity 5 kept v2")
	f.is(f.query("b", "api"), "")
	f.reads()
	f.r = f.cache.Resolver("default", hierarchy.Document{System: limited(hierarchy.SystemRef(), 9).Level})
	f.is(f.query("a", "api"), "a entity 5 kept v2")
	f.is(f.query("b", "api"), "b system 9 v0")
	f.read("a new document", 0, 0, 0, 0)
	f.register("other")
	other := hierarchy.TestKey(t, "other", "b", "api", "")
	f.is(ratelimit.Query{Key: other}, "") // the document doesn't speak for it
}

// After Close what is cached serves, and no reading begins.
func TestClose(t *testing.T) {
	f := newFixture(t, hierarchy.Document{})
	f.set(limited(hierarchy.SystemRef(), 5))
	f.is(f.query("a", "api"), "a system 5 v2")
	f.cache.Close()
	f.cache.Close()
	f.is(f.query("a", "api"), "a system 5 v2")
	f.reads()
	if _, err := f.r.Resolve(t.Context(), f.query("b", "api")); err == nil {
		t.Error("resolved after Close")
	}
	f.read("after Close", 0, 0, 0, 0)
}

// A namespace that nobody asks for is not polled for ever.
func TestIdleNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, hierarchy.Document{})
		f.is(f.query("a", "api"), "")
		for range 60 {
			time.Sleep(time.Minute)
			f.is(f.query("a", "api"), "")
		}
		if got := f.reads(); got[1] < 600 || got[2] != 1 {
			t.Errorf("read %v in an hour of use", got)
		}
		time.Sleep(time.Hour)
		if got := f.reads(); got[1] > 130 {
			t.Errorf("%d polls in an hour without use", got[1])
		}
		f.is(f.query("a", "api"), "")
		f.read("used again", 2, 0, 1, 5)
	})
}

func TestStoreResolverAllocations(t *testing.T) {
	f := newFixture(t, hierarchy.Document{})
	f.set(limited(hierarchy.SystemRef(), 5), profile("child", "", "parent"), limited(hierarchy.EntityRef("parent", ""), 6))
	ctx := t.Context()
	for _, entity := range []string{"a", "child"} {
		q := f.query(entity, "api")
		f.resolve(q)
		if n := testing.AllocsPerRun(100, func() { _, _ = f.r.Resolve(ctx, q) }); n > 0 {
			t.Errorf("%s: %v allocations", entity, n)
		}
	}
}

func BenchmarkStoreResolver(b *testing.B) {
	f := newFixture(b, hierarchy.Document{})
	f.set(limited(hierarchy.SystemRef(), 5), profile("child", "gold", "parent"), limited(hierarchy.EntityRef("parent", ""), 6))
	ctx := b.Context()
	for _, entity := range []string{"anybody", "child"} {
		q := f.query(entity, "api")
		b.Run(entity, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = f.r.Resolve(ctx, q)
			}
		})
	}
	queries := make([]ratelimit.Query, 20_000)
	for i := range queries {
		queries[i] = f.query(fmt.Sprint("user-", i), "api")
		f.resolve(queries[i])
	}
	b.Run("20000 entities, parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i += 7 {
				_, _ = f.r.Resolve(ctx, queries[i%len(queries)])
			}
		})
	})
}
