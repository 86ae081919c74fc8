//go:build integration

package integration

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/integration/harness"
)

const overHTTP = `
rules:
  - {name: closed, match: request.url_path == "/closed", action: deny}
  - name: orders
    match: request.headers["x-resource"] == "orders"
    entity: ${request.headers["x-tenant"]}
    resource: ${request.method}
    default_limits: {requests: 1/hour}
    on_allow: {headers: {x-tenant-tier: "${entity.tier}", x-tenant-host: "${request.host}"}}
  - name: anonymous
    entity: ${client_ip}
    resource: ${request.url_path}
    default_limits: {requests: 1/hour}
    on_allow: {headers: {x-tenant-client: "${client_ip} ${request.scheme}"}}
no_match: deny
limits:
  tiers: {gold: {limits: {requests: 1000/hour}}}
  entities: {acme: {tier: gold}}
`

// newHTTPWorld starts a service that Envoy asks over HTTP.
func newHTTPWorld(t *testing.T, config string) *world {
	t.Helper()
	backend, err := harness.StartBackend()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(backend.Close)
	ports := struct{ Admin, Listen, Service, Backend int }{freePort(t), freePort(t), freePort(t), backend.HTTPPort()}
	s := &service{metrics: local(freePort(t)), env: newStore(t), file: filepath.Join(t.TempDir(), "extauthz.yaml")}
	s.listen = fmt.Sprintf("listen: {grpc: %q, http: %q, trusted_proxies: [%s], metrics: %q, admin: \"\"}\n",
		local(freePort(t)), local(ports.Service), strings.Join(ownAddresses(t), ", "), s.metrics)
	s.write(t, config)
	s.start(t)
	return &world{
		service: s, envoy: startEnvoy(t, "envoy-http.yaml.tmpl", ports.Admin, ports), client: newClient(t), extAuthz: local(ports.Listen),
	}
}

// ownAddresses are this machine's: to x-forwarded-for of what it asks Envoy adds
// an address of its own, which isn't the one that it asks from.
func ownAddresses(t *testing.T) []string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	addresses := []string{"127.0.0.1"}
	for _, a := range all {
		if network, ok := a.(*net.IPNet); ok && network.IP.To4() != nil {
			addresses = append(addresses, network.IP.String())
		}
	}
	return addresses
}

// TestEnvoyAsksOverHTTP has Envoy's HTTP ext_authz do what its gRPC one does:
// statuses, waits, bodies, headers for the backend and for the client.
func TestEnvoyAsksOverHTTP(t *testing.T) {
	w := newHTTPWorld(t, overHTTP)
	r := w.ask(t, w.extAuthz, "/a//b?c=%20", "x-tenant", "acme", "x-tenant-tier", "platinum", "x-tenant-host", "forged")
	if r.status != http.StatusOK || r.seen == nil {
		t.Fatalf("%d %s, want 200", r.status, r.body)
	}
	for name, want := range map[string][]string{"X-Tenant-Tier": {"gold"}, "X-Tenant-Host": {w.extAuthz}} {
		if diff := cmp.Diff(want, r.seen.Values(name)); diff != "" {
			t.Errorf("%s at the backend (-want +got):\n%s", name, diff)
		}
	}
	if got := r.header.Get("Ratelimit"); got != `"requests";r=999;t=4` {
		t.Errorf("the client's ratelimit is %q", got)
	}

	// What the rule doesn't set is removed, whatever a client sends.
	r = w.ask(t, w.extAuthz, "/", "x-tenant", "globex", "x-tenant-tier", "platinum", "x-resource", "forged")
	if r.status != http.StatusOK || len(r.seen.Values("X-Tenant-Tier")) != 0 {
		t.Errorf("%d, x-tenant-tier at the backend is %q", r.status, r.seen.Values("X-Tenant-Tier"))
	}
	r = w.ask(t, w.extAuthz, "/", "x-tenant", "globex")
	if n := r.retryAfter(t); r.status != http.StatusTooManyRequests || n < 3590 || n > 3600 || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d, Retry-After %d, %s: want 429 and an hour", r.status, n, r.header)
	}
	publicBody(t, r.body)
	if r = w.ask(t, w.extAuthz, "/closed", "x-tenant", "acme"); r.status != http.StatusForbidden {
		t.Errorf("a rule that denies: %d", r.status)
	}
}

// TestClientsOverHTTP: a client is known by the address that the proxy before
// Envoy has seen, which the test is.
func TestClientsOverHTTP(t *testing.T) {
	for _, from := range []string{"peer", "x-envoy-external-address"} {
		w := newHTTPWorld(t, "client_ip: "+from+overHTTP)
		got := map[int]int{}
		for i := range 3 {
			forged := fmt.Sprintf("198.51.100.%d", i)
			r := w.ask(t, w.extAuthz, "/one", "x-forwarded-for", forged+", 203.0.113.9", "x-envoy-external-address", forged)
			got[r.status]++
			if seen := r.seen.Get("X-Tenant-Client"); r.status == http.StatusOK && seen != "203.0.113.9 http" {
				t.Errorf("%s: the client is %q", from, seen)
			}
		}
		if diff := cmp.Diff(map[int]int{200: 1, 429: 2}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", from, diff)
		}
	}
}
