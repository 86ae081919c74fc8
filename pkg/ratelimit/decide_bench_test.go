package ratelimit_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// fixed gives every query the same limits.
type fixed []ratelimit.Limit

func (f fixed) Resolve(_ context.Context, q ratelimit.Query) (ratelimit.Resolution, error) {
	return ratelimit.Resolution{Targets: []ratelimit.Target{{
		Key: q.Key, Limits: f, Level: ratelimit.LevelSystem, Mode: ratelimit.ModeOn, Expires: true,
	}}}, nil
}

// decideBench decides about one token of each limit, for keys in turn.
type decideBench struct {
	limiter *ratelimit.Limiter
	asks    []ratelimit.Ask
	now     time.Time
}

func newDecideBench(tb testing.TB, keys int, limits ...ratelimit.Limit) *decideBench {
	tb.Helper()
	b := &decideBench{now: ratelimit.Epoch.Add(time.Hour), asks: make([]ratelimit.Ask, keys)}
	var err error
	b.limiter, err = ratelimit.New(ratelimit.Config{
		Store: embedstore.New(embedstore.Config{}), Now: func() time.Time { return b.now },
	})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range b.asks {
		key, err := ratelimit.NewKey("default", "tenant-"+strconv.Itoa(i), "api", "")
		if err != nil {
			tb.Fatal(err)
		}
		b.asks[i] = ratelimit.Ask{Resolver: fixed(limits), Charges: []ratelimit.Charge{{
			Query: ratelimit.Query{Key: key}, Cost: ratelimit.EachLimit(1),
		}}}
	}
	return b
}

// decide is the ith decision; want is whether it allows.
func (b *decideBench) decide(tb testing.TB, i int, want bool) {
	a := &b.asks[i%len(b.asks)]
	a.Now = b.now
	d, err := b.limiter.Decide(tb.Context(), *a)
	if err != nil || d.Allowed != want {
		tb.Fatal(d, err)
	}
}

// decideCases are a bucket that no benchmark empties, and one that is empty
// after the first request.
var decideCases = []struct {
	name    string
	keys    int
	allowed bool
	limits  []ratelimit.Limit
}{
	{"allowed/1key", 1, true, []ratelimit.Limit{ratelimit.Custom("requests", 1e9, 10_000, 24*time.Hour)}},
	{"allowed/10000keys", 10_000, true, []ratelimit.Limit{ratelimit.Custom("requests", 1e9, 10_000, 24*time.Hour)}},
	{"allowed/2limits", 1, true, []ratelimit.Limit{
		ratelimit.Custom("requests", 1e9, 10_000, 24*time.Hour), ratelimit.Custom("tokens", 1e9, 10_000, 24*time.Hour),
	}},
	{"rejected/1key", 1, false, []ratelimit.Limit{ratelimit.PerDay("requests", 1)}},
	{"rejected/10000keys", 10_000, false, []ratelimit.Limit{ratelimit.PerDay("requests", 1)}},
}

func BenchmarkDecide(b *testing.B) {
	for _, bc := range decideCases {
		b.Run(bc.name, func(b *testing.B) {
			d := newDecideBench(b, bc.keys, bc.limits...)
			for i := range d.asks {
				d.decide(b, i, true)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				d.decide(b, i, bc.allowed)
			}
		})
	}
}
