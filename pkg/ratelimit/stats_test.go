package ratelimit

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestStats has a charge on its way, and what is remembered of it.
func TestStats(t *testing.T) {
	f := fixed{"a": {limits: []Limit{PerHour("n", 100)}}}
	inBubble(t, time.Second, f, func(t *testing.T, l *Limiter, _ *slow) {
		if got := l.Stats(); got != (Stats{}) {
			t.Errorf("before anything: %+v", got)
		}
		charged := make(chan error)
		go func() {
			_, err := l.Acquire(context.WithoutCancel(t.Context()), Request{Entity: "a", Resource: "api"})
			charged <- err
		}()
		synctest.Wait()
		if got := l.Stats(); got.Actors != 1 || got.InFlight != 1 {
			t.Errorf("while it is on its way: %+v", got)
		}
		if err := <-charged; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := l.Stats(); got.InFlight != 0 || got.Entries != 1 || got.Bytes < 100 {
			t.Errorf("after it: %+v", got)
		}
	})
	l, err := New(Config{Store: &memory{items: map[string]State{}}, Resolver: f})
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Stats(); got != (Stats{}) {
		t.Errorf("of a store in the process: %+v", got)
	}
}
