package envoy

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const routing = `
no_match: deny
response_headers: [retry-after]
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
    default_limits: {requests: 2/min}
    on_allow: {headers: {x-tenant-tier: "${entity.tier}", x-tenant-id: "${entity.id}"}}
limits:
  tiers: {gold: {limits: {requests: 100/min}}}
  entities: {acme: {tier: gold}}
`

// headersOf gives headers by name; a name that is there twice is an error.
func headersOf(t *testing.T, options []*corev3.HeaderValueOption) map[string]string {
	t.Helper()
	headers := map[string]string{}
	for _, o := range options {
		if o.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("%s is appended", o.GetHeader().GetKey())
		}
		if _, twice := headers[o.GetHeader().GetKey()]; twice {
			t.Errorf("%s is set twice", o.GetHeader().GetKey())
		}
		headers[o.GetHeader().GetKey()] = o.GetHeader().GetValue()
	}
	return headers
}

func TestAllowSetsOrRemovesRoutingHeaders(t *testing.T) {
	w := newWorld(t, routing)
	for name, tc := range map[string]struct {
		path, tenant string
		set          map[string]string
		remove       []string
	}{
		"both":             {"/", "acme", map[string]string{"x-tenant-id": "acme", "x-tenant-tier": "gold"}, nil},
		"no tier":          {"/", "small", map[string]string{"x-tenant-id": "small"}, []string{"x-tenant-tier"}},
		"a rule with none": {"/healthz", "acme", map[string]string{}, []string{"x-tenant-id", "x-tenant-tier"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.check(t, tc.path, "x-tenant", tc.tenant, "x-tenant-tier", "platinum")
			if got.GetStatus().GetCode() != int32(codes.OK) || got.GetOkResponse() == nil {
				t.Fatalf("not allowed: %v", got)
			}
			if diff := cmp.Diff(tc.set, headersOf(t, got.GetOkResponse().GetHeaders())); diff != "" {
				t.Errorf("set (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.remove, got.GetOkResponse().GetHeadersToRemove()); diff != "" {
				t.Errorf("removed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDenial(t *testing.T) {
	for name, tc := range map[string]struct {
		path, contentType string
		before            int // calls before the one that is denied
		code              codes.Code
		status            typev3.StatusCode
		headers           map[string]string
	}{
		"exceeded":         {"/", "", 2, codes.ResourceExhausted, 429, map[string]string{"retry-after": "30", "content-type": "application/json", "x-envoy-ratelimited": "true"}},
		"exceeded in gRPC": {"/", "application/grpc+proto", 2, codes.ResourceExhausted, 429, map[string]string{"retry-after": "30", "grpc-status": "8", "x-envoy-ratelimited": "true"}},
		"on_deny": {"/own", "", 1, codes.Unavailable, 503, map[string]string{
			"retry-after": "7", "content-type": "application/problem+json", "x-reason": "limit",
		}},
		"a rule":  {"/closed", "", 0, codes.PermissionDenied, 403, map[string]string{"content-type": "application/json"}},
		"invalid": {"/broken", "", 0, codes.InvalidArgument, 400, map[string]string{"content-type": "application/json"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, routing)
			headers := []string{"x-tenant", "small", "x-n", "not a number", "content-type", tc.contentType}
			for range tc.before {
				if got := w.check(t, tc.path, headers...); got.GetOkResponse() == nil {
					t.Fatalf("denied too early: %v", got)
				}
			}
			got := w.check(t, tc.path, headers...)
			if got.GetStatus().GetCode() != int32(tc.code) || got.GetDeniedResponse().GetStatus().GetCode() != tc.status {
				t.Fatalf("%v, want code %d and status %d", got, tc.code, tc.status)
			}
			if diff := cmp.Diff(tc.headers, headersOf(t, got.GetDeniedResponse().GetHeaders())); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
			body := got.GetDeniedResponse().GetBody()
			if isJSON := json.Valid([]byte(body)); isJSON != (tc.contentType == "") {
				t.Errorf("body %s", body)
			}
		})
	}
}

func TestDenialBodyNamesLimitAndResourceAlone(t *testing.T) {
	w := newWorld(t, routing)
	for range 2 {
		w.check(t, "/", "x-tenant", "small")
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(w.check(t, "/", "x-tenant", "small").GetDeniedResponse().GetBody()), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"error": "rate_limit_exceeded", "message": "Rate limit exceeded; retry after 30 s.",
		"resource": "api", "limit": "requests", "retry_after_seconds": 30.0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNoRuleMatches(t *testing.T) {
	rule := "rules: [{name: one, match: 'request.url_path == \"/one\"', action: allow}]"
	if got := newWorld(t, rule).check(t, "/"); got.GetOkResponse() == nil {
		t.Errorf("no_match is allow: %v", got)
	}
	got := newWorld(t, "no_match: deny\n"+rule).check(t, "/")
	if got.GetDeniedResponse().GetStatus().GetCode() != typev3.StatusCode_Forbidden {
		t.Errorf("no_match: deny: %v", got)
	}
}

func TestUnavailableStoreInExtAuthz(t *testing.T) {
	rule := "rules: [{name: api, entity: '${request.headers[\"x-tenant\"]}', default_limits: {requests: 2/min}, on_deny: {status: 429}}]"
	w := newWorld(t, "on_unavailable: error\n"+rule)
	w.store.down.Store(true)
	unavailable := &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.Unavailable), Message: refusedUnavailable.text},
		HttpResponse: &authv3.CheckResponse_ErrorResponse{ErrorResponse: &authv3.DeniedHttpResponse{}},
	}
	if diff := cmp.Diff(unavailable, w.check(t, "/", "x-tenant", "acme"), protocmp.Transform()); diff != "" {
		t.Errorf("on_unavailable: error (-want +got):\n%s", diff)
	}
	w = newWorld(t, "on_unavailable: deny\n"+rule)
	w.store.down.Store(true)
	denied := w.check(t, "/", "x-tenant", "acme").GetDeniedResponse()
	if denied.GetStatus().GetCode() != typev3.StatusCode_ServiceUnavailable || headersOf(t, denied.GetHeaders())["retry-after"] != "1" {
		t.Errorf("on_unavailable: deny: %v, want 503 and retry-after 1", denied)
	}
	w = newWorld(t, "on_unavailable: allow\n"+rule)
	w.store.down.Store(true)
	if got := w.check(t, "/", "x-tenant", "acme"); got.GetOkResponse() == nil {
		t.Errorf("on_unavailable: allow: %v", got)
	}
}

// TestAttemptsOfEnvoy: a check that Envoy sends again, as it sent it before, is
// answered as before and costs nothing.
func TestAttemptsOfEnvoy(t *testing.T) {
	w := newWorld(t, routing)
	call := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Time: timestamppb.New(time.Unix(1_800_000_000, 492_832_000)),
		Http: &authv3.AttributeContext_HttpRequest{Id: "14283501709013499195", Path: "/", Headers: map[string]string{"x-tenant": "small"}},
	}}}
	for range 3 { // of 2 that the tenant has
		got, err := w.authz.Check(t.Context(), call)
		if err != nil || got.GetOkResponse() == nil {
			t.Fatalf("%v %v, want an admission", got, err)
		}
		if id := headersOf(t, got.GetOkResponse().GetHeaders())["x-tenant-id"]; id != "small" {
			t.Errorf("x-tenant-id is %q", id)
		}
	}
	call.Attributes.Request.Http.Id = "2"
	if got, err := w.authz.Check(t.Context(), call); err != nil || got.GetOkResponse() == nil {
		t.Errorf("%v %v, want the second of two", got, err)
	}
	call.Attributes.Request.Http.Id = "3"
	if got, err := w.authz.Check(t.Context(), call); err != nil || got.GetDeniedResponse() == nil {
		t.Errorf("%v %v, want a denial of the third", got, err)
	}
}

func TestACheckWhoseCallerHasGone(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	_, err := newExtAuthz(Config{}).Check(ctx, &authv3.CheckRequest{})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%v, want DEADLINE_EXCEEDED", err)
	}
}

func TestAnEmptyCheck(t *testing.T) {
	w := newWorld(t, routing)
	got, err := w.authz.Check(t.Context(), &authv3.CheckRequest{})
	if err != nil || got.GetDeniedResponse() == nil {
		t.Errorf("%v %v, want a denial: no rule takes it", got, err)
	}
}
