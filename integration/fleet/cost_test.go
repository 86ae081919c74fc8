//go:build integration

package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// meter keeps what each call consumed.
type meter struct {
	mu    sync.Mutex
	calls []dynamostore.Call
}

// Called implements dynamostore.Observer.
func (m *meter) Called(c dynamostore.Call) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, c)
}

// take returns the calls since the last take.
func (m *meter) take() []dynamostore.Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls := m.calls
	m.calls = nil
	return calls
}

// TestCost has the local DynamoDB say what calls consume, indexes too: a
// charge, the first of a bucket too, is one unit for 4 limits with names of 16
// characters, an entity of 256 bytes and a resource of 64. That it counts by
// size is shown by a bucket with more limits, which costs two. A request that
// is rejected from memory makes no call at all.
func TestCost(t *testing.T) {
	f := newFleet(t, orders{})
	var m meter
	c := storeConfig(f.URL, f.Table, patient)
	c.Observer, c.ReportCapacity = &m, true
	store, err := dynamostore.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	for _, x := range []struct {
		limits int
		units  float64
	}{{4, 1}, {20, 2}} {
		l := several{ratelimit.Custom("requests-per-day", 3, 1, time.Hour)}
		for i := range x.limits - 1 {
			l = append(l, ratelimit.Custom(fmt.Sprintf("requests-per-d%02d", i), 1_000_000, 1_000_000, 24*time.Hour))
		}
		limiter, err := ratelimit.New(ratelimit.Config{Store: store, Resolver: l, Remote: &ratelimit.Remote{WriteTimeout: patient}})
		if err != nil {
			t.Fatal(err)
		}
		// The namespace's first use in the process looks its id up.
		if _, err := limiter.Acquire(t.Context(), ratelimit.Request{Entity: "somebody", Resource: "else"}); err != nil {
			t.Fatal(err)
		}
		m.take()
		for i := range 3 {
			calls := m.charge(t, limiter, x.limits, false)
			if len(calls) != 1 || calls[0].Request != dynamostore.RequestWrite || calls[0].Capacity != (dynamostore.Capacity{Total: x.units}) {
				t.Errorf("charge %d of %d limits made the calls %+v, want one write of %v units", i, x.limits, calls, x.units)
			}
		}
		if calls := m.charge(t, limiter, x.limits, true); len(calls) > 0 {
			t.Errorf("rejected from memory with the calls %+v", calls)
		}
		if err := limiter.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// charge takes a token of a bucket with the longest key of the promise, and
// returns the calls that were made for it.
func (m *meter) charge(t *testing.T, l *ratelimit.Limiter, bucket int, rejected bool) []dynamostore.Call {
	t.Helper()
	_, err := l.Acquire(t.Context(), ratelimit.Request{
		Entity: strings.Repeat("e", 256), Resource: fmt.Sprintf("%064d", bucket),
	})
	var denied *ratelimit.ExceededError
	if fromMemory := errors.As(err, &denied) && denied.Decision.Source == ratelimit.SourceCache; fromMemory != rejected || err != nil && !rejected {
		t.Errorf("rejected from memory: %t (%v), want %t", fromMemory, err, rejected)
	}
	return m.take()
}

// several is a resolver that knows some limits.
type several []ratelimit.Limit

// Resolve implements ratelimit.Resolver.
func (s several) Resolve(_ context.Context, q ratelimit.Query) (ratelimit.Resolution, error) {
	return ratelimit.Resolution{Targets: []ratelimit.Target{{Key: q.Key, Limits: s, Expires: true}}}, nil
}
