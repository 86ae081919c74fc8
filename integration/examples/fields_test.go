//go:build integration

package examples

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/extauthz/extauthz/integration/harness"
)

// startFields starts an Envoy that sends and shows what an ordinary one doesn't:
// testdata/fields.yaml. docs/envoy.md says which test is about which field.
func startFields(t *testing.T) (e *example, certificates, socket string) {
	t.Helper()
	envoy, certificates, socket := fieldsEnvoy(t)
	return startFiles(t, envoy, "testdata/fields-extauthz.yaml"), certificates, socket
}

// fieldsEnvoy writes Envoy's file, with its anchors resolved: Envoy knows no merge
// keys.
func fieldsEnvoy(t *testing.T) (file, certificates, socket string) {
	t.Helper()
	certificates = t.TempDir()
	writeIdentities(t, certificates)
	short, err := os.MkdirTemp("", "xz") //nolint:usetesting // a socket's path has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	socket = filepath.Join(short, "s")
	config := readSkeleton(t, "fields", strings.NewReplacer("CERTIFICATES", certificates, "SOCKET", socket))
	delete(config, "x-anchors")
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), exampleEnvoy)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, certificates, socket
}

// metadata is what the answer's dynamic metadata was, which Envoy puts into a
// header there.
func (r reply) metadata(t *testing.T) object {
	t.Helper()
	var out object
	text := strings.Trim(r.header.Get("X-Metadata"), "-")
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%d: metadata %q: %v", r.status, text, err)
	}
	return out
}

// wantMetadata compares what is there with some of what should be.
func (r reply) wantMetadata(t *testing.T, want object) {
	t.Helper()
	got := r.metadata(t)
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%d: %s in the metadata is %v, want %v (of %v)", r.status, name, got[name], v, got)
		}
	}
}

// TestFieldsOfDescriptors sends several descriptors, entries whose keys repeat,
// and costs in each place that Envoy has for them.
func TestFieldsOfDescriptors(t *testing.T) {
	t.Parallel()
	e, _, _ := startFields(t)
	const port = 10000

	// Two descriptors are one decision: what one refuses, the other isn't charged.
	e.wantStatuses(t, []int{200, 429, 429, 429}, port, "/two", "x-tenant", "acme")
	e.wantStatuses(t, []int{200, 200, 429}, port, "/wide", "x-tenant", "acme")

	e.wantStatuses(t, []int{200}, port, "/entries")

	// Six credits: 3, a look, the request's 2, 1; then a look and a charge.
	for i, step := range []struct {
		path, hits string
		want       int
	}{
		{"/cost/3", "", 200},
		{"/cost/0", "", 200},
		{"/cost", "2", 200},
		{"/cost", "2", 429},
		{"/cost", "", 200},
		{"/cost/0", "", 429},
		{"/refund", "", 200}, // answered, and nothing is credited
		{"/cost", "", 429},
		{"/credit", "", 200}, // by a rule that has refunds: true
		{"/cost", "2", 200},
		{"/cost", "", 429},
	} {
		headers := []string{"x-tenant", "globex"}
		if step.hits != "" {
			headers = append(headers, "x-hits", step.hits)
		}
		if r := e.ask(t, port, step.path, headers...); r.status != step.want {
			t.Errorf("step %d, %s %s: %d, want %d", i+1, step.path, step.hits, r.status, step.want)
		}
	}
	// Limits that the descriptor brings have buckets of their own.
	e.wantStatuses(t, []int{200, 200, 429}, port, "/override", "x-tenant", "globex")
	// Envoy 1.40 drops the multiplier that a filter's metadata says.
	r := e.ask(t, port, "/override/thrice", "x-tenant", "hooli")
	if got := r.header.Get("X-Ratelimit-Limit"); r.status != 200 || got != `1, 1;w=3600;name="override"` {
		t.Errorf("one in three hours: %d, x-ratelimit-limit %s", r.status, got)
	}
	e.noFaults(t)
	// A limit without a unit is an error, which Envoy's failure mode decides.
	e.wantStatuses(t, []int{503}, port, "/override/unknown", "x-tenant", "globex")
}

// TestFieldsOfStatuses looks at what Envoy makes of the statuses, and at the rest
// of the answer: body, headers, metadata.
func TestFieldsOfStatuses(t *testing.T) {
	t.Parallel()
	e, _, _ := startFields(t)
	const port = 10000
	for i, want := range []struct {
		status    int
		remaining string
		reset     int // seconds: until the bucket is full, or until the request would pass
	}{{200, "1", 120}, {200, "0", 240}, {429, "0", 120}} {
		r := e.ask(t, port, "/", "x-tenant", "acme")
		for name, value := range map[string]string{
			"X-Ratelimit-Limit": `5, 5;w=600;name="some"`, "X-Ratelimit-Remaining": want.remaining,
		} {
			if got := r.header.Get(name); r.status != want.status || got != value {
				t.Errorf("request %d: %d, %s: %s, want %d, %s", i+1, r.status, name, got, want.status, value)
			}
		}
		reset, err := strconv.Atoi(r.header.Get("X-Ratelimit-Reset"))
		if err != nil || reset > want.reset || reset < want.reset-20 {
			t.Errorf("request %d: x-ratelimit-reset %s, want about %d", i+1, r.header.Get("X-Ratelimit-Reset"), want.reset)
		}
		r.wantMetadata(t, object{"rule": "ten-minutes", "entity": "acme", "resource": "ten-minutes", "limit": "some", "source": "store"})
	}
	e.wantStatuses(t, []int{200}, port, "/two", "x-tenant", "acme")
	r := e.ask(t, port, "/two", "x-tenant", "acme")
	if r.status != 429 || r.body != `{"error":"slow down"}` || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s %s, want the rule's body", r.status, r.header.Get("Content-Type"), r.body)
	}
	wantWait(t, r, 86300, 86400)
	r.wantMetadata(t, object{"rule": "narrow", "remaining": 0.0})
	e.noFaults(t)
}

// TestFieldsOfChecks has the service say what it read out of a check, in every
// form that Envoy has for it.
func TestFieldsOfChecks(t *testing.T) {
	t.Parallel()
	e, certificates, socket := startFields(t)
	host := func(port int) string { return e.addr(port) }
	for _, port := range []int{10001, 10003} { // texts, and bytes
		r := e.ask(t, port, "/http?q=a%20b", "x-a", "one", "x-a", "two")
		e.wantSeen(t, r, "GET|http|"+host(port)+"|/http?q=a%20b|a b|one,two")
		r = e.ask(t, port, "/id")
		if saw := r.header.Get("X-Backend-Saw"); r.status != 200 || len(saw) < 10 {
			t.Errorf("port %d: %d, the request's id is %q", port, r.status, saw)
		}
		e.wantSeen(t, e.ask(t, port, "/extensions"), "all|here|route")
		e.wantSeen(t, e.ask(t, port, "/addresses"), "127.0.0.1|127.0.0.1")
	}
	r := e.ask(t, 10001, "/metadata")
	e.wantSeen(t, r, "acme|two|2")
	r.wantMetadata(t, object{"rule": "metadata", "entity": "acme|two|2", "resource": "metadata", "limit": "requests", "remaining": 2.0})
	override, _ := r.metadata(t)["override"].(object)
	if override["requests_per_unit"] != 3.0 || override["unit"] != "MINUTE" {
		t.Errorf("the limit as a later filter takes it: %v", override)
	}
	e.wantStatuses(t, []int{200, 429}, 10001, "/limited")
	e.ask(t, 10001, "/limited").wantMetadata(t, object{"rule": "limited", "remaining": 0.0})

	// Over TLS Envoy sends all that it can, the body too: what isn't read is in
	// nobody's way.
	client := clientAs(t, certificates, "importer")
	e.wantSeen(t, post(t, client, "https://"+host(10004)+"/principals"), identities["importer"]+"|"+identities["orders"])
	names := identities["importer"] + "|importer.example|importer@example.com|192.0.2.1"
	e.wantSeen(t, post(t, client, "https://"+host(10004)+"/names"), names)
	e.wantSeen(t, e.ask(t, 10001, "/names"), "nameless")
	e.wantSeen(t, post(t, client, "https://"+host(10004)+"/metadata"), "acme|two|2")

	through := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	e.wantSeen(t, post(t, through, "http://socket/destination"), socket)
	e.noFaults(t)
}

// wantSeen wants the backend to have seen that entity.
func (e *example) wantSeen(t *testing.T, r reply, want string) {
	t.Helper()
	if got := r.header.Get("X-Backend-Saw"); r.status != http.StatusOK || got != want {
		t.Errorf("%d, read as %q, want %q; metadata %s", r.status, got, want, r.header.Get("X-Metadata"))
	}
}

// post sends a body that is longer than what Envoy passes on.
func post(t *testing.T, client *http.Client, url string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(bytes.Repeat([]byte{0xff}, 200)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Envoy-Downstream-Service-Cluster", "edge") // which becomes source.service
	return do(t, client, req)
}

// TestFieldsWithoutAStore asks a service whose table can't be reached: both
// answers are errors to Envoy, which its failure mode decides and its statistics
// count, not denials.
func TestFieldsWithoutAStore(t *testing.T) {
	t.Parallel()
	path := envoyBinary(t)
	envoy, _, _ := fieldsEnvoy(t)
	files, err := harness.CopyExample(envoy, "testdata/fields-extauthz.yaml", t.TempDir(), &ports)
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := ports.Free()
	if err != nil {
		t.Fatal(err)
	}
	e := &example{Example: files, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	service, err := harness.Start(harness.Command{
		Name: "extauthz", Path: binary, Args: []string{"serve", "--config", e.Service},
		Env: []string{
			"EXTAUTHZ_STACK=nowhere", "EXTAUTHZ_STORE_REGION=us-east-1", "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local",
			"EXTAUTHZ_ENDPOINT_URL=http://" + local(nobody),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Kill)
	eventually(t, "the service serves", func() bool { return strings.Contains(service.Output(), "msg=serving") })
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	e.envoy, err = harness.StartEnvoy(ctx, harness.EnvoyConfig{Binary: path, Config: e.Envoy, AdminPort: e.Port(portEnvoyAdmin), Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.envoy.Kill)

	e.wantStatuses(t, []int{503}, 10000, "/", "x-tenant", "acme")
	e.wantStatuses(t, []int{503}, 10001, "/limited")
	stats, err := e.envoy.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"cluster.backend.ratelimit.error": 1, "cluster.backend.ratelimit.over_limit": 0,
		"cluster.backend.ext_authz.error": 1, "cluster.backend.ext_authz.denied": 0,
	} {
		if stats[name] != want {
			t.Errorf("Envoy counts %s: %v, want %v", name, stats[name], want)
		}
	}
}
