package dynamostore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/extauthz/extauthz/internal/faultproxy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// newLimiter is a limiter as a server has it, closed before the store is.
func newLimiter(t *testing.T, s *Store, r ratelimit.Remote) *ratelimit.Limiter {
	t.Helper()
	l, err := ratelimit.New(ratelimit.Config{Store: s, Remote: &r})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Errorf("something is still asked of the store: %v", err)
		}
	})
	return l
}

// writesTake has each write take so long on its way.
func writesTake(d time.Duration) faultproxy.Plan {
	return func(c faultproxy.Call) faultproxy.Fault {
		if c.Operation != "UpdateItem" {
			return faultproxy.Fault{}
		}
		return faultproxy.Fault{Before: d}
	}
}

// hurried are callers who wait 20 ms for each decision.
type hurried struct {
	limiter  *ratelimit.Limiter
	resolver ratelimit.Resolver
	fallback ratelimit.Fallback

	store, fallenBack, allowed atomic.Int64 // decisions by what they rest on, and admitted in all
	latest                     atomic.Int64 // nanoseconds after its deadline
}

func (h *hurried) ask(t *testing.T, entity string) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	d, err := h.limiter.Decide(ctx, ratelimit.Ask{
		Now: h.limiter.Now(), Resolver: h.resolver, OnUnavailable: h.fallback,
		Charges: []ratelimit.Charge{{Query: ratelimit.Query{Key: key(t, entity)}, Cost: ratelimit.EachLimit(1)}},
	})
	deadline, _ := ctx.Deadline()
	late := int64(time.Since(deadline))
	for latest := h.latest.Load(); late > latest && !h.latest.CompareAndSwap(latest, late); latest = h.latest.Load() {
	}
	switch {
	case err != nil && t.Context().Err() == nil && ctx.Err() == nil:
		t.Errorf("before the deadline: %v", err)
	case err != nil: // a deadline that had passed before anything was asked
	case d.Source == ratelimit.SourceFallback:
		h.fallenBack.Add(1)
	default:
		h.store.Add(1)
	}
	if err == nil && d.Allowed {
		h.allowed.Add(1)
	}
}

// run has callers ask for a while.
func (h *hurried) run(t *testing.T, callers, buckets int, d time.Duration) {
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for i := range callers {
		wg.Go(func() {
			for time.Now().Before(end) {
				h.ask(t, fmt.Sprint("bucket ", i%buckets))
			}
		})
	}
	wg.Wait()
}

// TestCallersWhoWaitLessThanTheStoreTakes decides for callers with 20 ms on a
// store that takes 50: by the fallback, without a connection being lost for each
// of them; and what the late writes took is what was admitted, no more.
func TestCallersWhoWaitLessThanTheStoreTakes(t *testing.T) {
	local.URL(t) // starts what outlives the test
	for _, fallback := range []ratelimit.Fallback{ratelimit.FallbackDeny, ratelimit.FallbackAllow} {
		t.Run(fallback.String(), func(t *testing.T) {
			leaks := goleak.IgnoreCurrent()
			t.Run("", func(t *testing.T) { hurry(t, fallback) })
			goleak.VerifyNone(t, leaks)
		})
	}
}

func hurry(t *testing.T, fallback ratelimit.Fallback) {
	const callers, buckets = 64, 4
	s, proxy := newStore(t)
	limits := &fixed{limits: []ratelimit.Limit{ratelimit.PerDay("n", 1).WithBurst(1_000_000)}, expires: true}
	h := hurried{limiter: newLimiter(t, s, ratelimit.Remote{WriteTimeout: 20 * time.Second}), resolver: limits, fallback: fallback}
	if _, err := s.registry.id(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	proxy.Set(writesTake(50 * time.Millisecond))
	h.run(t, callers, buckets, time.Second)
	if h.fallenBack.Load() == 0 {
		t.Error("nothing was decided by the fallback")
	}
	// 4 for each bucket, and those that Open warmed. One for each caller who went
	// away would be thousands.
	if n := proxy.Connections(); n > 4*buckets+2*defaultWarm {
		t.Errorf("%d connections for %d decisions by the fallback", n, h.fallenBack.Load())
	}
	// A store that takes far longer than a busy machine keeps anybody waiting.
	proxy.Set(writesTake(3 * time.Second))
	h.latest.Store(0)
	h.run(t, callers, buckets, 100*time.Millisecond)
	if late := time.Duration(h.latest.Load()); late > 1500*time.Millisecond {
		t.Errorf("a decision came %v after its deadline", late)
	}
	proxy.Set(nil)
	if err := h.limiter.Close(context.WithoutCancel(t.Context())); err != nil { // all has come back
		t.Fatal(err)
	}
	net := ratelimit.Millitokens(0)
	for i := range buckets {
		state, err := s.Get(t.Context(), key(t, fmt.Sprint("bucket ", i)))
		if err != nil {
			t.Fatal(err)
		}
		net += state.Limits[0].Charged - state.Limits[0].Returned
	}
	byStore := h.store.Load()
	if fallback == ratelimit.FallbackDeny && net.Tokens() != byStore {
		t.Errorf("%d tokens are gone, %d were admitted", net.Tokens(), byStore)
	}
	// Who was admitted by the fallback is charged, if he was sent.
	if fallback == ratelimit.FallbackAllow && (net.Tokens() <= byStore || net.Tokens() > h.allowed.Load()) {
		t.Errorf("%d tokens are gone, %d were admitted, %d of them by the store", net.Tokens(), h.allowed.Load(), byStore)
	}
	t.Logf("%d decisions by the store, %d by the fallback, %d connections", byStore, h.fallenBack.Load(), proxy.Connections())
}

// TestFloodOfNewEntities has clients make up entities: the process writes no
// more often than it may, and buckets that are there go first.
func TestFloodOfNewEntities(t *testing.T) {
	const perSecond = 40
	var seen calls
	s, proxy := newStore(t, func(c *Config) { c.Observer = &seen })
	limits := &fixed{limits: []ratelimit.Limit{ratelimit.PerDay("n", 1).WithBurst(1_000_000)}, expires: true}
	l := newLimiter(t, s, ratelimit.Remote{MaxWritesPerSecond: perSecond, WriteTimeout: 20 * time.Second})
	ask := func(entity string) ratelimit.Decision {
		d, err := l.Decide(t.Context(), ratelimit.Ask{
			Now: l.Now(), Resolver: limits, OnUnavailable: ratelimit.FallbackDeny,
			Charges: []ratelimit.Charge{{Query: ratelimit.Query{Key: key(t, entity)}, Cost: ratelimit.EachLimit(1)}},
		})
		if err != nil {
			t.Error(err)
		}
		return d
	}
	if d := ask("known"); !d.Allowed {
		t.Fatalf("%+v", d)
	}
	seen.take()
	start := time.Now()
	end := start.Add(2 * time.Second)
	var refused, admitted atomic.Int64
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := 0; time.Now().Before(end); j++ {
				if d := ask(fmt.Sprintf("made up %d %d", i, j)); d.Source == ratelimit.SourceFallback {
					refused.Add(1)
					time.Sleep(time.Millisecond) // or the test measures the machine
				} else {
					admitted.Add(1)
				}
			}
		})
	}
	asked := 0
	for time.Now().Before(end) {
		if d := ask("known"); d.Source != ratelimit.SourceStore || !d.Allowed {
			t.Errorf("the known bucket: %+v", d)
		}
		asked++
		time.Sleep(50 * time.Millisecond) // a rate of its own, far below the bound
	}
	wg.Wait()
	writes := seen.takeWrites()
	if most := perSecond * (time.Since(start).Seconds() + 0.2); float64(writes) > most {
		t.Errorf("%d writes in %v, want %.0f at most", writes, time.Since(start), most)
	}
	if refused.Load() == 0 || admitted.Load() == 0 || asked == 0 {
		t.Errorf("new: %d refused, %d admitted; known: %d asked", refused.Load(), admitted.Load(), asked)
	}
	if n := proxy.Connections(); n > 64 {
		t.Errorf("%d connections", n)
	}
	t.Logf("%d writes; new: %d refused, %d admitted; known: %d", writes, refused.Load(), admitted.Load(), asked)
}
