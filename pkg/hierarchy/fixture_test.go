package hierarchy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// source counts what is read of a store, and may get between.
type source struct {
	*embedstore.Store
	marks, changes, calls, items atomic.Int64
	down                         atomic.Bool
	between                      atomic.Pointer[func(method string)] // called before each read
}

var errDown = errors.New("the store is down")

func (s *source) enter(method string, n *atomic.Int64) error {
	n.Add(1)
	if f := s.between.Load(); f != nil {
		(*f)(method)
	}
	if s.down.Load() {
		return errDown
	}
	return nil
}

func (s *source) Mark(ctx context.Context, ns string) (hierarchy.Mark, error) {
	if err := s.enter("Mark", &s.marks); err != nil {
		return hierarchy.Mark{}, err
	}
	return s.Store.Mark(ctx, ns)
}

func (s *source) Changes(ctx context.Context, ns string, after hierarchy.Mark) ([]hierarchy.Change, error) {
	if err := s.enter("Changes", &s.changes); err != nil {
		return nil, err
	}
	return s.Store.Changes(ctx, ns, after)
}

// Items reads one item after the other, as a store may that is no process's own.
func (s *source) Items(ctx context.Context, ns string, refs []hierarchy.Ref) ([]hierarchy.Item, error) {
	s.items.Add(int64(len(refs)))
	s.calls.Add(1)
	var all []hierarchy.Item
	for _, ref := range refs {
		if err := s.enter("Items", new(atomic.Int64)); err != nil {
			return nil, err
		}
		got, err := s.Store.Items(ctx, ns, []hierarchy.Ref{ref})
		if err != nil {
			return nil, err
		}
		all = append(all, got...)
	}
	return all, nil
}

// getBetween has something happen before each read.
func (s *source) getBetween(f func(method string)) { s.between.Store(&f) }

// reads is what was read since it was asked last: marks, changes, calls for
// items, and items.
func (s *source) reads() [4]int64 {
	return [4]int64{s.marks.Swap(0), s.changes.Swap(0), s.calls.Swap(0), s.items.Swap(0)}
}

// fixture is a store with a namespace `default`, and a resolver over it.
type fixture struct {
	*source
	t     testing.TB
	cache *hierarchy.Cache
	r     *hierarchy.StoreResolver
}

func newFixture(t testing.TB, doc hierarchy.Document) *fixture {
	return newFixtureOf(t, doc, hierarchy.CacheConfig{})
}

func newFixtureOf(t testing.TB, doc hierarchy.Document, cfg hierarchy.CacheConfig) *fixture {
	t.Helper()
	f := &fixture{t: t, source: &source{Store: embedstore.New(embedstore.Config{})}}
	f.register("default")
	cfg.Source = f.source
	f.cache = hierarchy.NewCache(cfg)
	t.Cleanup(f.cache.Close)
	f.r = f.cache.Resolver("default", doc)
	return f
}

func (f *fixture) cause() hierarchy.Cause {
	return hierarchy.Cause{By: hierarchy.Actor{Caller: "me"}, At: time.Now()}
}

func (f *fixture) register(name string) {
	f.t.Helper()
	if _, err := f.RegisterNamespace(f.t.Context(), name, f.cause()); err != nil {
		f.t.Fatal(err)
	}
}

// set writes items, whatever they are now.
func (f *fixture) set(items ...hierarchy.Item) int64 { return f.setIn("default", items...) }

func (f *fixture) setIn(ns string, items ...hierarchy.Item) int64 {
	f.t.Helper()
	var revision int64
	for part := range slices.Chunk(items, hierarchy.MaxPuts) {
		e := hierarchy.Edit{Cause: f.cause(), Action: "test"}
		for _, i := range part {
			now, err := f.Store.Items(f.t.Context(), ns, []hierarchy.Ref{i.Ref})
			if err != nil {
				f.t.Fatal(err)
			}
			e.Puts = append(e.Puts, hierarchy.Put{Item: i, Expect: now[0].Revision})
		}
		var err error
		if revision, err = f.Edit(f.t.Context(), ns, e); err != nil {
			f.t.Fatal(err)
		}
	}
	return revision
}

func (f *fixture) query(entity, resource string) ratelimit.Query {
	return ratelimit.Query{Key: hierarchy.TestKey(f.t, "default", entity, resource, "")}
}

func (f *fixture) resolve(q ratelimit.Query) ratelimit.Resolution {
	f.t.Helper()
	res, err := f.r.Resolve(f.t.Context(), q)
	if err != nil {
		f.t.Fatal(err)
	}
	return res
}

// is checks the targets, as ENTITY LEVEL RATE vREVISION.
func (f *fixture) is(q ratelimit.Query, want string) {
	f.t.Helper()
	if got := shown(f.resolve(q)); got != want {
		f.t.Errorf("%s on %s is charged with %q, not %q", q.Key.Entity(), q.Key.Resource(), got, want)
	}
}

func shown(res ratelimit.Resolution) string {
	parts := strings.Split(hierarchy.TestBrief(res), ", ")
	for i, x := range res.Targets {
		parts[i] += fmt.Sprintf(" v%d", x.Revision)
	}
	return strings.Join(parts, ", ")
}

// read checks what was read since it was checked last.
func (f *fixture) read(what string, marks, changes, calls, items int64) {
	f.t.Helper()
	if got, want := f.reads(), [4]int64{marks, changes, calls, items}; got != want {
		f.t.Errorf("%s: read %v, not %v (marks, changes, calls for items, items)", what, got, want)
	}
}

func limited(ref hierarchy.Ref, rate int64) hierarchy.Item {
	return hierarchy.Item{Ref: ref, Level: hierarchy.Level{Limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", rate)}}}
}

func profile(entity, tier, parent string) hierarchy.Item {
	return hierarchy.Item{Ref: hierarchy.ProfileRef(entity), Profile: hierarchy.Profile{Tier: tier, Parent: parent, Cascade: parent != ""}}
}

func deleted(ref hierarchy.Ref) hierarchy.Item { return hierarchy.Item{Ref: ref, Deleted: true} }
