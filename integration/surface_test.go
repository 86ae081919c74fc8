//go:build integration

package integration

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"text/template"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/extauthz/extauthz/integration/harness"
)

const surfaceRules = `
rules:
  - name: everyone
    match: domain == "edge" && descriptor.route == "all"
    independent: true
    entity: everyone
    default_limits: {requests: 8/day}
  - name: tenant
    match: domain == "edge" && has(descriptor.tenant)
    independent: true
    entity: ${descriptor.tenant}
    default_limits: {requests: 2/day}
    on_deny: {body: '{"error":"slow down"}', content_type: application/json, headers: {x-reason: tenant}}
  - name: model
    match: request.body.contains('"model":"gpt-4"')
    entity: gpt-4
    default_limits: {requests: 1/day}
  - name: open
    match: request.method == "POST"
    action: allow
  - name: retried
    entity: ${request.headers["x-tenant"]}
    default_limits: {requests: 3/day}
`

// lossy passes checks on, and loses the first answer to each request.
type lossy struct {
	authv3.UnimplementedAuthorizationServer
	service authv3.AuthorizationClient

	mu       sync.Mutex
	attempts map[string]int // :: id -> how many of it came
}

// Check implements authv3.AuthorizationServer.
func (l *lossy) Check(ctx context.Context, call *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	answer, err := l.service.Check(ctx, call)
	l.mu.Lock()
	defer l.mu.Unlock()
	id := call.GetAttributes().GetRequest().GetHttp().GetId()
	if l.attempts[id]++; l.attempts[id] == 1 {
		return nil, status.Error(codes.Unavailable, "the answer is lost")
	}
	return answer, err
}

// startLossy is a lossy before the service, and its port.
func startLossy(t *testing.T, servicePort int) (*lossy, int) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+local(servicePort), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	l := &lossy{service: authv3.NewAuthorizationClient(conn), attempts: map[string]int{}}
	s := grpc.NewServer()
	authv3.RegisterAuthorizationServer(s, l)
	at, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(at) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		_ = conn.Close()
	})
	return l, at.Addr().(*net.TCPAddr).Port
}

// newSurface starts the service and an Envoy with testdata/surface.yaml.tmpl.
func newSurface(t *testing.T) (w *world, retried string, l *lossy) {
	t.Helper()
	backend, err := harness.StartBackend()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(backend.Close)
	s := newService(t, surfaceRules, tcp)
	l, lossyPort := startLossy(t, s.Port)
	at := struct {
		Admin, RateLimit, ExtAuthz, Retried int
		Clusters                            map[string]int
	}{freePort(t), freePort(t), freePort(t), freePort(t), map[string]int{
		"extauthz": s.Port, "lossy": lossyPort, "backend": backend.HTTPPort(), "grpc_backend": backend.GRPCPort(),
	}}
	var text strings.Builder
	parts := template.Must(template.ParseFiles("testdata/envoy.yaml.tmpl", "testdata/surface.yaml.tmpl"))
	if err := parts.ExecuteTemplate(&text, "surface.yaml.tmpl", at); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(config, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	envoy, err := harness.StartEnvoy(ctx, harness.EnvoyConfig{Binary: envoyBinary(t), Config: config, AdminPort: at.Admin})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(envoy.Kill)
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(client.CloseIdleConnections)
	return &world{service: s, envoy: envoy, client: client, rateLimit: local(at.RateLimit), extAuthz: local(at.ExtAuthz)}, local(at.Retried), l
}

// TestSurface is about what an operator has to ask Envoy or the rules for: each
// part on buckets of its own.
func TestSurface(t *testing.T) {
	w, retried, l := newSurface(t)
	t.Run("independent descriptors", w.independent)
	t.Run("gRPC clients of the rate limit filter", w.grpcMessages)
	t.Run("the body of a check", w.bodies)
	t.Run("attempts", func(t *testing.T) { w.attempts(t, retried, l) })
	w.noFaults(t)
}

// independent charges everyone for requests that a tenant's own limit denies.
func (w *world) independent(t *testing.T) {
	var got []int
	for _, tenant := range []string{"acme", "acme", "acme", "globex", "globex", "globex"} {
		got = append(got, w.ask(t, w.rateLimit, "/", "x-tenant", tenant).status)
	}
	if diff := cmp.Diff([]int{200, 200, 429, 200, 200, 429}, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	r := w.ask(t, w.rateLimit, "/", "x-tenant", "hooli") // the 7th of everyone's 8
	if left := r.header.Get("X-Ratelimit-Remaining"); r.status != 200 || left != "1" {
		t.Errorf("%d with %s left, want 200 with 1", r.status, left)
	}
}

// grpcMessages denies a gRPC client in words, and another client in JSON.
func (w *world) grpcMessages(t *testing.T) {
	r := w.ask(t, w.rateLimit, "/", "x-tenant", "acme")
	if r.status != 429 || r.body != `{"error":"slow down"}` || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("an HTTP client: %d %s %s", r.status, r.header.Get("Content-Type"), r.body)
	}
	conn, err := grpc.NewClient("passthrough:///"+w.rateLimit, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var header metadata.MD
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-tenant", "acme")
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Header(&header), grpc.Trailer(&header))
	if status.Code(err) != codes.ResourceExhausted || !strings.HasPrefix(status.Convert(err).Message(), "Rate limit exceeded; retry after ") {
		t.Errorf("a gRPC client: %v", err)
	}
}

// bodies limits requests by what their body says.
func (w *world) bodies(t *testing.T) {
	for i, c := range []struct {
		path, body string
		status     int
	}{
		{"/text", `{"model":"gpt-4"}`, 200},
		{"/text", `{"model":"gpt-4","n":2}`, 429},
		{"/text", `{"model":"small"}`, 200},
		{"/text", "", 200},
		{"/text", strings.Repeat(" ", 2000) + `{"model":"gpt-4"}`, 200}, // Envoy passes on the first 1,024 bytes
		{"/bytes", `{"model":"gpt-4"}`, 429},
		{"/bytes", "\xff" + `{"model":"gpt-4"}`, 429},
		{"/bytes", "\xff", 200},
	} {
		resp, err := w.client.Post("http://"+w.extAuthz+c.path, "application/json", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("body %d: %d, want %d", i+1, resp.StatusCode, c.status)
		}
		if limited := resp.Header.Get("X-Envoy-Ratelimited"); (limited == "true") != (c.status == 429) {
			t.Errorf("body %d: x-envoy-ratelimited %q with %d", i+1, limited, c.status)
		}
	}
}

// attempts has every check sent twice, and charged once. A request id that a
// client sends again is another request.
func (w *world) attempts(t *testing.T, addr string, l *lossy) {
	var got []int
	for range 4 {
		got = append(got, w.ask(t, addr, "/", "x-tenant", "acme", "x-request-id", "8650b17f-0000-4000-8000-000000000000").status)
	}
	if diff := cmp.Diff([]int{200, 200, 200, 429}, got); diff != "" {
		t.Errorf("of 3 a day (-want +got):\n%s", diff)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.attempts) != 4 {
		t.Errorf("%d ids of 4 requests: %v", len(l.attempts), l.attempts)
	}
	for id, n := range l.attempts {
		if n != 2 {
			t.Errorf("the check of %s came %d times, want 2", id, n)
		}
	}
}
