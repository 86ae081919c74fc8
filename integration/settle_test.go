//go:build integration

package integration

import (
	"testing"
	"time"

	"github.com/extauthz/extauthz/integration/harness"
)

// llmRules look at the tokens before a request and book what it cost after it.
const llmRules = `
rules:
  - name: settle
    match: domain == "llm" && descriptor.phase == "settle"
    settle: true
    entity: ${descriptor.user}
    resource: ${descriptor.model}
    consume: {tpm: hits}
  - name: chat
    match: domain == "llm" && has(descriptor.user)
    entity: ${descriptor.user}
    resource: ${descriptor.model}
    consume: {rpm: 1, tpm: 0}
limits:
  resources:
    gpt-4: {limits: {rpm: 100000/min, tpm: 6000/min}}
`

// TestChargesAfterTheResponseGoIntoDebt has Envoy tell the cost of a request
// when its response has gone (apply_on_stream_done): nobody can be refused any
// more, so it is booked whatever the balance, and the debt keeps the next
// requests out until it is refilled.
func TestChargesAfterTheResponseGoIntoDebt(t *testing.T) {
	w := newWorld(t, llmRules)

	// It looks while the bucket is full, and costs more than that holds:
	// 6000 - 18000 = -12000, refilled at 100 a second.
	if r := w.ask(t, w.llm, "/chat", "x-user", "alice", harness.WantTokens, "18000"); r.status != 200 {
		t.Fatalf("a request on a full bucket: %d, want 200", r.status)
	}
	booked := time.Now()

	// The call comes after the response: until then requests pass.
	wait := 0
	eventually(t, 5*time.Second, "requests are refused until the debt is refilled", func() bool {
		r := w.ask(t, w.llm, "/chat", "x-user", "alice")
		wait = 0
		if r.status == 429 {
			wait = r.retryAfter(t)
		}
		return wait > 60
	})
	elapsed := int(time.Since(booked).Seconds()) + 1
	if wait > 121 || wait < 120-elapsed {
		t.Errorf("Retry-After is %d s, want 120 s for a debt of 12000 at 100 a second (booked %d s ago)", wait, elapsed)
	}

	if n := w.service.samples(t).Family(settled); n != 1 {
		t.Errorf("%v charges were settled, want 1: a refused request costs nothing afterwards", n)
	}
	if r := w.ask(t, w.llm, "/chat", "x-user", "bob"); r.status != 200 {
		t.Errorf("another user: %d, want 200", r.status)
	}
	w.noFaults(t)
}

// settled counts the charges that were booked whatever the balance.
const settled = "extauthz_settled_charges_total"

// TestRequestsWithoutACostAreFree has no header to take the cost from: Envoy
// makes no call, the look alone is paid.
func TestRequestsWithoutACostAreFree(t *testing.T) {
	w := newWorld(t, llmRules)
	for range 20 {
		if r := w.ask(t, w.llm, "/chat", "x-user", "alice"); r.status != 200 {
			t.Fatalf("%d, want 200: nothing was charged", r.status)
		}
	}
	if n := w.service.samples(t).Family(settled); n != 0 {
		t.Errorf("%v charges were settled, want none", n)
	}
	w.noFaults(t)
}
