package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/extauthz/extauthz/internal/tlsfiles/tlstest"
)

const checksLine = "listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', trusted_proxies: [127.0.0.0/8], metrics: '127.0.0.1:0', admin: ''}\n"

const byHeader = `rules: [{name: api, entity: '${request.headers["x-tenant"]}', default_limits: {requests: 1/day}}]` + "\n"

// check asks a client's server about a request of a tenant.
func check(t *testing.T, c *http.Client, url string, headers ...string) (status int, err error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	mustDo(t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, errors.Join(err, response.Body.Close())
}

// checked wants a status.
func checked(t *testing.T, c *http.Client, url string, want int, headers ...string) {
	t.Helper()
	if got, err := check(t, c, url, headers...); got != want || err != nil {
		t.Errorf("%s %.80q: %d %v, want %d", url, headers, got, err, want)
	}
}

func TestChecksOverHTTP(t *testing.T) {
	r := runService(t, checksLine+byHeader)
	url := "http://" + r.HTTP
	checked(t, http.DefaultClient, url+"/check/", 200, "x-tenant", "acme")
	checked(t, http.DefaultClient, url+"/auth_request/", 403, "x-tenant", "acme")
	checked(t, http.DefaultClient, url+"/forward_auth", 429, "x-tenant", "acme", "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/")
	checked(t, http.DefaultClient, url+"/forward_auth", 400, "x-tenant", "acme")
	checked(t, http.DefaultClient, url+"/healthcheck", 200)
	checked(t, http.DefaultClient, url+"/json", 404)
	checked(t, http.DefaultClient, url+"/check/", 200, "x-tenant", strings.Repeat("x", 60<<10))
	// The answer is 431, which a client that is still writing may not get to see.
	if code, _ := check(t, http.DefaultClient, url+"/check/", "x-tenant", strings.Repeat("x", 80<<10)); code != http.StatusRequestHeaderFieldsTooLarge && code != 0 {
		t.Error("headers of 80 KiB are read")
	}
	for _, line := range []string{
		`extauthz_decisions_total{protocol="ext_authz",reason="exceeded",rule="api",source="store",verdict="deny"} 2`,
		`extauthz_refused_calls_total{protocol="ext_authz",reason="malformed"} 1`,
		`extauthz_refused_calls_total{protocol="ext_authz",reason="untrusted_proxy"} 0`,
	} {
		if !r.metric(t, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
}

// TestChecksStopInOrder: who is connected hears first that the service isn't
// serving, and is answered until it has left.
func TestChecksStopInOrder(t *testing.T) {
	r := runService(t, checksLine+byHeader)
	client := &http.Client{Transport: new(http.Transport)}
	checked(t, client, "http://"+r.HTTP+"/healthcheck", 200)
	r.cancel()
	until(t, "it isn't serving", func() bool {
		code, err := check(t, client, "http://"+r.HTTP+"/healthcheck")
		mustDo(t, err)
		return code == http.StatusServiceUnavailable
	})
	checked(t, client, "http://"+r.HTTP+"/check/", 200, "x-tenant", "acme")
	client.CloseIdleConnections()
	select {
	case err := <-r.ended:
		r.ended <- err
	case <-time.After(4 * time.Second):
		t.Error("it hasn't stopped though nobody is connected")
	}
}

// TestChecksOnASocket: who may open it is trusted.
func TestChecksOnASocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "xz") //nolint:usetesting // a socket's path must be short
	mustDo(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	r := runService(t, strings.Replace(checksLine, "http: '127.0.0.1:0', trusted_proxies: [127.0.0.0/8]", "http: 'unix:"+path+"'", 1)+byHeader)
	if r.HTTP != "unix:"+path {
		t.Errorf("serving on %q", r.HTTP)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	defer client.CloseIdleConnections()
	checked(t, client, "http://extauthz/forward_auth", 200, "x-tenant", "acme", "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/")
}

// TestChecksOverTLS: proxies show a certificate where there are roots for it.
func TestChecksOverTLS(t *testing.T) {
	ca, dir := tlstest.NewAuthority(t), t.TempDir()
	writePair(t, dir, ca.Issue(t, "server"), ca.PEM)
	for _, mutual := range []bool{false, true} {
		r := runService(t, secured(dir, checksLine, mutual))
		ask := func(certificates ...tls.Certificate) (int, error) {
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(ca, certificates...), ForceAttemptHTTP2: true}}
			defer client.CloseIdleConnections()
			return check(t, client, "https://"+r.HTTP+"/check/")
		}
		if code, err := ask(ca.Issue(t, "proxy").TLS(t)); code != http.StatusOK || err != nil {
			t.Errorf("mutual: %t: with a certificate: %d %v", mutual, code, err)
		}
		if code, err := ask(); (code != http.StatusOK || err != nil) != mutual {
			t.Errorf("mutual: %t: without a certificate: %d %v", mutual, code, err)
		}
		if code, err := check(t, http.DefaultClient, "http://"+r.HTTP+"/check/"); code == http.StatusOK {
			t.Errorf("plain text: %d %v", code, err)
		}
	}
}

func TestAPanicEndsOneRequest(t *testing.T) {
	panics := 0
	h := recovered(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a fault") }), slog.New(slog.DiscardHandler), func() { panics++ })
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/check/", nil))
	if w.Code != http.StatusInternalServerError || panics != 1 {
		t.Errorf("%d, counted %d", w.Code, panics)
	}
}
