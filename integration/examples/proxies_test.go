//go:build integration

package examples

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/extauthz/extauthz/integration/harness"
)

// The ports of the examples for other proxies than Envoy.
const (
	portHTTP    = 8080
	portProxy   = 10000
	portBackend = 10002
)

// proxyBinary finds nginx or Caddy, or skips the test and says why; in CI it fails.
func proxyBinary(t *testing.T, name string) string {
	t.Helper()
	path, err := harness.FindProxy(root, name)
	if errors.Is(err, harness.ErrNoProxy) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// proxy starts an example's service and the proxy by that name, with arguments
// for its file and for the folder that it is in.
func proxy(t *testing.T, name, file string, arguments func(file, folder string) []string) *example {
	t.Helper()
	path := proxyBinary(t, name)
	e := serve(t, filepath.Join(folder, name, file), filepath.Join(folder, name, exampleService))
	dir := filepath.Dir(e.Envoy)
	p, err := harness.Start(harness.Command{
		Name: name, Path: path, Args: arguments(e.Envoy, dir), Env: []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("the log of %s:\n%s", name, p.Tail(40))
		}
	})
	eventually(t, name+" answers", func() bool {
		resp, err := e.client.Get("http://" + e.addr(portBackend))
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	return e
}

// TestNginx drives nginx, with its folders for what is temporary moved.
func TestNginx(t *testing.T) {
	t.Parallel()
	e := proxy(t, "nginx", "nginx.conf", func(file, folder string) []string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var paths strings.Builder
		for _, of := range []string{"client_body", "proxy", "fastcgi", "scgi", "uwsgi"} {
			fmt.Fprintf(&paths, " %s_temp_path %s;", of, filepath.Join(folder, of))
		}
		moved := strings.Replace(string(text), "\nhttp {\n", "\nhttp {\n    access_log off;"+paths.String()+"\n", 1)
		if err := os.WriteFile(file, []byte(moved), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{"-p", folder, "-c", file, "-e", "stderr", "-g", "daemon off; master_process off; pid " + filepath.Join(folder, "nginx.pid") + ";"}
	})
	driveProxy(t, e, "")

	r := e.ask(t, portProxy, "/", "x-tenant", "initech")
	if r.header.Get("RateLimit") != `"requests";r=1;t=30` {
		t.Errorf("an admission's ratelimit is %q", r.header.Get("RateLimit"))
	}
	failsClosed(t, e)
}

// TestCaddy drives Caddy.
func TestCaddy(t *testing.T) {
	t.Parallel()
	e := proxy(t, "caddy", "Caddyfile", func(file, _ string) []string {
		return []string{"run", "--config", file, "--adapter", "caddyfile"}
	})
	driveProxy(t, e, "none")
	r := e.ask(t, portProxy, "/", "x-tenant", "globex")
	if !strings.Contains(r.body, `"retry_after_seconds"`) || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("a denial's body is %s %s, want the service's", r.header.Get("Content-Type"), r.body)
	}
	failsClosed(t, e)
}

// driveProxy does what a client of any of the proxies can do. noTier is what the
// backend is told of a tenant without a tier.
func driveProxy(t *testing.T, e *example, noTier string) {
	t.Helper()
	e.wantStatuses(t, []int{200, 200, 429}, portProxy, "/a//b?c=%20", "x-tenant", "globex")
	wantWait(t, e.ask(t, portProxy, "/", "x-tenant", "globex"), 28, 30)

	// The service sets what the backend gets to see, and removes what it doesn't set.
	for tenant, tier := range map[string]string{"acme": "gold", "hooli": noTier} {
		if r := e.ask(t, portProxy, "/", "x-tenant", tenant, "x-tier", "platinum"); r.body != "hello from the backend, tier "+tier+"\n" {
			t.Errorf("%s: %d %q, want the tier %q", tenant, r.status, r.body, tier)
		}
	}

	// Without a tenant it is the address, which clients can't choose.
	for i, want := range []int{200, 200, 429} {
		forged := fmt.Sprintf("203.0.113.%d", i)
		r := e.ask(t, portProxy, "/", "x-forwarded-for", forged, "x-real-ip", forged, "x-envoy-external-address", forged, "forwarded", "for="+forged)
		if r.status != want {
			t.Errorf("request %d without a tenant: %d, want %d", i, r.status, want)
		}
	}

	// Rules see method and path, whatever the client says that they are.
	forged := []string{"x-tenant", "globex", "x-forwarded-method", "GET", "x-forwarded-uri", "/healthz", "x-original-method", "GET", "x-original-uri", "/"}
	var got []int
	for range 2 {
		got = append(got, e.send(t, http.MethodPost, portProxy, "/uploads/1", forged...).status)
	}
	if !slices.Equal(got, []int{200, 429}) {
		t.Errorf("uploads: %d, want 200 and 429", got)
	}

	samples, err := e.service.Samples(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for rule, most := range map[string]float64{"api": 6, "anonymous": 3, "uploads": 2} {
		if n := samples.Family("extauthz_decisions_total", `protocol="ext_authz"`, `rule="`+rule+`"`); n != most {
			t.Errorf("the service counts %v decisions of the rule %s, want %v", n, rule, most)
		}
	}
}

// failsClosed has the service die.
func failsClosed(t *testing.T, e *example) {
	t.Helper()
	e.service.Kill()
	if r := e.ask(t, portProxy, "/", "x-tenant", "umbrella"); r.status != http.StatusServiceUnavailable || r.body != `{"error":"unavailable"}` {
		t.Errorf("without the service: %d %s", r.status, r.body)
	}
}

// traefik is what the example says of Traefik's configuration, by its
// documentation's names.
type traefik struct {
	EntryPoints map[string]struct{ Address string } `yaml:"entryPoints"`
	Providers   struct{ File struct{ Filename string } }

	HTTP struct {
		Middlewares map[string]struct {
			ForwardAuth struct {
				Address             string
				TrustForwardHeader  bool     `yaml:"trustForwardHeader"`
				AuthResponseHeaders []string `yaml:"authResponseHeaders"`
			} `yaml:"forwardAuth"`
		}
		Routers map[string]struct {
			Rule, Service string
			EntryPoints   []string `yaml:"entryPoints"`
			Middlewares   []string
		}
		Services map[string]struct {
			LoadBalancer struct{ Servers []struct{ URL string } } `yaml:"loadBalancer"`
		}
	}
}

// TestTraefik reads Traefik's files, and asks as its documentation says that it
// does: Traefik itself isn't here.
func TestTraefik(t *testing.T) {
	t.Parallel()
	e := serve(t, filepath.Join(folder, "traefik", "traefik.yaml"), filepath.Join(folder, "traefik", exampleService))
	var static, dynamic traefik
	strictly(t, e.Envoy, &static)
	strictly(t, filepath.Join(folder, "traefik", "dynamic.yaml"), &dynamic)
	if static.Providers.File.Filename != "dynamic.yaml" {
		t.Errorf("the file's name is %q", static.Providers.File.Filename)
	}
	router := dynamic.HTTP.Routers["api"]
	if len(router.EntryPoints) != 1 || len(router.Middlewares) != 1 || len(dynamic.HTTP.Services[router.Service].LoadBalancer.Servers) != 1 {
		t.Fatalf("the router is %+v", router)
	}
	middleware, ok := dynamic.HTTP.Middlewares[router.Middlewares[0]]
	auth := middleware.ForwardAuth
	if !ok || auth.TrustForwardHeader || auth.Address != fmt.Sprintf("http://127.0.0.1:%d/forward_auth", portHTTP) {
		t.Fatalf("the middleware is %+v", auth)
	}

	l, err := net.Listen("tcp", static.EntryPoints[router.EntryPoints[0]].Address)
	if err != nil {
		t.Fatal(err)
	}
	stand := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asTraefik(w, r, "http://"+e.addr(portHTTP)+"/forward_auth", auth.AuthResponseHeaders)
	}))
	_ = stand.Listener.Close() // it has one of its own
	stand.Listener = l
	stand.Start()
	defer stand.Close()
	driveProxy(t, e, "")
}

// strictly reads a file in which every key has to be known.
func strictly(t *testing.T, file string, into any) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	decoder := yaml.NewDecoder(f)
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// asTraefik asks an address about a request with the headers of Traefik's
// documentation, answers with what it refuses, and else as the example's backend.
func asTraefik(w http.ResponseWriter, r *http.Request, address string, copied []string) {
	ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, address, nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	ask.Header = r.Header.Clone()
	host, _, _ := strings.Cut(r.RemoteAddr, ":")
	for name, value := range map[string]string{
		"X-Forwarded-Method": r.Method, "X-Forwarded-Proto": "http", "X-Forwarded-Host": r.Host, "X-Forwarded-Uri": r.RequestURI, "X-Forwarded-For": host,
	} {
		ask.Header.Set(name, value)
	}
	answer, err := http.DefaultTransport.RoundTrip(ask)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
		return
	}
	for _, name := range copied {
		r.Header.Del(name)
		if values := answer.Header.Values(name); len(values) > 0 {
			r.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	_, _ = fmt.Fprintf(w, "hello from the backend, tier %s\n", r.Header.Get("X-Tier"))
}
