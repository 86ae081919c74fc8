//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/extauthz/extauthz/integration/harness"
)

// startTimeout is how long a part gets to become ready.
const startTimeout = 30 * time.Second

// binary is the service under test, ports are all that the tests use: set up
// once, read after.
var (
	binary string
	ports  harness.Ports
)

func TestMain(m *testing.M) {
	os.Exit(harness.WithService("..", func(path string) int {
		binary = path
		return m.Run()
	}))
}

// rounds is how often a test with chance in it is repeated.
func rounds(short, long int) int {
	if os.Getenv("EXTAUTHZ_TEST_LONG") != "" {
		return long
	}
	return short
}

// world is one service behind one Envoy in front of one backend.
type world struct {
	service *service
	envoy   *harness.Envoy
	backend *harness.Backend
	client  *http.Client

	rateLimit, extAuthz, llm string // host:port of Envoy's listeners
}

// filters are Envoy's ways to ask, each with the listener that does.
func (w *world) filters() map[string]string {
	return map[string]string{"ratelimit": w.rateLimit, "ext_authz": w.extAuthz}
}

// newWorld starts a service with the rules and limits given, and Envoy with a
// backend around it.
func newWorld(t *testing.T, config string) *world {
	t.Helper()
	return around(t, newService(t, config, tcp))
}

// around starts Envoy before services, and a backend behind.
func around(t *testing.T, services ...*service) *world {
	t.Helper()
	backend, err := harness.StartBackend()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(backend.Close)

	type listeners struct {
		Admin, RateLimit, ExtAuthz, LLM, Backend, GRPCBackend int
		Services                                              []endpoint
		TLS                                                   string // folder of the services' certificates; empty: they have none
		Oldest                                                bool   // Envoy, which lacks filters
		Costs                                                 []costOf
	}
	l := listeners{
		Admin: freePort(t), RateLimit: freePort(t), ExtAuthz: freePort(t), LLM: freePort(t),
		Backend: backend.HTTPPort(), GRPCBackend: backend.GRPCPort(), TLS: services[0].tls,
		Oldest: os.Getenv("EXTAUTHZ_TEST_ENVOY") == "oldest",
	}
	if l.Costs = costs(); l.Oldest {
		l.Costs = l.Costs[len(l.Costs)-1:]
	}
	for _, s := range services {
		l.Services = append(l.Services, s.endpoint)
	}
	envoy := startEnvoy(t, "envoy.yaml.tmpl", l.Admin, l)
	return &world{
		service: services[0], envoy: envoy, backend: backend, client: newClient(t),
		rateLimit: local(l.RateLimit), extAuthz: local(l.ExtAuthz), llm: local(l.LLM),
	}
}

// startEnvoy starts Envoy with a template filled in.
func startEnvoy(t *testing.T, file string, admin int, values any) *harness.Envoy {
	t.Helper()
	config := filepath.Join(t.TempDir(), "envoy.yaml")
	var text strings.Builder
	if err := template.Must(template.ParseFiles(filepath.Join("testdata", file))).Execute(&text, values); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	envoy, err := harness.StartEnvoy(ctx, harness.EnvoyConfig{Binary: envoyBinary(t), Config: config, AdminPort: admin})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		envoy.Kill()
		if t.Failed() {
			t.Logf("Envoy's log:\n%s", envoy.Tail(40))
		}
	})
	return envoy
}

// newClient makes a client of Envoy.
func newClient(t *testing.T) *http.Client {
	t.Helper()
	client := &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		Timeout:   20 * time.Second,
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// costOf says where Envoy reads what a response has cost, by the request's path.
type costOf struct{ Path, Format string }

// costs are the sources of a response's cost; the last is any other path's.
func costs() []costOf {
	return []costOf{
		{"/json", "%DYNAMIC_METADATA(llm.usage:total_tokens)%"},
		{"/sse", "%DYNAMIC_METADATA(llm.usage:total_tokens)%"},
		{"/cel", "%CEL(int(response.headers['x-tokens']) * 2)%"},
		{"/", "%RESP(x-tokens)%"},
	}
}

// endpoint is where Envoy finds the service: a port or a socket's path.
type endpoint struct {
	Port int
	Pipe string
}

// How the service listens.
const (
	tcp    = "tcp"
	socket = "unix"
)

// service is a running service and the file that it was started with.
type service struct {
	*harness.Service
	endpoint
	file    string
	listen  string // the first line of the file, the tests' own
	metrics string // host:port
	admin   string // host:port
	env     []string
	tls     string // folder of tls.crt, tls.key and ca.crt; empty: none
}

// newService starts a service with the rules and limits given.
func newService(t *testing.T, config, network string) *service {
	t.Helper()
	return newServiceOn(t, newStore(t), config, network)
}

// newServiceOn starts a service on a store that others may use too.
func newServiceOn(t *testing.T, store []string, config, network string) *service {
	t.Helper()
	s := &service{metrics: local(freePort(t)), admin: local(freePort(t)), env: store}
	grpc := ""
	switch network {
	case socket:
		// A socket's path has at most 108 bytes, more than a test's folder
		// may leave.
		dir, err := os.MkdirTemp("", "xz") //nolint:usetesting // for its length
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		s.Pipe = filepath.Join(dir, "grpc.sock")
		grpc = "unix:" + s.Pipe
	default:
		s.Port = freePort(t)
		grpc = local(s.Port)
	}
	s.listen = fmt.Sprintf("listen: {grpc: %q, metrics: %q, admin: %q}\n", grpc, s.metrics, s.admin)
	s.file = filepath.Join(t.TempDir(), "extauthz.yaml")
	s.write(t, config)

	s.start(t)
	return s
}

// start starts the service with its file as it is.
func (s *service) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	running, err := harness.StartService(ctx, harness.ServiceConfig{Binary: binary, Config: s.file, Metrics: s.metrics, Env: s.env})
	if err != nil {
		t.Fatal(err)
	}
	s.Service = running
	t.Cleanup(func() {
		running.Kill()
		if t.Failed() {
			t.Logf("the service's log:\n%s", running.Tail(60))
		}
	})
}

// write replaces the configuration file, whole or not at all.
func (s *service) write(t *testing.T, config string) {
	t.Helper()
	beside := s.file + ".new"
	if err := os.WriteFile(beside, []byte(s.listen+config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(beside, s.file); err != nil {
		t.Fatal(err)
	}
}

// samples are the service's metrics.
func (s *service) samples(t *testing.T) harness.Samples {
	t.Helper()
	samples, err := s.Samples(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return samples
}

// envoyBinary finds Envoy, or skips the test and says why; where it has been
// fetched on purpose, in CI and under make, it fails.
func envoyBinary(t *testing.T) string {
	t.Helper()
	path, err := harness.FindEnvoy("..")
	if errors.Is(err, harness.ErrNoEnvoy) && os.Getenv("CI") == "" && os.Getenv("EXTAUTHZ_TOOLS") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := ports.Free()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// faults are the statistics of Envoy that count what went wrong between it and
// the service, and what its clients saw of that.
var faults = regexp.MustCompile(`\.ratelimit\.(error|failure_mode_allowed)$` +
	`|\.ext_authz\.(error|invalid|disabled|failure_mode_allowed|ignored_dynamic_metadata|\w*limits_reached)$` +
	`|^cluster\.extauthz\.(upstream_rq_5xx|upstream_rq_timeout|upstream_rq_pending_overflow|upstream_rq_rx_reset` +
	`|upstream_cx_connect_fail|upstream_cx_protocol_error|upstream_cx_destroy_remote_with_active_rq)$` +
	`|^http\.(ratelimit|ext_authz|llm)\.downstream_rq_5xx$`)

// noFaults fails the test for every fault that Envoy counted.
func (w *world) noFaults(t *testing.T) {
	t.Helper()
	stats, err := w.envoy.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for name, v := range stats {
		if !faults.MatchString(name) {
			continue
		}
		looked++
		if v != 0 {
			t.Errorf("Envoy counts %s: %v", name, v)
		}
	}
	if looked < 8 {
		t.Errorf("only %d of Envoy's statistics are ones that count faults: have their names changed?", looked)
	}
}

// eventually waits until ok says true, for timeout at most.
func eventually(t *testing.T, timeout time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(timeout); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", timeout, what)
		}
	}
}
