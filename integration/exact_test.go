//go:build integration

package integration

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// byTenant limits each tenant alike through either filter; the limit is filled
// in. A request without a tenant is everybody's who has none.
const byTenant = `
rules:
  - name: edge
    match: domain == "edge"
    entity: ${descriptor.tenant}
    default_limits: {requests: %[1]s}
  - name: edge-nobody
    match: domain == "edge"
    entity: nobody
    default_limits: {requests: %[1]s}
  - name: api
    entity: ${request.headers["x-tenant"]}
    default_limits: {requests: %[1]s}
  - name: api-nobody
    entity: ${client_ip}
    default_limits: {requests: %[1]s}
`

func TestExactlyTheCapacityIsAdmitted(t *testing.T) {
	w := newWorld(t, fmt.Sprintf(byTenant, "5/day"))
	for filter, addr := range w.filters() {
		t.Run(filter, func(t *testing.T) {
			for i := range rounds(5, 100) {
				tenant := fmt.Sprintf("acme-%d", i)
				got := w.burst(t, 40, addr, "/", "x-tenant", tenant)
				if diff := cmp.Diff(map[int]int{200: 5, 429: 35}, got); diff != "" {
					t.Fatalf("40 at once from %s (-want +got):\n%s", tenant, diff)
				}
				other := fmt.Sprintf("globex-%d", i)
				got = w.burst(t, 8, addr, "/", "x-tenant", other)
				if diff := cmp.Diff(map[int]int{200: 5, 429: 3}, got); diff != "" {
					t.Fatalf("then 8 at once from %s, who had asked for nothing (-want +got):\n%s", other, diff)
				}
			}
		})
	}
	w.noFaults(t)
}

// TestRetryAfterIsTrue wants the header to be true to the second: a second
// before it nothing passes, when it has passed exactly one request does.
func TestRetryAfterIsTrue(t *testing.T) {
	w := newWorld(t, fmt.Sprintf(byTenant, "20/m:5")) // a token in 3 s
	t.Run("filters", func(t *testing.T) {
		for filter, addr := range w.filters() {
			t.Run(filter, func(t *testing.T) {
				t.Parallel()
				retryAfterIsTrue(t, w, addr)
			})
		}
	})
	w.noFaults(t)
}

// retryAfterIsTrue empties a bucket that gains a token in three seconds.
func retryAfterIsTrue(t *testing.T, w *world, addr string) {
	t.Helper()
	w.burst(t, 5, addr, "/", "x-tenant", "acme")

	before := time.Now()
	denied := w.ask(t, addr, "/", "x-tenant", "acme")
	after := time.Now()
	if denied.status != http.StatusTooManyRequests {
		t.Fatalf("the sixth request: %d, want 429", denied.status)
	}
	wait := time.Duration(denied.retryAfter(t)) * time.Second
	if wait < time.Second || wait > 3*time.Second {
		t.Fatalf("Retry-After %v of a token in 3 s", wait)
	}

	// The answer was decided between before and after, so that a request
	// decided a second before the earlier end is early for certain.
	time.Sleep(time.Until(before.Add(wait - time.Second - 100*time.Millisecond)))
	early := w.ask(t, addr, "/", "x-tenant", "acme")
	if late := time.Since(before.Add(wait - time.Second)); late > 0 {
		t.Logf("the early request took too long by %v to say anything", late)
	} else if early.status != http.StatusTooManyRequests {
		t.Errorf("a second before Retry-After: %d, want 429", early.status)
	}

	time.Sleep(time.Until(after.Add(wait)))
	if diff := cmp.Diff(map[int]int{200: 1, 429: 3}, w.burst(t, 4, addr, "/", "x-tenant", "acme")); diff != "" {
		t.Errorf("4 at once after Retry-After (-want +got):\n%s", diff)
	}
}
