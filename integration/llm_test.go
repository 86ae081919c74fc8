//go:build integration

package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/extauthz/extauthz/integration/harness"
)

// meteredRules look at the tokens of a model before a request, and book what it
// cost after it; or, at /reserve, take before it what is given back after it.
const meteredRules = `
rules:
  - name: settle
    match: domain == "llm" && descriptor.phase == "settle"
    settle: true
    entity: ${descriptor.user}
    resource: ${descriptor.model}
    consume: {tpm: hits}
  - name: reserve
    match: domain == "llm" && descriptor.phase == "reserve"
    entity: ${descriptor.user}
    resource: ${descriptor.model}
    consume: {tpm: hits}
  - name: chat
    match: domain == "llm" && has(descriptor.user)
    entity: ${descriptor.user}
    resource: ${descriptor.model}
    consume: {tpm: 0}
limits:
  system: {limits: {tpm: 1000/day}}
  entities:
    quick: {limits: {tpm: 60000/min:1000}}
`

// TestLanguageModel meters what responses cost, wherever Envoy reads it, of users
// who spend what they don't have.
func TestLanguageModel(t *testing.T) {
	if os.Getenv("EXTAUTHZ_TEST_ENVOY") == "oldest" {
		t.Skip("the oldest Envoy has no filter for server-sent events")
	}
	w := newWorld(t, meteredRules)
	for path, factor := range map[string]int{"/json": 1, "/sse": 1, "/chat": 1, "/cel": 2} {
		t.Run("cost at "+path, func(t *testing.T) { w.overspends(t, path, factor) })
	}
	t.Run("repaid to the second", w.repays)
	t.Run("a thousand streams at once", w.settlesAtOnce)
	t.Run("refunds of denied requests", w.mintsNothing)
	w.noFaults(t)
}

// overspends has a user with 10 tokens left spend 1,000.
func (w *world) overspends(t *testing.T, path string, factor int) {
	user := "user" + path
	for _, step := range []struct{ cost, left int }{{990, 10}, {1000, -990}} {
		if status := w.costs(t, path, user, step.cost/factor); status != 200 {
			t.Fatalf("a request that costs %d: %d, want 200", step.cost, status)
		}
		w.awaitBalance(t, user, step.left)
	}
	r := w.ask(t, w.llm, "/chat", "x-user", user)
	// 990 tokens at 1,000 a day, a little of which has passed.
	const full = 990 * 86400 / 1000
	if wait := r.retryAfter(t); r.status != 429 || wait > full+1 || wait < full-60 {
		t.Errorf("in debt: %d, Retry-After %d, want 429 and nearly %d", r.status, wait, full)
	}
}

// repays has a user in debt come back when told to: until a second before that
// nothing passes.
func (w *world) repays(t *testing.T) {
	if status := w.costs(t, "/chat", "quick", 4000); status != 200 {
		t.Fatalf("a request on a full bucket: %d, want 200", status)
	}
	wait, told := 0, time.Now()
	eventually(t, 10*time.Second, "the cost is booked", func() bool {
		told = time.Now()
		r := w.ask(t, w.llm, "/chat", "x-user", "quick")
		wait = r.retryAfter(t)
		return r.status == 429
	})
	if wait < 1 || wait > 4 { // 3,000 at 1,000 a second
		t.Fatalf("Retry-After is %d", wait)
	}
	for early := told.Add(time.Duration(wait)*time.Second - time.Second); time.Now().Before(early.Add(-50 * time.Millisecond)); {
		asked := time.Now()
		if r := w.ask(t, w.llm, "/chat", "x-user", "quick"); r.status == 200 && time.Now().Before(early) {
			t.Fatalf("passed %v after it was told to wait %d s", asked.Sub(told), wait)
		}
	}
	time.Sleep(time.Until(told.Add(time.Duration(wait) * time.Second)))
	if r := w.ask(t, w.llm, "/chat", "x-user", "quick"); r.status != 200 {
		t.Errorf("%d after the %d s that it was told to wait", r.status, wait)
	}
}

// settlesAtOnce ends a thousand streams at once when their bucket is below zero
// already.
func (w *world) settlesAtOnce(t *testing.T) {
	const streams, cost = 1000, 7
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Minute}
	var all sync.WaitGroup
	for range streams {
		all.Go(func() {
			if status := w.costsBy(t, client, "/chat", "crowd", cost, harness.Hold, "yes"); status != 200 {
				t.Errorf("a stream that began in time: %d, want 200", status)
			}
		})
	}
	eventually(t, time.Minute, "all streams have begun", func() bool { return w.backend.Held() == streams })
	if status := w.costs(t, "/chat", "crowd", 1500); status != 200 {
		t.Fatalf("a request while there are tokens: %d, want 200", status)
	}
	w.awaitBalance(t, "crowd", -500)
	w.backend.Release()
	all.Wait()
	w.awaitBalance(t, "crowd", -500-streams*cost)
}

// mintsNothing has Envoy give back what denied requests would have taken, as it
// does for those that were admitted.
func (w *world) mintsNothing(t *testing.T) {
	const capacity, share, requests = 1000, 100, 30
	passed := 0
	for range requests {
		if r := w.ask(t, w.llm, "/reserve", "x-user", "poor"); r.status == 200 {
			passed++
		}
	}
	const refunds = "extauthz_rule_matches_total"
	eventually(t, 10*time.Second, "Envoy has given all back", func() bool {
		return w.service.samples(t).Family(refunds, `action="refund"`) == requests
	})
	if passed != capacity/share {
		t.Errorf("%d of %d passed, want %d", passed, requests, capacity/share)
	}
	w.awaitBalance(t, "poor", 0)
}

// costs has a user make a request that costs so much, and returns the status.
func (w *world) costs(t *testing.T, path, user string, tokens int) int {
	t.Helper()
	return w.costsBy(t, w.client, path, user, tokens, "x-none", "")
}

func (w *world) costsBy(t *testing.T, client *http.Client, path, user string, tokens int, header, value string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.llm+path, nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	req.Header.Set("x-user", user)
	req.Header.Set(harness.WantTokens, fmt.Sprint(tokens))
	req.Header.Set(header, value)
	resp, err := client.Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	return resp.StatusCode
}

// awaitBalance waits until a user has so many tokens left, less than one of which
// is refilled meanwhile.
func (w *world) awaitBalance(t *testing.T, user string, want int) {
	t.Helper()
	got := 0
	defer func() {
		if t.Failed() {
			t.Logf("%s has %d left, want %d", user, got, want)
		}
	}()
	eventually(t, 20*time.Second, fmt.Sprintf("%s has %d left", user, want), func() bool {
		got = w.balance(t, user)
		return got == want || got == want+1
	})
}

func (w *world) balance(t *testing.T, user string) int {
	t.Helper()
	question := fmt.Appendf(nil, `{"entity":%q,"resource":"gpt-4"}`, user)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.service.admin+"/namespaces/default/balance", bytes.NewReader(question))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Buckets []struct {
			Limits []struct {
				Balance int `json:"balance"`
			} `json:"limits"`
		} `json:"buckets"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || len(answer.Buckets) != 1 || len(answer.Buckets[0].Limits) != 1 {
		t.Fatalf("the balance of %s: %d %+v %v", user, resp.StatusCode, answer, err)
	}
	return answer.Buckets[0].Limits[0].Balance
}
