package descriptors

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// message reads a message as Envoy's logs show it.
func message[M proto.Message](t testing.TB, m M, text string) M {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("reading the message: %v", err)
	}
	return m
}

func TestFromRateLimit(t *testing.T) {
	req := message(t, &rlsv3.RateLimitRequest{}, `{"domain":"llm","hitsAddend":7,"descriptors":[
		{"entries":[{"key":"tenant","value":"acme"},{"key":"tenant","value":"second"},{"key":"user","value":""}]},
		{"entries":[{"key":"tenant","value":"acme"}],"hitsAddend":"42"},
		{"hitsAddend":"0"},
		{"hitsAddend":"100","isNegativeHits":true}]}`)
	var got Request
	for i, want := range []Request{
		{Hits: 7, Entries: []Entry{{"tenant", "acme"}, {"tenant", "second"}, {"user", ""}}},
		{Hits: 42, Entries: []Entry{{"tenant", "acme"}}},
		{Hits: 0},
		{Hits: 100, Refund: true},
		{Hits: 7}, // no such descriptor
	} {
		FromRateLimit(req, i, &got)
		want.Protocol, want.Domain = ProtocolRateLimit, "llm"
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("descriptor %d (-want +got):\n%s", i, diff)
		}
	}
	FromRateLimit(&rlsv3.RateLimitRequest{Descriptors: []*ratelimitv3.RateLimitDescriptor{nil}}, 0, &got)
	if got.Hits != 1 {
		t.Errorf("without hits_addend: %d hits", got.Hits)
	}
}

func TestOverride(t *testing.T) {
	for _, c := range []struct {
		perUnit uint32
		unit    typev3.RateLimitUnit
		times   *wrapperspb.UInt32Value
		variant string
		limit   string
		bad     bool
	}{
		{42, typev3.RateLimitUnit_HOUR, nil, "HOURx1", "42/hour", false},
		{42, typev3.RateLimitUnit_MINUTE, wrapperspb.UInt32(1), "MINUTEx1", "42/min", false},
		{42, typev3.RateLimitUnit_MINUTE, wrapperspb.UInt32(0), "MINUTEx1", "42/min", false},
		{42, typev3.RateLimitUnit_MINUTE, wrapperspb.UInt32(5), "MINUTEx5", "42/5min", false},
		{1, typev3.RateLimitUnit_SECOND, nil, "SECONDx1", "1/s", false},
		{1, typev3.RateLimitUnit_DAY, nil, "DAYx1", "1/day", false},
		{1, typev3.RateLimitUnit_MONTH, nil, "MONTHx1", "1/30day", false},
		{1, typev3.RateLimitUnit_YEAR, nil, "YEARx1", "1/365day", false},
		{1, typev3.RateLimitUnit_YEAR, wrapperspb.UInt32(4_000_000_000), "YEARx4000000000", "", true},
		{1, typev3.RateLimitUnit_YEAR, wrapperspb.UInt32(9_139_726), "YEARx9139726", "", true}, // wraps to 266 days
		{0, typev3.RateLimitUnit_MINUTE, nil, "MINUTEx1", "", true},
		{4_000_000_000, typev3.RateLimitUnit_SECOND, nil, "SECONDx1", "", true},
		{1, typev3.RateLimitUnit_UNKNOWN, nil, "", "", true},
		{1, 99, nil, "", "", true},
	} {
		o := overrideOf(&ratelimitv3.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: c.perUnit, Unit: c.unit, UnitMultiplier: c.times})
		if o.Variant != c.variant || (o.Err != nil) != c.bad || !c.bad && o.Limit.Text() != c.limit {
			t.Errorf("%d per %s: %+v", c.perUnit, c.unit, o)
		}
	}
}

const loggedCheck = `{"attributes":{
	"source":{"address":{"socketAddress":{"address":"127.0.0.1","portValue":50408}},"principal":"spiffe://a","certificate":"-----BEGIN"},
	"destination":{"address":{"socketAddress":{"address":"127.0.0.2","portValue":18102}},"principal":"server"},
	"request":{"time":"2026-11-21T21:23:22.492832Z","http":{"id":"14283501709013499195","method":"GET",
		"headers":{":authority":"127.0.0.1:18102",":method":"GET","x-tenant":"acme","x-envoy-external-address":"203.0.113.9"},
		"path":"/orders/1?a=b&c=%20d","host":"127.0.0.1:18102","scheme":"http","protocol":"HTTP/1.1"}},
	"contextExtensions":{"resource":"orders"},
	"metadataContext":{"filterMetadata":{"probe.jwt":{"sub":"user-1","plan":"","n":3,"roles":["a","b"],"deep":{"x":true}}}},
	"routeMetadataContext":{"filterMetadata":{"extauthz":{"cost":2}}}}}`

func TestFromCheck(t *testing.T) {
	var req Request
	FromCheck(message(t, &authv3.CheckRequest{}, loggedCheck), &req)
	got := req
	got.Metadata, got.RouteMetadata = nil, nil
	want := Request{
		Protocol: ProtocolExtAuthz, Hits: 1, ID: "14283501709013499195", Method: "GET", Scheme: "http",
		Host: "127.0.0.1:18102", Path: "/orders/1?a=b&c=%20d",
		Began:             time.Date(2026, 11, 21, 21, 23, 22, 492_832_000, time.UTC).UnixNano(),
		Headers:           map[string]string{":authority": "127.0.0.1:18102", ":method": "GET", "x-tenant": "acme", "x-envoy-external-address": "203.0.113.9"},
		Source:            Peer{Address: "127.0.0.1", Principal: "spiffe://a", Certificate: "-----BEGIN"},
		Destination:       Peer{Address: "127.0.0.2", Principal: "server"},
		ContextExtensions: map[string]string{"resource": "orders"},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	rules := compile(t, rule("r", "match", `metadata["probe.jwt"].roles.exists(r, r == "b") && size(metadata["probe.jwt"]) == 4 && !has(metadata["probe.jwt"].plan)`,
		"entity", `${metadata["probe.jwt"].sub}-${metadata["probe.jwt"].deep.x}-${metadata["probe.jwt"].roles[1]}-${request.query_params.c.trim()}`,
		"consume", "route_metadata.extauthz.cost", "resource", "${request.url_path}"))
	if got, want := summary(rules.Evaluate(&req)), "charge by r: user-1-true-b-d /orders/1 each=2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestFromCheckBody reads the body in both of its forms, and only where it came.
func TestFromCheckBody(t *testing.T) {
	rules := compile(t,
		rule("model", "match", `request.body.contains('"model":"gpt-4"')`, "entity", "gpt-4"),
		rule("long", "match", "size(request.body) > 4096", "entity", "${sha256(request.body)}"),
		rule("some", "match", "has(request.body)", "entity", "some"),
		rule("none", "entity", "none"))
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		http *authv3.AttributeContext_HttpRequest
		want string
	}{
		{&authv3.AttributeContext_HttpRequest{Body: `{"model":"gpt-4"}`}, "charge by model: gpt-4 model each=1"},
		{&authv3.AttributeContext_HttpRequest{RawBody: []byte(`{"model":"gpt-4"}`)}, "charge by model: gpt-4 model each=1"},
		{&authv3.AttributeContext_HttpRequest{RawBody: []byte(long)}, fmt.Sprintf("charge by long: %x long each=1", sha256.Sum256([]byte(long)))[:len("charge by long: ")+32] + " long each=1"},
		{&authv3.AttributeContext_HttpRequest{RawBody: []byte("\xff\xfe")}, "charge by some: some some each=1"},
		{&authv3.AttributeContext_HttpRequest{Size: 17}, "charge by none: none none each=1"},
	} {
		var req Request
		FromCheck(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: c.http}}}, &req)
		if got := summary(rules.Evaluate(&req)); got != c.want {
			t.Errorf("%.60v: got %s, want %s", c.http, got, c.want)
		}
	}
}

func TestFromCheckRawHeaders(t *testing.T) {
	var req Request
	FromCheck(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/x.sock"}}}},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
				{Key: "X-Tenant", RawValue: []byte("a\xff")}, {Key: "x-a", RawValue: []byte("1")}, {Key: "x-a", Value: "2"},
			}},
		}},
	}}, &req)
	if diff := cmp.Diff(map[string]string{"x-tenant": "a\xff", "x-a": "1,2"}, req.Headers); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if req.Source.Address != "/run/x.sock" {
		t.Errorf("peer %q", req.Source.Address)
	}
	FromCheck(&authv3.CheckRequest{}, &req)
	if req.Headers != nil || req.Metadata != nil {
		t.Errorf("of an empty message: %+v", req)
	}
}

// fuzzRules read everything that a request has.
func fuzzRules(t testing.TB) *Rules {
	return compile(t,
		rule("a", "match", `descriptor.exists(k, descriptor[k].matches("^[a-z]+$")) || entries.all(e, e.key != e.value)`, "continue", "true",
			"entity", `${descriptor.user}-${entries[0].value}`, "resource", "${domain.substring(1)}", "consume", "hits * 3", "enforce", "50%"),
		rule("b", "match", `size(descriptor) > 1 && has(descriptor.user)`, "entity", "${sha256(descriptor.user)}", "consume.a", "hits", "consume.b", "0"),
		rule("c", "match", `request.headers.exists(h, request.headers[h].contains("x")) || isIP(client_ip) || request.query_params.exists(q, q == "a")`,
			"entity", `${client_ip}${request.query_params.a}`, "tier", "${metadata.f.tier}", "resource", "${request.url_path.replace('/', '-')}"),
		rule("d", "match", `inCIDR(client_ip, ["::/0", "0.0.0.0/0"])`, "entity", `${metadata.f.list[0]}`, "namespace", "${metadata.f.ns}",
			"consume", "int(context_extensions.cost)", "on_allow.x-a", "${request.path}${entity.id}", "on_deny.body", "${metadata.f.text}"))
}

func evaluateAnything(t *testing.T, rules *Rules, req *Request) {
	out := rules.Evaluate(req)
	traced, steps := rules.Trace(req)
	if summary(out) != summary(traced) || !req.Refund && len(steps) != len(rules.All()) {
		t.Fatalf("evaluated %s, traced %s in %d steps", summary(out), summary(traced), len(steps))
	}
	if (out.Action == Invalid) != (out.Err != nil) || out.Action == Charge && len(out.Charges) == 0 {
		t.Fatalf("%s with error %v and %d charges", out.Action, out.Err, len(out.Charges))
	}
	for _, c := range append(out.Charges, out.Shadows...) {
		if c.Query.Key == (ratelimit.Key{}) {
			t.Fatal("a charge without a key")
		}
	}
	for _, r := range rules.All() {
		for _, h := range r.AllowHeaders(req, EntityInfo{ID: "e"}) {
			if !h.Remove && !isHeaderValue(h.Value) {
				t.Fatalf("header %s: %q", h.Name, h.Value)
			}
		}
		r.Denial(req, EntityInfo{})
	}
}

// FuzzFromRateLimit decodes what a client may send, and evaluates it.
func FuzzFromRateLimit(f *testing.F) {
	rules, zero := fuzzRules(f), compile(f)
	for _, text := range []string{
		`{}`, `{"domain":"d","descriptors":[{"entries":[{"key":"user","value":"u"},{"key":"x"}],"hitsAddend":"18446744073709551615"}]}`,
		`{"descriptors":[{"entries":[{"key":"entity","value":"e"}],"limit":{"requestsPerUnit":42,"unit":"HOUR","unitMultiplier":3}},{"isNegativeHits":true}]}`,
	} {
		b, err := proto.Marshal(message(f, &rlsv3.RateLimitRequest{}, text))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m rlsv3.RateLimitRequest
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		var req Request
		for i := range min(len(m.GetDescriptors())+1, 10) {
			FromRateLimit(&m, i, &req)
			evaluateAnything(t, rules, &req)
			evaluateAnything(t, zero, &req)
		}
	})
}

// FuzzFromCheck decodes what a client may send, and evaluates it.
func FuzzFromCheck(f *testing.F) {
	rules, zero := fuzzRules(f), compile(f)
	for _, text := range []string{`{}`, loggedCheck, `{"attributes":{"metadataContext":{"filterMetadata":{"f":{"list":[1.5,null],"ns":"a b","tier":{}}}}}}`} {
		b, err := proto.Marshal(message(f, &authv3.CheckRequest{}, text))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m authv3.CheckRequest
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		var req Request
		FromCheck(&m, &req)
		evaluateAnything(t, rules, &req)
		evaluateAnything(t, zero, &req)
	})
}
