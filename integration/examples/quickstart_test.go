//go:build integration

package examples

import (
	"strings"
	"testing"
)

// TestQuickstart has two requests a minute for each tenant, through either
// filter. (`make demo` plays it too, with every header shown.)
func TestQuickstart(t *testing.T) {
	t.Parallel()
	e := start(t, "quickstart")
	for _, port := range []int{10000, 10001} {
		e.wantStatuses(t, []int{200, 200, 429}, port, "/", "x-tenant", "acme")
		e.wantStatuses(t, []int{200, 200, 429}, port, "/") // by address
		r := e.ask(t, port, "/", "x-tenant", "globex")
		if r.status != 200 || !strings.HasPrefix(r.body, "hello from the backend") {
			t.Errorf("%d %s, want another tenant's 200", r.status, r.body)
		}
		wantWait(t, e.ask(t, port, "/", "x-tenant", "acme"), 20, 30)
	}
	e.noFaults(t)
}
