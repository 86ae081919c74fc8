package hierarchy_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// server is a process that charges by the store's limits.
type server struct {
	*ratelimit.Limiter
	r *hierarchy.StoreResolver
	t *testing.T
}

func (f *fixture) server(t *testing.T) *server {
	t.Helper()
	c := hierarchy.NewCache(hierarchy.CacheConfig{Source: f.source})
	t.Cleanup(c.Close)
	s := &server{r: c.Resolver("default", hierarchy.Document{}), t: t}
	l, err := ratelimit.New(ratelimit.Config{Store: f.Store, Resolver: s.r, Slack: -1})
	if err != nil {
		t.Fatal(err)
	}
	s.Limiter = l
	return s
}

// admitted is how many of a number of requests are, one after the other.
func (s *server) admitted(entity string, requests int) int {
	s.t.Helper()
	n := 0
	for range requests {
		d, err := s.Decide(s.t.Context(), ratelimit.Ask{Now: s.Now(), Resolver: s.r, Charges: []ratelimit.Charge{{
			Query: ratelimit.Query{Key: hierarchy.TestKey(s.t, "default", entity, "api", "")}, Cost: ratelimit.EachLimit(1),
		}}})
		if err != nil {
			s.t.Fatal(err)
		}
		if d.Allowed {
			n++
		}
	}
	return n
}

// A change is in force on a busy bucket within six seconds, on every process:
// raised it mints nothing, lowered it clamps, deleted it falls back; and a
// process that has not heard of it yet shapes nothing back.
func TestChangesAreInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, hierarchy.Document{})
		f.set(limited(hierarchy.SystemRef(), 6))
		a, b := f.server(t), f.server(t)
		is := func(what string, got, want int) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %d admitted, not %d", what, got, want)
			}
		}
		is("6 a minute", a.admitted("e", 10)+b.admitted("e", 10), 6)
		f.set(limited(hierarchy.EntityRef("e", ""), 60))
		time.Sleep(6 * time.Second)
		// The bucket was empty, and gained 0.6 at the old rate: raising it mints
		// nothing. From its next write on it gains one a second.
		is("raised", a.admitted("e", 10), 0)
		for range 20 {
			time.Sleep(time.Second)
			is("60 a minute", a.admitted("e", 2)+b.admitted("e", 2), 1)
		}
		time.Sleep(time.Minute) // 60 in the bucket
		f.set(limited(hierarchy.EntityRef("e", ""), 6))
		time.Sleep(6 * time.Second)
		is("lowered", b.admitted("e", 10)+a.admitted("e", 10), 6)
		f.set(deleted(hierarchy.EntityRef("e", "")), limited(hierarchy.SystemRef(), 120))
		time.Sleep(6 * time.Second)
		is("deleted", a.admitted("e", 10), 0) // 0.6 since
		time.Sleep(time.Second)
		is("120 a minute", b.admitted("e", 10), 2)

		// Just read, and changed at once: the other process hears of it from the
		// bucket, and not at its next poll.
		time.Sleep(time.Minute)
		is("full", a.admitted("e", 120)+b.admitted("e", 1), 120)
		f.set(limited(hierarchy.EntityRef("e", ""), 6000))
		c := f.server(t) // which knows nothing yet, and so reads what is
		c.admitted("e", 1)
		time.Sleep(20 * time.Millisecond) // two tokens
		is("by the bucket's limits", b.admitted("e", 5), 2)
		synctest.Wait()
		f.r = b.r
		f.is(f.query("e", "api"), "e entity 6000 kept v6")
	})
}
