package dynamostore

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/internal/faultproxy"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// newResolver is a resolver on a store, as a process has it.
func newResolver(t *testing.T, s *Store, poll time.Duration) *hierarchy.StoreResolver {
	t.Helper()
	cache := hierarchy.NewCache(hierarchy.CacheConfig{Source: s, Poll: poll, Timeout: time.Minute})
	t.Cleanup(cache.Close)
	return cache.Resolver("acme", hierarchy.Document{})
}

func query(t *testing.T, namespace, entity, resource string) ratelimit.Query {
	t.Helper()
	k, err := ratelimit.NewKey(namespace, entity, resource, "")
	if err != nil {
		t.Fatal(err)
	}
	return ratelimit.Query{Key: k}
}

// rateOf is the rate of the only limit that a query is charged with, or 0.
func rateOf(t *testing.T, r *hierarchy.StoreResolver, q ratelimit.Query) int64 {
	t.Helper()
	res, err := r.Resolve(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Targets) != 1 || len(res.Targets[0].Limits) != 1 {
		return 0
	}
	return res.Targets[0].Limits[0].Rate
}

// reads are the operations of records, with how many keys a batch asked for.
func reads(t *testing.T, records []faultproxy.Record) []string {
	t.Helper()
	var all []string
	for _, r := range records {
		var in struct {
			RequestItems map[string]struct{ Keys []any }
		}
		if err := json.Unmarshal(r.Body, &in); err != nil {
			t.Fatal(err)
		}
		name := r.Operation
		for _, items := range in.RequestItems {
			name += fmt.Sprintf(" of %d", len(items.Keys))
		}
		all = append(all, name)
	}
	return all
}

// TestReadsOfAResolver counts what a process reads to find out the limits of an
// entity: one batch for what it hasn't seen, between two looks at the revision,
// and nothing for what it has.
func TestReadsOfAResolver(t *testing.T) {
	admin, _ := newStore(t)
	register(t, admin, "acme")
	edit(t, admin, "acme", limit(60, 0, hierarchy.SystemRef(), hierarchy.TierRef("gold", "r")))
	tiered := hierarchy.Item{Ref: hierarchy.ProfileRef("tiered"), Profile: hierarchy.Profile{Tier: "gold"}}
	edit(t, admin, "acme", hierarchy.Edit{Cause: cause(), Action: "set-tier", Puts: []hierarchy.Put{{Item: tiered}}})

	proxy := newProxy(t)
	s := open(t, config(proxy.URL, admin.table))
	r := newResolver(t, s, time.Hour)
	for _, c := range []struct {
		entity string
		want   []string
	}{
		{"first", []string{"GetItem", "GetItem", "BatchGetItem of 5", "GetItem"}}, // the first finds the namespace's id
		{"first", nil},
		{"second", []string{"BatchGetItem of 3", "GetItem"}},
		{"tiered", []string{"BatchGetItem of 3", "BatchGetItem of 2", "GetItem"}},
		{"tiered", nil},
		{"second", nil},
	} {
		got := since(proxy, func() {
			if rate := rateOf(t, r, query(t, "acme", c.entity, "r")); rate != 60 {
				t.Errorf("%s has a rate of %d", c.entity, rate)
			}
		})
		if diff := cmp.Diff(c.want, reads(t, got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.entity, diff)
		}
	}
}

// TestChangesReachOthers changes limits from another process: polls bring what
// was changed, and an entity that was not stays cached, whatever is written.
func TestChangesReachOthers(t *testing.T) {
	admin, _ := newStore(t)
	register(t, admin, "acme")
	ref := hierarchy.EntityRef("e", "r")
	revision := edit(t, admin, "acme", limit(6, 0, ref, hierarchy.EntityRef("other", "r")))

	proxy := newProxy(t)
	r := newResolver(t, open(t, config(proxy.URL, admin.table)), 20*time.Millisecond)
	q := query(t, "acme", "e", "r")
	waitFor := func(rate int64) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); rateOf(t, r, q) != rate; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("a rate of %d did not come", rate)
			}
		}
	}
	waitFor(6)
	if rate := rateOf(t, r, query(t, "acme", "other", "r")); rate != 6 {
		t.Fatalf("the other has %d", rate)
	}
	revision = edit(t, admin, "acme", limit(60, revision, ref))
	waitFor(60)
	for n := range 10 { // a script that writes
		var refs []hierarchy.Ref
		for m := range hierarchy.MaxPuts {
			refs = append(refs, hierarchy.EntityRef(fmt.Sprint("new-", n, "-", m), ""))
		}
		edit(t, admin, "acme", limit(7, 0, refs...))
	}
	edit(t, admin, "acme", limit(5, revision, ref))
	waitFor(5) // so all of the script was polled
	got := since(proxy, func() {
		if rate := rateOf(t, r, query(t, "acme", "other", "r")); rate != 6 {
			t.Errorf("the other has %d", rate)
		}
	})
	for _, o := range operations(got) {
		if o != "Query" { // a poll's
			t.Errorf("the other was read again, by %s", o)
		}
	}

	if _, err := admin.DeleteNamespace(t.Context(), "acme", cause()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := r.Resolve(t.Context(), q); errors.Is(err, hierarchy.ErrUnknownNamespace) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the deletion did not come")
		}
	}
}
