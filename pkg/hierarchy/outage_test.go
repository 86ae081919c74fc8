package hierarchy_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// While the store gives no answer, what isn't remembered is answered by the
// document's fallback and limits, in time; where it has no limits, nobody is
// admitted by a share of them.
func TestTheDocumentAnswersForTheStore(t *testing.T) {
	limits := []ratelimit.Limit{ratelimit.PerHour("n", 50)}
	for name, c := range map[string]struct {
		level    hierarchy.Level
		admitted int // of 20
		err      bool
	}{
		"the process's":     {hierarchy.Level{Limits: limits}, 0, true},
		"allow":             {hierarchy.Level{Limits: limits, OnUnavailable: ratelimit.FallbackAllow}, 20, false},
		"local":             {hierarchy.Level{Limits: limits, OnUnavailable: ratelimit.FallbackLocal}, 5, false},
		"local without any": {hierarchy.Level{OnUnavailable: ratelimit.FallbackLocal}, 0, true},
		"deny":              {hierarchy.Level{OnUnavailable: ratelimit.FallbackDeny}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, hierarchy.Document{System: c.level})
				f.getBetween(func(string) { time.Sleep(100 * time.Millisecond) }) // longer than anybody waits
				f.down.Store(true)
				limiter, err := ratelimit.New(ratelimit.Config{Store: f.Store})
				if err != nil {
					t.Fatal(err)
				}
				admitted := 0
				for range 20 {
					start := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
					d, err := limiter.Decide(ctx, ratelimit.Ask{Now: start, Resolver: f.r, Charges: []ratelimit.Charge{{
						Query: f.query("a", "api"), Cost: ratelimit.EachLimit(1),
					}}})
					cancel()
					if (err != nil) != c.err || err != nil && !errors.Is(err, ratelimit.ErrUnavailable) {
						t.Fatalf("%+v, %v", d, err)
					}
					if d.Allowed {
						admitted++
					}
					if took := time.Since(start); took > 20*time.Millisecond {
						t.Fatalf("decided after %v", took)
					}
				}
				if admitted != c.admitted {
					t.Errorf("%d admitted, not %d", admitted, c.admitted)
				}
			})
		})
	}
}

// What a cache did is counted, and how long it hasn't heard from the store.
func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, hierarchy.Document{})
		f.set(limited(hierarchy.SystemRef(), 5))
		if got := f.cache.Stats(); got != (hierarchy.CacheStats{}) {
			t.Errorf("unused: %+v", got)
		}
		for range 10 {
			f.is(f.query("a", "api"), "a system 5 v2")
		}
		time.Sleep(time.Minute)
		got := f.cache.Stats()
		if got.Hits != 9 || got.Misses != 1 || got.Polls < 10 || got.Polls > 14 || got.Failures != 0 || got.Namespaces != 1 || got.Age > 6*time.Second {
			t.Errorf("a minute later: %+v", got)
		}
		f.down.Store(true)
		time.Sleep(time.Minute)
		down := f.cache.Stats()
		if failed := down.Polls - got.Polls; down.Failures != failed || failed < 10 || down.Age < time.Minute {
			t.Errorf("down for a minute: %+v", down)
		}
	})
}
