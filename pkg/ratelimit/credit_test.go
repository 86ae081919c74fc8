package ratelimit

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// creditOf is an ask for a bucket of "a", of so many tokens of n and one of m.
func creditOf(t *testing.T, r Resolver, now time.Time, entity string, n int64) Ask {
	t.Helper()
	q := Query{Key: mustKey(t, "default", entity, "api", "")}
	return Ask{Now: now, Resolver: r, Charges: []Charge{{Query: q, Cost: TakeNamed(Take{"n", n}, Take{"m", 1}, Take{"unknown", 1})}}}
}

// TestCredit gives back what was charged, more, and what never was: each limit
// holds its capacity at most, a debt is paid with it, and so are parents.
func TestCredit(t *testing.T) {
	f := fixed{
		"a":      {limits: []Limit{PerHour("n", 10), PerHour("m", 2)}, parent: "parent"},
		"parent": {limits: []Limit{PerHour("n", 100)}},
	}
	for name, remote := range map[string]*Remote{"direct": nil, "remote": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { credits(t, f, remote) })
		})
	}
}

func credits(t *testing.T, f fixed, remote *Remote) {
	store := &memory{items: map[string]State{}}
	l := newLimiter(t, Config{Store: store, Resolver: f, Slack: -1, Remote: remote})
	now := time.Now()
	credit := func(n int64) Decision {
		d, err := l.Credit(t.Context(), creditOf(t, f, now, "a", n))
		if err != nil || !d.Allowed {
			t.Fatal(d, err)
		}
		return d
	}
	want := func(what string, n, m, parent int64) {
		t.Helper()
		left := func(entity, limit string) int64 {
			s := store.items[mustKey(t, "default", entity, "api", "").ID()]
			return s.Find(limit).Available(StampOf(now)).Tokens()
		}
		if a, b, c := left("a", "n"), left("a", "m"), left("parent", "n"); a != n || b != m || c != parent {
			t.Errorf("%s: n %d, m %d, the parent's n %d; want %d, %d, %d", what, a, b, c, n, m, parent)
		}
	}
	if credit(5); len(store.items) != 0 {
		t.Fatalf("buckets that are absent: %v", store.items)
	}
	lease, err := l.Acquire(t.Context(), Request{Entity: "a", Resource: "api", Consume: map[string]int64{"n": 8, "m": 2}})
	if err != nil {
		t.Fatal(err)
	}
	want("charged", 2, 0, 92)
	d := credit(5)
	want("5 and 1 given back", 7, 1, 97)
	if b, l := d.Primary(); l == nil || l.Remaining() != 1 || b.Key.Entity() != "a" {
		t.Errorf("told of %v of %s, want m with 1", l, b.Key.Entity())
	}
	credit(1000)
	want("far too much", 10, 2, 100)
	if err := errors.Join(lease.Adjust(map[string]int64{"n": 30}), lease.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	credit(13)
	want("13 given back to a debt of 20", -7, 2, 83)
}

// TestCreditWithoutAStore is lost, and says so; it is sent once.
func TestCreditWithoutAStore(t *testing.T) {
	f := fixed{"a": {limits: []Limit{PerHour("n", 10), PerHour("m", 2)}}}
	for name, remote := range map[string]*Remote{"direct": nil, "remote": {}} {
		t.Run(name, func(t *testing.T) {
			store := newFailing(nil)
			l := newLimiter(t, Config{Store: store, Resolver: f, Slack: -1, Remote: remote})
			if _, err := l.Acquire(t.Context(), Request{Entity: "a", Resource: "api"}); err != nil {
				t.Fatal(err)
			}
			store.set(errors.New("cut off"))
			before := store.calls
			if _, err := l.Credit(t.Context(), creditOf(t, f, time.Now(), "a", 1)); !errors.Is(err, ErrUnavailable) {
				t.Errorf("%v, want unavailable", err)
			}
			if n := store.calls - before; n != 1 {
				t.Errorf("sent %d times", n)
			}
		})
	}
}
