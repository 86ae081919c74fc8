//go:build integration

package integration

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestClientsDontChooseTheirRoute sends the headers that an operator routes by.
// What a rule names in on_allow is the service's alone to set: overwritten where
// it has a value, removed where it has none.
func TestClientsDontChooseTheirRoute(t *testing.T) {
	w := newWorld(t, `
rules:
  - name: api
    entity: ${request.headers["x-tenant"]}
    on_allow: {headers: {x-tenant-tier: "${entity.tier}", x-tenant-id: "${entity.id}"}}
limits:
  system: {limits: {requests: 1000/min}}
  tiers: {gold: {limits: {requests: 1000/min}}}
  entities: {acme: {tier: gold}}
`)
	for name, tc := range map[string]struct {
		tenant string
		sent   []string
		want   []string
	}{
		"overwritten":             {"acme", []string{"x-tenant-tier", "platinum"}, []string{"gold"}},
		"overwritten, two values": {"acme", []string{"x-tenant-tier", "platinum", "x-tenant-tier", "iron"}, []string{"gold"}},
		"set":                     {"acme", nil, []string{"gold"}},
		"removed":                 {"globex", []string{"x-tenant-tier", "platinum"}, nil},
		"removed, two values":     {"globex", []string{"X-Tenant-Tier", "platinum", "x-tenant-tier", "gold"}, nil},
		"never there":             {"globex", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.ask(t, w.extAuthz, "/", append(tc.sent, "x-tenant", tc.tenant, "x-tenant-id", "root")...)
			if r.status != http.StatusOK {
				t.Fatalf("%d %s, want 200", r.status, r.body)
			}
			if diff := cmp.Diff(tc.want, r.seen.Values("X-Tenant-Tier")); diff != "" {
				t.Errorf("x-tenant-tier at the backend (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{tc.tenant}, r.seen.Values("X-Tenant-Id")); diff != "" {
				t.Errorf("x-tenant-id at the backend (-want +got):\n%s", diff)
			}
		})
	}
	w.noFaults(t)
}

// TestDenialOverHTTP looks at what a client of ext_authz gets: a status, a wait,
// a body that is JSON and names nobody.
func TestDenialOverHTTP(t *testing.T) {
	w := newWorld(t, `
rules:
  - name: plain
    match: request.url_path == "/plain"
    entity: ${request.headers["x-tenant"]}
    default_limits: {requests: 1/hour}
  - name: own-words
    entity: ${request.headers["x-tenant"]}
    default_limits: {requests: 1/hour}
    on_deny: {status: 503, body: '{"error":"slow down"}', content_type: application/problem+json}
`)
	for path, want := range map[string]struct {
		status            int
		contentType, body string
	}{
		"/plain": {429, "application/json", ""},
		"/other": {503, "application/problem+json", `{"error":"slow down"}`},
	} {
		w.ask(t, w.extAuthz, path, "x-tenant", "secret-tenant")
		r := w.ask(t, w.extAuthz, path, "x-tenant", "secret-tenant")
		if r.status != want.status || r.header.Get("Content-Type") != want.contentType {
			t.Errorf("%s: %d %s, want %d %s", path, r.status, r.header.Get("Content-Type"), want.status, want.contentType)
		}
		if n := r.retryAfter(t); n < 3590 || n > 3600 {
			t.Errorf("%s: Retry-After %d, want about an hour", path, n)
		}
		if want.body != "" && r.body != want.body {
			t.Errorf("%s: body %s, want %s", path, r.body, want.body)
		}
		if want.body == "" {
			publicBody(t, r.body)
		}
	}
}

// publicBody wants a JSON object that names the limit and no entity.
func publicBody(t *testing.T, body string) {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(body), &object); err != nil {
		t.Errorf("the default body isn't an object of JSON: %v: %s", err, body)
	}
	if !strings.Contains(body, `"requests"`) {
		t.Errorf("the default body doesn't name the limit: %s", body)
	}
	if strings.Contains(body, "secret-tenant") {
		t.Errorf("the default body names the entity: %s", body)
	}
}
