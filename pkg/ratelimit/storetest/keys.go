package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// testKeys gives every one of many look-alike keys a balance of its own.
func testKeys(t *testing.T, s suite) {
	var keys []ratelimit.Key
	add := func(namespace, entity, resource, variant string) {
		k, err := ratelimit.NewKey(namespace, entity, resource, variant)
		if err != nil {
			t.Fatalf("key of %q, %q: %v", entity, resource, err)
		}
		keys = append(keys, k)
	}
	u := s.unique + "/"
	for _, namespace := range []string{"default", "acme", "Acme"} {
		add(namespace, u+"a", "api", "")
	}
	for _, variant := range []string{"shadow:r", "shadow:r/", "MINUTEx1", "MINUTEx10"} {
		add("default", u+"a", "api", variant)
	}
	for _, entity := range []string{
		"A", "a ", " a", "a/", "a#b", "a%23b", "a|b", "a\x00b", "\xff\xfe", "é", "e\u0301", "а", "::1", "[::1]:80",
		"spiffe://cluster.local/ns/default/sa/web", "a/api", strings.Repeat("e", 400), strings.Repeat("e", 401),
		strings.Repeat("%", 400), strings.Repeat("\u00e9", 3_000), "<script>", "a\r\nb", "*", "?", "..", "../a",
	} {
		add("default", u+entity, "api", "")
		add("acme", u+entity, "api", "")
	}
	for _, resource := range []string{"API", "api/", "/v1/orders?x=1", "api\x00", strings.Repeat("r", 400), strings.Repeat("r", 401), "gpt-4", "gpt-4.0"} {
		add("default", u+"a", resource, "")
	}
	add("default", u+"a/api", "b", "")
	add("default", u+"a", "api/b", "")
	buckets := make([]*bucket, len(keys))
	for i, k := range keys {
		buckets[i] = &bucket{store: s.store, key: k}
		buckets[i].read(t) // absent, whatever came before
		buckets[i].mustApply(t, create(set(1, ratelimit.Millitokens(i))))
	}
	for i, b := range buckets {
		b.read(t)
		b.balance(t, 1, ratelimit.Millitokens(i))
	}
}

// testStatesStay holds on to every state that the store returned.
func testStatesStay(t *testing.T, s suite) {
	b := s.started(t, "held", 1_000, 2_000)
	type held struct{ state, copied ratelimit.State }
	var all []held
	hold := func(state ratelimit.State, err error) {
		t.Helper()
		var refused *ratelimit.RefusedError
		if errors.As(err, &refused) {
			state, err = refused.State, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		copied := state
		copied.Limits = append([]ratelimit.LimitState(nil), state.Limits...)
		all = append(all, held{state, copied})
	}
	for i := range 20 {
		hold(s.store.Get(t.Context(), b.key))
		w := change(present(1, ratelimit.FormAdd, -1), set(2, ratelimit.Millitokens(i)))
		switch i % 4 {
		case 1:
			w = change(unbound(2, ratelimit.FormRemove, 0))
		case 2:
			w = change(set(3+i, 1))
		case 3:
			w.Same, w.Revision = true, -1 // refused
		}
		w.Key, w.Limits[0].Charged = b.key, 1
		hold(s.store.Apply(t.Context(), w))
	}
	for i, h := range all {
		if diff := cmp.Diff(h.copied, h.state); diff != "" {
			t.Errorf("state %d has changed since:\n%s", i, diff)
		}
	}
}

// testWritesAreNotKept changes everything of a write after it was applied, as
// planners that use it again do.
func testWritesAreNotKept(t *testing.T, s suite) {
	b := s.bucket(t, "write")
	w := create(set(1, 1_000))
	w.Key = b.key
	before := *w
	before.Limits = append([]ratelimit.LimitWrite(nil), w.Limits...)
	before.Limits[0].Params = params("limit1")
	b.mustApply(t, w)
	if diff := cmp.Diff(before, *w, cmp.AllowUnexported(ratelimit.Key{})); diff != "" {
		t.Errorf("the store changed the write:\n%s", diff)
	}
	*w.Limits[0].Params = *params("reused")
	w.Limits[0].Value, w.Limits[0].Slot = 5, 9
	b.read(t)
	*w = *change()
	b.read(t)
}

// testCancelled wants a context that is over before the call to be noticed,
// and a write under it not to be applied.
func testCancelled(t *testing.T, s suite) {
	b := s.started(t, "cancelled", 1_000)
	fresh := s.bucket(t, "cancelled, absent")
	over, cancel := context.WithCancel(t.Context())
	cancel()
	late, done := context.WithTimeout(t.Context(), -1)
	defer done()
	for _, c := range []struct {
		ctx  context.Context
		want error
	}{{over, context.Canceled}, {late, context.DeadlineExceeded}} {
		for _, b := range []*bucket{b, fresh} {
			w := create(set(1, 5))
			w.Key, w.Same = b.key, false
			if _, err := s.store.Apply(c.ctx, w); !errors.Is(err, ratelimit.ErrNotApplied) || !errors.Is(err, c.want) {
				t.Errorf("Apply: %v, want ErrNotApplied and %v", err, c.want)
			}
			if _, err := s.store.Get(c.ctx, b.key); !errors.Is(err, c.want) {
				t.Errorf("Get: %v, want %v", err, c.want)
			}
			b.read(t)
		}
	}
}
