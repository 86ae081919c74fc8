//go:build integration

package examples

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/integration/harness"
)

// The module's folder, that of the examples, and the files in one of those.
const (
	root   = "../.."
	folder = root + "/envoy-examples"

	exampleEnvoy   = "envoy.yaml"
	exampleService = "extauthz.yaml"
)

// startTimeout is how long a part gets to become ready.
const startTimeout = 60 * time.Second

// The ports of the examples' files, which all of them have.
const (
	portMetrics    = 9090
	portEnvoyAdmin = 9901
)

// binary is the service under test, ports are all that the tests use: set up
// once, read after.
var (
	binary string
	ports  harness.Ports
)

func TestMain(m *testing.M) {
	os.Exit(harness.WithService(root, func(path string) int {
		binary = path
		return m.Run()
	}))
}

// example is a running example.
type example struct {
	*harness.Example
	service *harness.Service
	envoy   *harness.Envoy
	client  *http.Client
}

// start starts the example of that name. Envoy's file is changed as told first.
func start(t *testing.T, name string, change ...func(string) string) *example {
	t.Helper()
	envoy := filepath.Join(folder, name, exampleEnvoy)
	if len(change) > 0 {
		text, err := os.ReadFile(envoy)
		if err != nil {
			t.Fatal(err)
		}
		for _, with := range change {
			text = []byte(with(string(text)))
		}
		envoy = filepath.Join(t.TempDir(), exampleEnvoy)
		if err := os.WriteFile(envoy, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return startFiles(t, envoy, filepath.Join(folder, name, exampleService))
}

// startFiles wants a service's file to be valid without a warning, and starts the
// service and Envoy with copies of both files.
func startFiles(t *testing.T, envoy, service string) *example {
	t.Helper()
	path := envoyBinary(t)
	e := serve(t, envoy, service)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	var err error
	e.envoy, err = harness.StartEnvoy(ctx, harness.EnvoyConfig{Binary: path, Config: e.Envoy, AdminPort: e.Port(portEnvoyAdmin), Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.envoy.Kill()
		if t.Failed() {
			t.Logf("Envoy's log:\n%s", e.envoy.Tail(40))
		}
	})
	return e
}

// envoyBinary finds Envoy, or skips the test and says why; where it has been
// fetched on purpose, in CI and under make, it fails.
func envoyBinary(t *testing.T) string {
	t.Helper()
	path, err := harness.FindEnvoy(root)
	if errors.Is(err, harness.ErrNoEnvoy) && os.Getenv("CI") == "" && os.Getenv("EXTAUTHZ_TOOLS") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// serve wants a service's file to be valid without a warning, and starts the
// service with a copy of it, beside one of a proxy's file.
func serve(t *testing.T, proxy, service string) *example {
	t.Helper()
	files, err := harness.CopyExample(proxy, service, t.TempDir(), &ports)
	if err != nil {
		t.Fatal(err)
	}
	e := &example{Example: files}
	validate(t, e.Service)

	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	e.service, err = harness.StartService(ctx, harness.ServiceConfig{Binary: binary, Config: e.Service, Metrics: e.addr(portMetrics)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.service.Kill()
		if t.Failed() {
			t.Logf("the service's log:\n%s", e.service.Tail(40))
		}
	})
	e.client = &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: 20 * time.Second}
	t.Cleanup(e.client.CloseIdleConnections)
	return e
}

// validate wants `extauthz validate` to find nothing in a file.
func validate(t *testing.T, file string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary, "validate", "-c", file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), ", 0 warnings") {
		t.Fatalf("validate: %v\n%s", err, out)
	}
}

// addr is the address of a port of the example's files.
func (e *example) addr(port int) string {
	return local(e.Port(port))
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// reply is what a client of Envoy sees.
type reply struct {
	status int
	header http.Header
	body   string
}

// ask asks Envoy at a port of the example's file; headers are names and values
// in turn.
func (e *example) ask(t *testing.T, port int, path string, headers ...string) reply {
	t.Helper()
	return e.send(t, http.MethodGet, port, path, headers...)
}

// send is ask with a method.
func (e *example) send(t *testing.T, method string, port int, path string, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+e.addr(port)+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return do(t, e.client, req)
}

// do sends a request and reads all of the answer.
func do(t *testing.T, client *http.Client, req *http.Request) reply {
	t.Helper()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{status: resp.StatusCode, header: resp.Header, body: string(body)}
}

// wantStatuses asks again and again, and compares the answers' statuses.
func (e *example) wantStatuses(t *testing.T, want []int, port int, path string, headers ...string) {
	t.Helper()
	var got []int
	for range want {
		got = append(got, e.ask(t, port, path, headers...).status)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s %q (-want +got):\n%s", path, headers, diff)
	}
}

// wantWait wants a Retry-After between the two, in seconds.
func wantWait(t *testing.T, r reply, least, most int) {
	t.Helper()
	n, err := strconv.Atoi(r.header.Get("Retry-After"))
	if err != nil || n < least || n > most {
		t.Errorf("%d with retry-after %q, want %d to %d seconds", r.status, r.header.Get("Retry-After"), least, most)
	}
}

// noFaults fails the test when Envoy counts that it could not ask the service.
func (e *example) noFaults(t *testing.T) {
	t.Helper()
	stats, err := e.envoy.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range stats {
		of := strings.Contains(name, "ratelimit") || strings.Contains(name, "ext_authz")
		what := name[strings.LastIndexByte(name, '.')+1:]
		if v != 0 && of && slices.Contains([]string{"error", "failure_mode_allowed", "invalid", "disabled", "ignored_dynamic_metadata"}, what) {
			t.Errorf("Envoy counts %s: %v", name, v)
		}
	}
	for _, name := range []string{"upstream_rq_timeout", "upstream_cx_connect_fail", "upstream_rq_pending_overflow"} {
		v, there := stats["cluster.extauthz."+name]
		if !there || v != 0 {
			t.Errorf("Envoy counts cluster.extauthz.%s: %v (%t)", name, v, there)
		}
	}
}

// eventually waits until ok says true, for ten seconds at most.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// TestEveryExampleIsDriven compares the folders with the tests: each folder has
// one that starts with its name.
func TestEveryExampleIsDriven(t *testing.T) {
	folders, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if !f.IsDir() {
			continue
		}
		for _, name := range []string{"README.md", exampleService} {
			if _, err := os.Stat(filepath.Join(folder, f.Name(), name)); err != nil {
				t.Errorf("%s has no %s", f.Name(), name)
			}
		}
		if !driven(t, f.Name()) {
			t.Errorf("no test starts %s", f.Name())
		}
	}
}

// driven reports whether some test here names an example.
func driven(t *testing.T, name string) bool {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, more...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `"`+name+`"`) || strings.Contains(string(text), "envoy-examples/"+name+"/") {
			return true
		}
	}
	return false
}
