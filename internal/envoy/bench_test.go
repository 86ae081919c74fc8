package envoy

import (
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

const benchRules = `
rules:
  - {name: open, match: 'domain == "open"', entity: "${descriptor.tenant}", default_limits: {requests: 10000/day:1000000000}}
  - {name: tight, match: 'domain == "tight"', entity: "${descriptor.tenant}", default_limits: {requests: 1/day}}
  - {name: http-open, match: 'request.url_path.startsWith("/open/")', entity: '${request.headers["x-tenant"]}', default_limits: {requests: 10000/day:1000000000}}
  - {name: http-tight, match: 'request.url_path.startsWith("/tight/")', entity: '${request.headers["x-tenant"]}', default_limits: {requests: 1/day}}
`

// BenchmarkCall is a call without its transport: read, decided, written.
func BenchmarkCall(b *testing.B) {
	c, report := config.Parse("", []byte(benchRules), config.Options{})
	if err := report.Err(); err != nil {
		b.Fatal(report)
	}
	limiter, err := ratelimit.New(ratelimit.Config{Store: embedstore.New(embedstore.Config{})})
	if err != nil {
		b.Fatal(err)
	}
	policy := &decision.Policy{Rules: c.Rules, Resolver: hierarchy.NewResolver(c.Namespace, c.Limits), InProcess: true, ResponseHeaders: c.ResponseHeaders, DynamicMetadata: c.DynamicMetadata}
	cfg := Config{Decider: decision.New(limiter, nil), Policy: func() *decision.Policy { return policy }}
	rls, authz, codec := newRateLimit(cfg), newExtAuthz(cfg), NewCodec(nil)

	call := func(b *testing.B, service answerer, wire []byte) {
		b.ReportAllocs()
		data := mem.BufferSlice{mem.SliceBuffer(wire)}
		read := func(v any) error { return codec.Unmarshal(data, v) }
		for b.Loop() {
			answer, err := service.answer(b.Context(), read, nil)
			if err != nil {
				b.Fatal(err)
			}
			out, err := codec.Marshal(answer)
			if err != nil {
				b.Fatal(err)
			}
			out.Free()
		}
	}
	for _, kind := range []string{"open", "tight"} {
		b.Run("rls/"+kind, func(b *testing.B) { call(b, rls, rateLimitWire(kind, "tenant", "acme")) })
		b.Run("ext_authz/"+kind, func(b *testing.B) {
			path := "/" + kind + "/1"
			wire, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
				Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
					Id: "14283501709013499195", Method: "GET", Path: path, Host: "127.0.0.1:18102", Scheme: "http", Protocol: "HTTP/1.1",
					Headers: map[string]string{":authority": "127.0.0.1:18102", ":method": "GET", ":path": path, ":scheme": "http", "x-tenant": "acme", "x-request-id": "8650b17f"},
				}},
			}})
			if err != nil {
				b.Fatal(err)
			}
			call(b, authz, wire)
		})
	}
}
