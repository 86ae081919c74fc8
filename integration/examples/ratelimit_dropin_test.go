//go:build integration

package examples

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestRatelimitDropIn has Envoy and a folder of envoyproxy/ratelimit's, and asks
// as their users do: patterns, a ban, a shadow, several descriptors of a call,
// HTTP, and values in metrics.
func TestRatelimitDropIn(t *testing.T) {
	config, err := filepath.Abs(filepath.Join(folder, "ratelimit-dropin", "config"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("EXTAUTHZ_RATELIMIT_CONFIG", config)
	t.Setenv("LIMIT_RESPONSE_HEADERS_ENABLED", "true")
	t.Setenv("LIMIT_REMAINING_HEADER", "X-Left")
	e := start(t, "ratelimit-dropin")
	const port = 10000
	r := e.ask(t, port, "/search?q=a", "x-tenant", "acme")
	if r.status != 200 || r.header.Get("X-Left") != "1" || r.header.Get("Ratelimit-Limit") != "2" {
		t.Errorf("the first: %d, %v", r.status, r.header)
	}
	e.wantStatuses(t, []int{200, 429}, port, "/search?q=b", "x-tenant", "acme")
	r = e.ask(t, port, "/search", "x-tenant", "acme") // the tenant's fourth
	if limits := r.header.Get("X-Ratelimit-Limit"); r.status != 429 || !strings.Contains(limits, `100;w=60, 4;w=60;name="per_tenant", 2;w=60`) {
		t.Errorf("%d, x-ratelimit-limit %q", r.status, limits)
	}
	wantWait(t, r, 25, 30)
	e.wantStatuses(t, []int{429}, port, "/", "x-tenant", "acme")
	e.wantStatuses(t, []int{429}, port, "/", "x-tenant", "mallory")
	e.wantStatuses(t, []int{200, 200, 200}, port, "/trial", "x-tenant", "globex")
	e.wantStatuses(t, []int{200, 200}, port, "/")

	body := strings.NewReader(`{"domain": "edge", "descriptors": [{"entries": [{"key": "tenant", "value": "globex"}]}]}`)
	response, err := http.Post("http://"+e.addr(8080)+"/json", "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 200 || !strings.Contains(string(text), "per_tenant") {
		t.Errorf("/json: %d %s, %v", response.StatusCode, text, err)
	}
	samples, err := e.service.Samples(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for verdict, want := range map[string]float64{"allow": 2, "deny": 2} {
		got := samples.Family("extauthz_detailed_matches_total", `entries="tenant=acme,path=/search*"`, `verdict="`+verdict+`"`)
		if got != want {
			t.Errorf("%s of acme's searches: %v, want %v", verdict, got, want)
		}
	}
	e.noFaults(t)
}
