package envoy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const grpcRules = `
response_headers: [retry-after]
rules:
  - name: json
    match: domain == "json"
    entity: all
    default_limits: {n: 1/hour}
    on_deny: {body: '{"error":"slow down"}', content_type: application/json, headers: {x-reason: limit}}
  - name: text
    match: domain == "text"
    entity: all
    default_limits: {n: 1/hour}
    on_deny: {body: "slow down", content_type: text/plain; charset=utf-8, headers: {content-type: text/html}}
  - {name: usual, match: domain == "usual", entity: all, default_limits: {n: 1/hour}}
  - name: http-json
    match: request.path == "/json"
    entity: all
    default_limits: {n: 1/hour}
    on_deny: {body: '{"error":"slow down"}', content_type: application/json, headers: {x-reason: limit}}
  - name: http-text
    match: request.path == "/text"
    entity: all
    default_limits: {n: 1/hour}
    on_deny: {status: 503, body: "slow down", headers: {content-type: text/html, x-envoy-ratelimited: "false"}}
`

const usualMessage = "Rate limit exceeded; retry after 3600 s."

// TestGRPCClientsOfRateLimits: a descriptor that says that the client speaks
// gRPC has a message in place of a body, and no content type of ours.
func TestGRPCClientsOfRateLimits(t *testing.T) {
	for _, c := range []struct {
		domain, contentType, body string
		headers                   map[string]string
	}{
		{"json", "application/grpc", usualMessage, map[string]string{"retry-after": "3600", "x-reason": "limit"}},
		{"text", "application/grpc+proto", "slow down", map[string]string{"retry-after": "3600"}},
		{"usual", "application/grpc", usualMessage, map[string]string{"retry-after": "3600"}},
		{"usual", "application/json", "", map[string]string{"retry-after": "3600"}},
		{"usual", "", "", map[string]string{"retry-after": "3600"}},
		{"json", "text/plain", `{"error":"slow down"}`, map[string]string{"retry-after": "3600", "x-reason": "limit", "content-type": "application/json"}},
	} {
		w := newWorld(t, grpcRules)
		d := descriptor("route", "a", "content-type", c.contentType)
		w.limit(t, c.domain, d)
		got := w.limit(t, c.domain, d)
		headers := map[string]string{}
		for _, h := range got.GetResponseHeadersToAdd() {
			headers[h.GetKey()] = h.GetValue()
		}
		if diff := cmp.Diff(c.headers, headers); diff != "" || string(got.GetRawBody()) != c.body {
			t.Errorf("%s to %q: body %q, want %q; headers (-want +got):\n%s", c.domain, c.contentType, got.GetRawBody(), c.body, diff)
		}
	}
}

// TestGRPCClientsOfChecks are told by grpc-status and message.
func TestGRPCClientsOfChecks(t *testing.T) {
	for _, c := range []struct {
		path, contentType, body string
		headers                 map[string]string
	}{
		{"/json", "application/grpc", usualMessage, map[string]string{
			"retry-after": "3600", "x-reason": "limit", "grpc-status": "8", "x-envoy-ratelimited": "true",
		}},
		{"/text", "application/grpc", "slow down", map[string]string{"retry-after": "3600", "grpc-status": "14", "x-envoy-ratelimited": "false"}},
		{"/text", "", "slow down", map[string]string{"retry-after": "3600", "content-type": "text/html", "x-envoy-ratelimited": "false"}},
	} {
		w := newWorld(t, grpcRules)
		w.check(t, c.path)
		got := w.check(t, c.path, "content-type", c.contentType).GetDeniedResponse()
		if diff := cmp.Diff(c.headers, headersOf(t, got.GetHeaders())); diff != "" || got.GetBody() != c.body {
			t.Errorf("%s to %q: body %q, want %q; headers (-want +got):\n%s", c.path, c.contentType, got.GetBody(), c.body, diff)
		}
	}
}
