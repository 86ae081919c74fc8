package main

import (
	"context"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// All is measured on a stand-in in this process, for a moment: the figures mean
// nothing, but everything must be there.
func TestComparison(t *testing.T) {
	s := httptest.NewServer(newStandIn(time.Millisecond, 1000))
	defer s.Close()
	c := comparison{latency: time.Millisecond, duration: 100 * time.Millisecond, rounds: 2, callers: 4, keys: 100}
	var out strings.Builder
	if err := c.run(t.Context(), s.URL, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one bucket", "100 buckets", "the SDK alone"} {
		if n := strings.Count(out.String(), want); n < c.rounds {
			t.Errorf("%q is there %d times:\n%s", want, n, out.String())
		}
	}
	if !strings.Contains(out.String(), "charges/s of one bucket") { // 4 callers can't meet that goal
		t.Errorf("no word of a goal that is not met:\n%s", out.String())
	}
	c.strict = true
	if err := c.report([]round{{}}, &out); err == nil {
		t.Error("a goal that is not met is no error")
	}
}

// The stand-in lets a key write so often and no more, and says so as DynamoDB
// does; the store knows it for what it is.
func TestStandInThrottles(t *testing.T) {
	s := httptest.NewServer(newStandIn(0, 10))
	defer s.Close()
	p, err := newProduct(t.Context(), s.URL, 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil {
		if err := p.charge(ctx, 0); err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
	}
	if n := p.calls.throttled.Load(); n == 0 || p.calls.failed.Load() > 0 {
		t.Errorf("%d calls throttled, %d failed otherwise", n, p.calls.failed.Load())
	}
	if err := p.close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// The soak measures row by row until its time is over, with the first key as
// often as Zipf's law has it.
func TestSoak(t *testing.T) {
	server := httptest.NewServer(newStandIn(time.Millisecond, 1000))
	defer server.Close()
	var out strings.Builder
	s := soak{length: 150 * time.Millisecond, each: 100 * time.Millisecond, rate: 200, keys: 10}
	if err := s.run(t.Context(), server.URL, &out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 6 {
		t.Errorf("%d lines, want 2 rows:\n%s", n, out.String())
	}
	pick, r, first := zipf(10), rand.New(rand.NewPCG(1, 2)), 0
	for range 10_000 {
		if pick(r) == 0 {
			first++
		}
	}
	if first < 3200 || first > 3630 { // 1/2.93 of them, within four deviations
		t.Errorf("the first of ten keys was picked %d times of 10,000", first)
	}
}
