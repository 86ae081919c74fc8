package server

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/extauthz/extauthz/internal/telemetry"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// patient is a store that answers only while it is up.
type patient struct {
	ratelimit.Store
	down atomic.Bool
	gets atomic.Int64
}

func (p *patient) Get(context.Context, ratelimit.Key) (ratelimit.State, error) {
	p.gets.Add(1)
	if p.down.Load() {
		return ratelimit.State{}, errors.New("the cable is out")
	}
	return ratelimit.State{}, nil
}

func TestReadiness(t *testing.T) {
	store := new(patient)
	ready, err := newReadiness(telemetry.NewMetrics("v1").Store(store, 1, slog.New(slog.DiscardHandler)), ratelimit.DefaultNamespace)
	mustDo(t, err)
	var ahead time.Duration
	ready.now = func() time.Time { return time.Now().Add(ahead) }

	if err := ready.check(t.Context()); !errors.Is(err, errNotServing) {
		t.Errorf("before it serves: %v", err)
	}
	ready.serving.Store(true)
	mustDo(t, ready.check(t.Context()))
	mustDo(t, ready.check(t.Context()))
	if n := store.gets.Load(); n != 1 {
		t.Errorf("the store was asked %d times, want once: it has just answered", n)
	}
	store.down.Store(true)
	ahead = answeredWithin - time.Second
	if err := ready.check(t.Context()); err != nil || store.gets.Load() != 2 {
		t.Errorf("it answered less than %s ago: %v, asked %d times", answeredWithin, err, store.gets.Load())
	}
	ahead = answeredWithin + time.Second
	if err := ready.check(t.Context()); err == nil || !strings.Contains(err.Error(), "the cable is out") {
		t.Errorf("it hasn't answered for longer: %v", err)
	}
	store.down.Store(false)
	mustDo(t, ready.check(t.Context()))
}
