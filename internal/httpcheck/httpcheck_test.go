package httpcheck

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/internal/envoy"
)

const rules = `
no_match: deny
response_headers: [retry-after, ratelimit]
rules:
  - {name: health, match: 'request.url_path == "/healthz"', action: allow}
  - {name: closed, match: 'request.url_path == "/closed"', action: deny}
  - {name: broken, match: 'request.url_path == "/broken" && int(request.headers["x-n"]) > 0', action: allow}
  - name: own
    match: request.url_path == "/own"
    entity: ${request.headers["x-tenant"]}
    default_limits: {requests: 1/min}
    on_deny: {status: 503, body: '{"error":"slow down"}', content_type: application/problem+json, headers: {x-reason: limit, retry-after: "7"}}
  - name: api
    entity: ${request.headers["x-tenant"]}
    default_limits: {requests: 1/min}
    on_allow: {headers: {x-tenant-tier: "${entity.tier}", x-tenant-id: "${entity.id}"}}
limits:
  tiers: {gold: {limits: {requests: 1/min}}}
  entities: {acme: {tier: gold}}
`

// answers are the headers of an answer that are about the decision.
func answers(r reply) map[string]string {
	all := map[string]string{}
	for name := range r.header {
		switch name {
		case "Date", "Content-Length", "Connection":
		default:
			all[strings.ToLower(name)] = r.header.Get(name)
		}
	}
	return all
}

// with is a map with more in it.
func with(headers map[string]string, more ...string) map[string]string {
	all := maps.Clone(headers)
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

// endpoints ask about a GET of a path.
var endpoints = map[string]func(t testing.TB, w *world, path string, headers ...string) reply{
	"/check": func(t testing.TB, w *world, path string, headers ...string) reply {
		return w.get(t, "/check"+path, headers...)
	},
	"/auth_request": func(t testing.TB, w *world, path string, headers ...string) reply {
		return w.get(t, "/auth_request"+path, headers...)
	},
	"/forward_auth": func(t testing.TB, w *world, path string, headers ...string) reply {
		return w.get(t, "/forward_auth?x=y", append(headers, "X-Forwarded-Method", "GET", "X-Forwarded-Uri", path)...)
	},
}

// TestAnswers has each endpoint give the same decisions, in its proxy's words.
func TestAnswers(t *testing.T) {
	json := map[string]string{"content-type": "application/json"}
	left := map[string]string{"ratelimit": `"requests";r=0;t=60`}
	exceeded := with(json, "x-envoy-ratelimited", "true", "retry-after", "60", "ratelimit", `"requests";r=0;t=60`)
	own := with(left, "content-type", "application/problem+json", "retry-after", "7", "x-reason", "limit")
	for name, tc := range map[string]struct {
		path, tenant string
		before       int // requests before the one that is looked at
		status       int
		headers      map[string]string
		body         string // the beginning
		removed      string // what Envoy is told to remove
	}{
		"allowed":                   {"/", "acme", 0, 200, with(left, "x-tenant-tier", "gold", "x-tenant-id", "acme"), "", ""},
		"allowed, a header removed": {"/", "small", 0, 200, with(left, "x-tenant-id", "small"), "", "x-tenant-tier"},
		"allowed by a rule":         {"/healthz?x", "acme", 0, 200, map[string]string{}, "", "x-tenant-id,x-tenant-tier"},
		"over":                      {"/?q=1", "acme", 1, 429, exceeded, `{"error":"rate_limit_exceeded"`, ""},
		"over, own words":           {"/own", "acme", 1, 503, own, `{"error":"slow down"}`, ""},
		"denied by a rule":          {"/closed", "acme", 0, 403, json, `{"error":"denied"`, ""},
		"invalid":                   {"/broken", "acme", 0, 400, json, `{"error":"invalid"`, ""},
	} {
		for endpoint, ask := range endpoints {
			t.Run(name+endpoint, func(t *testing.T) {
				w := newWorld(t, rules, loopback...)
				for range tc.before {
					if r := ask(t, w, tc.path, "x-tenant", tc.tenant); r.status != http.StatusOK {
						t.Fatalf("before: %d %s", r.status, r.body)
					}
				}
				status, headers := tc.status, tc.headers
				switch {
				case endpoint == "/check" && tc.removed != "":
					headers = with(headers, "x-envoy-auth-headers-to-remove", tc.removed)
				case endpoint == "/auth_request" && status != http.StatusOK:
					status, headers = 403, with(headers, "x-ratelimit-status", strconv.Itoa(status))
				}
				got := ask(t, w, tc.path, "x-tenant", tc.tenant, "x-n", "many")
				if got.status != status || !strings.HasPrefix(got.body, tc.body) || (got.body == "") != (tc.body == "") {
					t.Errorf("%d %q, want %d %q", got.status, got.body, status, tc.body)
				}
				if diff := cmp.Diff(headers, answers(got)); diff != "" {
					t.Errorf("headers (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestRetryAfterIsExact(t *testing.T) {
	w := newWorld(t, rules)
	for _, step := range []struct {
		milliseconds int64
		status       int
		retryAfter   string
	}{{0, 200, ""}, {0, 429, "60"}, {58_999, 429, "2"}, {1, 429, "1"}, {999, 429, "1"}, {1, 200, ""}} {
		w.clock.Add(step.milliseconds)
		r := w.get(t, "/check/", "x-tenant", "acme")
		if r.status != step.status || r.header.Get("Retry-After") != step.retryAfter {
			t.Errorf("after %d ms more: %d, Retry-After %q, want %d, %q", step.milliseconds, r.status, r.header.Get("Retry-After"), step.status, step.retryAfter)
		}
	}
}

// TestStoreDown has on_unavailable answer; where it is error nginx must not take
// the answer as a denial.
func TestStoreDown(t *testing.T) {
	for fallback, want := range map[string]struct {
		status, nginx int
		retryAfter    string
	}{
		"error": {503, 503, ""},
		"allow": {200, 200, ""},
		"deny":  {503, 403, "1"},
	} {
		w := newWorld(t, "on_unavailable: "+fallback+rules, loopback...)
		w.store.down.Store(true)
		for target, status := range map[string]int{"/check/": want.status, "/auth_request/": want.nginx, "/forward_auth": want.status} {
			r := w.get(t, target, "x-tenant", "acme", "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/")
			if r.status != status || r.header.Get("Retry-After") != want.retryAfter {
				t.Errorf("%s: %s: %d %v, want %d and Retry-After %q", fallback, target, r.status, r.header, status, want.retryAfter)
			}
			if ofDenial := r.header.Get("X-Ratelimit-Status"); (ofDenial != "") != (status == 403) {
				t.Errorf("%s: %s: x-ratelimit-status is %q", fallback, target, ofDenial)
			}
		}
	}
}

// TestWhatIsAsked compares what the service is asked with what Envoy would ask.
func TestWhatIsAsked(t *testing.T) {
	request := func(method, scheme, host, path, client string, headers ...string) *authv3.CheckRequest {
		all := map[string]string{
			":method": method, ":scheme": scheme, ":authority": host, ":path": path,
			"user-agent": "Go-http-client/1.1", "accept-encoding": "gzip",
		}
		for i := 0; i < len(headers); i += 2 {
			all[headers[i]] = headers[i+1]
		}
		c := new(authv3.CheckRequest)
		c.Attributes = &authv3.AttributeContext{Source: peerAt(client), Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: method, Scheme: scheme, Host: host, Path: path, Protocol: "HTTP/1.1", Headers: all,
		}}}
		return c
	}
	forwarded := []string{
		"X-Forwarded-For", "192.0.2.7", "X-Forwarded-For", "198.51.100.1, 127.0.0.9", "X-Forwarded-Proto", "https", "X-Real-Ip", "192.0.2.7",
		"Forwarded", "for=192.0.2.7", "X-Envoy-External-Address", "192.0.2.7", "x-tenant", "acme", "x-tenant", "globex", "Te", "trailers",
	}
	believed := []string{
		"x-tenant", "acme,globex", "x-forwarded-for", "192.0.2.7,198.51.100.1, 127.0.0.9", "x-forwarded-proto", "https", "x-real-ip", "192.0.2.7",
		"forwarded", "for=192.0.2.7",
	}
	for name, tc := range map[string]struct {
		trusted bool
		method  string
		target  string
		headers []string
		want    *authv3.CheckRequest
	}{
		"Envoy": {
			true, "POST", "/check/a//b/../%61|\"\xe9?x=%20", append(forwarded, "Host", "api.example:1"),
			request("POST", "https", "api.example:1", "/a//b/../%61|\""+envoy.Text("\xe9")+"?x=%20", "198.51.100.1", append(believed, "x-envoy-external-address", "192.0.2.7")...),
		},
		"Envoy that isn't trusted": {
			false, "GET", "/check/", append(forwarded, "Host", "api.example"),
			request("GET", "http", "api.example", "/", "127.0.0.1", "x-tenant", "acme,globex"),
		},
		"nginx": {
			true, "PUT", "/auth_request/x?y", append(forwarded, "Host", "api.example"),
			request("PUT", "https", "api.example", "/x?y", "198.51.100.1", believed...),
		},
		"nothing after the prefix": {
			false, "GET", "/auth_request?y", []string{"Host", "h"}, request("GET", "http", "h", "/?y", "127.0.0.1"),
		},
		"Traefik": {
			true, "GET", "/forward_auth", append(forwarded, "Host", "extauthz:8080", "X-Forwarded-Method", "DELETE", "X-Forwarded-Host", "api.example", "X-Forwarded-Uri", "/a//b?c"),
			request("DELETE", "https", "api.example", "/a//b?c", "198.51.100.1",
				append(believed, "x-forwarded-method", "DELETE", "x-forwarded-host", "api.example", "x-forwarded-uri", "/a//b?c")...),
		},
		"not UTF-8": {
			true, "GET", "/forward_auth",
			[]string{"Host", "h", "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/\xff", "X-Forwarded-Host", "\xfe", "x-tenant", "\xfd"},
			request("GET", "http", envoy.Text("\xfe"), envoy.Text("/\xff"), "127.0.0.1",
				"x-forwarded-method", "GET", "x-forwarded-host", envoy.Text("\xfe"), "x-forwarded-uri", envoy.Text("/\xff"), "x-tenant", envoy.Text("\xfd")),
		},
	} {
		t.Run(name, func(t *testing.T) {
			trusted := loopback
			if !tc.trusted {
				trusted = nil
			}
			w := newWorld(t, "rules: [{name: all, match: request.path != '', action: allow}]", trusted...)
			if r := w.ask(t, tc.method, tc.target, nil, tc.headers...); r.status != http.StatusOK {
				t.Fatalf("%d %s", r.status, r.body)
			}
			if diff := cmp.Diff(tc.want, w.asked.last, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestDeadline: Envoy says how long it waits, and by then it has an answer.
func TestDeadline(t *testing.T) {
	w := newWorld(t, "no_match: allow", loopback...)
	for value, most := range map[string]time.Duration{
		"60000": time.Minute, "2147483647": 2147483647 * time.Millisecond, "": 0, "0": 0, "-1": 0, "1s": 0, "2147483648": 0,
	} {
		for endpoint, ask := range endpoints {
			want := most
			if endpoint != "/check" {
				want = 0
			}
			if r := ask(t, w, "/", "X-Envoy-Expected-Rq-Timeout-Ms", value); r.status != http.StatusOK {
				t.Errorf("%s, %q: %d", endpoint, value, r.status)
			}
			if left := w.asked.left; left > want || left < want-30*time.Second {
				t.Errorf("%s, %q: %v left, want %v", endpoint, value, left, want)
			}
		}
	}
}

// TestBodies: rules see what a proxy sends of a body, which has a bound.
func TestBodies(t *testing.T) {
	w := newWorld(t, `{no_match: deny, rules: [{name: known, match: 'request.body == "a\u0000b"', action: allow}]}`, loopback...)
	forwarded := []string{"X-Forwarded-Method", "POST", "X-Forwarded-Uri", "/"}
	for _, target := range []string{"/check/", "/auth_request/", "/forward_auth"} {
		for body, want := range map[string]int{"a\x00b": 200, "": 403, strings.Repeat("x", maxBody): 403, strings.Repeat("x", maxBody+1): 413} {
			if r := w.ask(t, http.MethodPost, target, strings.NewReader(body), forwarded...); r.status != want {
				t.Errorf("%s with %d bytes: %d, want %d", target, len(body), r.status, want)
			}
		}
	}
	short := "POST /check/ HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\nConnection: close\r\n\r\n"
	if got := w.raw(t, short); got != "HTTP/1.1 400 Bad Request" {
		t.Errorf("a length that is none: %q", got)
	}
	broken := "POST /check/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n"
	if got := w.raw(t, broken); got != "HTTP/1.1 400 Bad Request" {
		t.Errorf("a body that can't be read: %q", got)
	}
}

// TestNoDecision: what isn't asked as it should be is never admitted.
func TestNoDecision(t *testing.T) {
	trusted := newWorld(t, "no_match: allow", loopback...)
	stranger := newWorld(t, "no_match: allow")
	for name, tc := range map[string]struct {
		w       *world
		target  string
		headers []string
		status  int
	}{
		"a stranger":           {stranger, "/forward_auth", []string{"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/"}, 403},
		"no method":            {trusted, "/forward_auth", []string{"X-Forwarded-Uri", "/"}, 400},
		"no path":              {trusted, "/forward_auth", []string{"X-Forwarded-Method", "GET"}, 400},
		"a path without /":     {trusted, "/forward_auth", []string{"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "x"}, 400},
		"two paths":            {trusted, "/forward_auth", []string{"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/a", "X-Forwarded-Uri", "/b"}, 400},
		"below /forward_auth":  {trusted, "/forward_auth/", []string{"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/"}, 404},
		"another prefix":       {trusted, "/checks/", nil, 404},
		"nothing":              {trusted, "/", nil, 404},
		"a path that leads up": {trusted, "/x/../check/", nil, 404},
		"all is well":          {trusted, "/forward_auth", []string{"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/"}, 200},
	} {
		if r := tc.w.get(t, tc.target, tc.headers...); r.status != tc.status || r.status != 200 && r.body == "" {
			t.Errorf("%s: %d %q, want %d", name, r.status, r.body, tc.status)
		}
	}
	for request, want := range map[string]string{
		"GET http://other/check/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":  "HTTP/1.1 200 OK",
		"GET http://other/checks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":  "HTTP/1.1 404 Not Found",
		"GET /check/ HTTP/1.1\r\nConnection: close\r\n\r\n":                         "HTTP/1.1 400 Bad Request: missing required Host header",
		"GET /check/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":           "HTTP/1.1 400 Bad Request",
		"CONNECT /check/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":          "HTTP/1.1 200 OK",
		"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\nConnection: close\r\n\r\n":          "HTTP/1.1 404 Not Found",
		"GET /check/ HTTP/1.1\r\nHost: x\r\nA: a\x00b\r\nConnection: close\r\n\r\n": "HTTP/1.1 400 Bad Request",
	} {
		if got := trusted.raw(t, request); got != want {
			t.Errorf("%q: %q, want %q", request, got, want)
		}
	}
}

// TestEndpointsThatAreOff: a service that isn't given isn't asked.
func TestEndpointsThatAreOff(t *testing.T) {
	serving := false
	h := Handler(Config{Serving: func() bool { return serving }})
	get := func(target string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
		return w.Code
	}
	for _, target := range []string{"/check/", "/forward_auth", "/auth_request/", "/json"} {
		if code := get(target); code != http.StatusNotFound {
			t.Errorf("%s: %d", target, code)
		}
	}
	if code := get("/healthcheck"); code != http.StatusServiceUnavailable {
		t.Errorf("/healthcheck of what isn't serving: %d", code)
	}
	serving = true
	if code := get("/healthcheck?x"); code != http.StatusOK {
		t.Errorf("/healthcheck: %d", code)
	}
}

// TestAnyRequestGetsADecisionOrARefusal sends anything that HTTP can bring.
func TestAnyRequestGetsADecisionOrARefusal(t *testing.T) {
	w := newWorld(t, rules, loopback...)
	text := func(most int) *rapid.Generator[string] {
		return rapid.Map(rapid.SliceOfN(rapid.ByteRange(0x20, 0xff), 0, most), func(b []byte) string { return strings.ReplaceAll(string(b), "\x7f", "") })
	}
	names := rapid.SampledFrom([]string{"X-Forwarded-For", "X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Tenant", "X-N", "Content-Type", "Host"})
	rapid.Check(t, func(rt *rapid.T) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.RemoteAddr = rapid.SampledFrom([]string{"127.0.0.1:1", "192.0.2.1:1", "[::1]:1", "@", ""}).Draw(rt, "peer")
		r.Method = rapid.SampledFrom([]string{"GET", "HEAD", "X", ""}).Draw(rt, "method")
		r.RequestURI = rapid.SampledFrom([]string{"/check", "/auth_request", "/forward_auth", "/json", ""}).Draw(rt, "endpoint") + text(50).Draw(rt, "target")
		for range rapid.IntRange(0, 8).Draw(rt, "headers") {
			r.Header.Add(names.Draw(rt, "name"), rapid.OneOf(text(300), rapid.Just("/"), rapid.Just("GET")).Draw(rt, "value"))
		}
		got := httptest.NewRecorder()
		Handler(Config{Authorization: w.asked, Trusted: loopback, Serving: func() bool { return true }}).ServeHTTP(got, r)
		switch got.Code {
		case 200, 400, 403, 404, 429, 503:
		default:
			rt.Fatalf("%d %s", got.Code, got.Body)
		}
		if got.Code == http.StatusOK && w.asked.last == nil {
			rt.Fatal("admitted, and nobody was asked")
		}
		w.asked.last = nil
	})
}
