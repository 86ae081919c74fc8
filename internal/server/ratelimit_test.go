package server

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ratelimitFolder writes a version of envoyproxy/ratelimit's configuration and
// has the root lead to it, as that service's deployments do.
func ratelimitFolder(t *testing.T, root, version, content string) {
	t.Helper()
	folder := filepath.Join(root, version, "ratelimit", "config")
	mustDo(t, os.MkdirAll(folder, 0o700))
	mustDo(t, os.WriteFile(filepath.Join(folder, "edge.yaml"), []byte(content), 0o600))
	tmp := filepath.Join(root, "next")
	mustDo(t, os.Symlink(version, tmp))
	mustDo(t, os.Rename(tmp, filepath.Join(root, "current")))
}

// post posts to /json and returns the status and the body.
func (r *running) post(t *testing.T, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.HTTP+"/json", strings.NewReader(body))
	mustDo(t, err)
	response, err := http.DefaultClient.Do(request)
	mustDo(t, err)
	defer func() { mustDo(t, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	mustDo(t, err)
	return response.StatusCode, string(text)
}

// TestRatelimitConfiguration serves another service's configuration by its
// variables: over gRPC and HTTP, and anew when the root leads elsewhere.
func TestRatelimitConfiguration(t *testing.T) {
	root := t.TempDir()
	const tenants = "domain: edge\ndescriptors: [{key: tenant, detailed_metric: true, rate_limit: {unit: day, requests_per_unit: NUMBER}}]\n"
	ratelimitFolder(t, root, "v1", strings.Replace(tenants, "NUMBER", "2", 1))
	t.Setenv("EXTAUTHZ_RATELIMIT_CONFIG", "auto")
	t.Setenv("RUNTIME_ROOT", filepath.Join(root, "current"))
	t.Setenv("RUNTIME_SUBDIRECTORY", "ratelimit")
	t.Setenv("REDIS_URL", "redis:6379")
	r := runService(t, `listen: {grpc: "127.0.0.1:0", http: "127.0.0.1:0", metrics: "127.0.0.1:0", admin: ""}`)
	first := codeOf(t, r)
	for want := range 2 { // of which one was taken
		status, body := r.post(t, `{"domain": "edge", "descriptors": [{"entries": [{"key": "tenant", "value": "acme"}]}]}`)
		if status != []int{http.StatusOK, http.StatusTooManyRequests}[want] || !strings.Contains(body, `"DAY"`) {
			t.Errorf("/json: %d %s", status, body)
		}
	}
	for verdict, n := range map[string]string{"allow": "2", "deny": "1"} {
		want := `extauthz_detailed_matches_total{entries="tenant=acme",rule="edge.tenant",verdict="` + verdict + `"} ` + n
		if _, page := r.get(t, r.Metrics, "/metrics"); !strings.Contains(page, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if first != codeOK {
		t.Errorf("the first is answered by %d", first)
	}
	if status, _ := r.get(t, r.HTTP, "/healthcheck"); status != http.StatusOK {
		t.Errorf("/healthcheck: %d", status)
	}
	if status, _ := r.get(t, r.HTTP, "/forward_auth"); status != http.StatusNotFound {
		t.Errorf("/forward_auth is answered, by %d", status)
	}

	ratelimitFolder(t, root, "v2", "domain: edge\ndescriptors: [{key: tenant, rate_limit: {unlimited: true}}]\n")
	until(t, "the changed configuration admits", func() bool { return codeOf(t, r) == codeOK })
	if _, page := r.get(t, r.Metrics, "/metrics"); strings.Contains(page, "tenant=acme") {
		t.Error("a rule that isn't counted by values any more still is")
	}

	ratelimitFolder(t, root, "v3", strings.Replace(tenants, "day", "eon", 1))
	until(t, "the broken configuration is refused", func() bool { return strings.Contains(r.log.String(), "the changed configuration is refused") })
	if !strings.Contains(r.log.String(), "edge.yaml:2:71: invalid rate limit unit 'eon'") {
		t.Error("the log doesn't say what is wrong")
	}
	if got := codeOf(t, r); got != codeOK {
		t.Errorf("the configuration before isn't in force: %d", got)
	}
	if !strings.Contains(r.log.String(), "rules=3") { // the descriptor, and two of limits that calls bring
		t.Error("the log doesn't say how many rules there are")
	}
}

// codeOf asks for the tenant acme.
func codeOf(t *testing.T, r *running) uint64 {
	t.Helper()
	code, err := ask(t.Context(), r.conn, "acme")
	mustDo(t, err)
	return code
}
