package ratelimit

import (
	"testing"
	"time"
)

func TestReshape(t *testing.T) {
	lim := fixed{"a": {limits: []Limit{PerMinute("rpm", 6)}, revision: 1}}
	b := newBench(t, lim)
	set := func(revision int64, limits ...Limit) {
		e := lim["a"]
		e.limits, e.revision = limits, revision
		lim["a"] = e
	}
	for range 4 {
		b.spend(t, "a", nil)
	}
	set(2, PerMinute("rpm", 60)) // raising mints nothing
	if got := b.balance(t, "a", "rpm"); got != 2 {
		t.Errorf("raised: %d", got)
	}
	b.spend(t, "a", nil)
	b.spend(t, "a", nil)
	if _, denied := b.acquire(t, "a", nil); denied == nil || denied.RetryAfter != time.Second {
		t.Errorf("at the new rate: %v", denied)
	}
	b.clock = b.clock.Add(time.Hour)
	set(3, PerMinute("rpm", 3), PerMinute("tpm", 100)) // lowering clamps, a new limit is full
	if r, tp := b.balance(t, "a", "rpm"), b.balance(t, "a", "tpm"); r != 3 || tp != 100 {
		t.Errorf("lowered: rpm %d, tpm %d", r, tp)
	}
	if _, denied := b.acquire(t, "a", map[string]int64{"rpm": 3, "tpm": 100}); denied != nil {
		t.Error(denied)
	}
	set(1, PerMinute("rpm", 1000)) // older knowledge never reshapes back
	if _, denied := b.acquire(t, "a", map[string]int64{"rpm": 1}); denied == nil || denied.RetryAfter != 20*time.Second {
		t.Errorf("by older knowledge: %v", denied)
	}
	set(4, PerMinute("tpm", 100)) // gone
	if _, denied := b.acquire(t, "a", map[string]int64{"rpm": 3}); denied != nil {
		t.Errorf("a limit that is gone denies: %v", denied)
	}
}

// A short reshape is written at once: from 1 a day to 100 a second on an empty
// bucket does not wait a day.
func TestShortReshape(t *testing.T) {
	lim := fixed{"a": {limits: []Limit{PerDay("n", 1)}}}
	b := newBench(t, lim)
	b.spend(t, "a", nil)
	e := lim["a"]
	e.limits, e.revision = []Limit{PerSecond("n", 100)}, 1
	lim["a"] = e
	if _, denied := b.acquire(t, "a", nil); denied == nil || denied.RetryAfter != 10*time.Millisecond {
		t.Fatalf("denied: %v", denied)
	}
	b.clock = b.clock.Add(10 * time.Millisecond)
	if _, denied := b.acquire(t, "a", nil); denied != nil {
		t.Fatal(denied)
	}
}

// New limits are taken on by a bucket in debt too, and forgive nothing.
func TestReshapeInDebt(t *testing.T) {
	lim := fixed{"a": {limits: []Limit{PerSecond("tpm", 1)}, revision: 1}}
	b := newBench(t, lim)
	if _, err := b.Acquire(t.Context(), Request{Entity: "a", Resource: "api", Consume: map[string]int64{"tpm": 31}, Settle: true}); err != nil {
		t.Fatal(err)
	}
	e := lim["a"]
	e.limits, e.revision = []Limit{PerSecond("tpm", 10).WithBurst(20)}, 2
	lim["a"] = e
	if _, denied := b.acquire(t, "a", map[string]int64{"tpm": 1}); denied == nil || denied.RetryAfter != 3100*time.Millisecond {
		t.Errorf("%v", denied)
	}
}
