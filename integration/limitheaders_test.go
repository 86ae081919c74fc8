//go:build integration

package integration

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestClientsAreToldOfTheirLimit wants the headers of limits at the client, once
// each, whether it is admitted or denied and whichever filter asks.
func TestClientsAreToldOfTheirLimit(t *testing.T) {
	w := newWorld(t, fmt.Sprintf(byTenant, "2/day"))
	for filter, addr := range w.filters() {
		t.Run(filter, func(t *testing.T) {
			for i, want := range []struct {
				status int
				left   string
			}{{http.StatusOK, "1"}, {http.StatusOK, "0"}, {http.StatusTooManyRequests, "0"}} {
				r := w.ask(t, addr, "/", "x-tenant", `a";r=9`)
				if r.status != want.status {
					t.Fatalf("request %d: %d, want %d", i+1, r.status, want.status)
				}
				if diff := cmp.Diff([]string{`"requests";q=2;w=86400`}, r.header.Values("Ratelimit-Policy")); diff != "" {
					t.Errorf("request %d: ratelimit-policy (-want +got):\n%s", i+1, diff)
				}
				now := r.header.Values("Ratelimit")
				var left string
				var next int
				if len(now) != 1 {
					t.Fatalf("request %d: ratelimit %q, want one", i+1, now)
				}
				if _, err := fmt.Sscanf(now[0], `"requests";r=%1s;t=%d`, &left, &next); err != nil || left != want.left || next > 43_200 || next < 43_100 {
					t.Errorf("request %d: ratelimit %s, want %s left and one more in half a day", i+1, now[0], want.left)
				}
				if wait := r.retryAfter(t); (wait > 0) != (r.status != http.StatusOK) || wait > 0 && wait < next {
					t.Errorf("request %d: %d with retry-after %d and the next token in %d", i+1, r.status, wait, next)
				}
			}
		})
	}
	w.noFaults(t)
}
