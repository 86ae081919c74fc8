package envoy

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	rlcommon "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/proto"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/internal/recent"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// keptRules have everything remembered that a request can name: whom, what, by
// which tier, beside the decision and in what is counted.
const keptRules = `
rules:
  - {name: shadow, enforce: 0%, entity: '${descriptor.tenant}', resource: '${descriptor.path}', default_limits: {n: 1/day}}
  - {name: broken, enforce: 0%, match: 'domain == "edge"', entity: '${descriptor.tenant}', consume: {n: 'int(descriptor.path)'}, default_limits: {n: 1/day}}
  - {name: limit, entity: '${descriptor.tenant}', resource: '${descriptor.path}', tier: '${descriptor.tier}', default_limits: {n: 1/day}}
  - name: check
    entity: ${request.headers["x-tenant"]}
    resource: ${request.url_path}
    tier: ${request.headers["x-tier"]}
    default_limits: {n: 1/day}
    on_allow: {headers: {x-entity: "${entity.id}"}}
`

// TestNothingKeptHoldsARequest: the texts of a request are parts of one, so that
// whatever is remembered of one of them has to be a copy. Each request here has
// names of its own and much beside them.
func TestNothingKeptHoldsARequest(t *testing.T) {
	const calls, size, most = 400, 60 << 10, 8 << 10
	c, report := config.Parse("extauthz.yaml", []byte(keptRules), config.Options{})
	if err := report.Err(); err != nil {
		t.Fatalf("%v\n%s", err, report)
	}
	for name, remote := range map[string]*ratelimit.Remote{"in the process": nil, "in a store": {MaxWritesPerSecond: -1}} {
		t.Run(name, func(t *testing.T) {
			store := embedstore.New(embedstore.Config{})
			limiter, err := ratelimit.New(ratelimit.Config{Store: store, Remote: remote})
			if err != nil {
				t.Fatal(err)
			}
			cache := hierarchy.NewCache(hierarchy.CacheConfig{Source: store})
			policy := &decision.Policy{
				Rules: c.Rules, Resolver: cache.Resolver(c.Namespace, c.Limits), InProcess: remote == nil,
				DynamicMetadata: true, ResponseHeaders: c.ResponseHeaders, Timeout: time.Minute,
			}
			if _, err := store.RegisterNamespace(t.Context(), c.Namespace, hierarchy.Cause{By: hierarchy.Actor{Caller: "test"}, At: time.Now()}); err != nil {
				t.Fatal(err)
			}
			remembered := recent.New(time.Now)
			decider := decision.New(limiter, remembered)
			services := New(Config{Decider: decider, Policy: func() *decision.Policy { return policy }})

			ask := func(i int, service any, wire []byte) {
				answer, err := handle(service, t.Context(), func(v any) error { return v.(*call).unmarshal(wire) }, nil)
				if err != nil {
					t.Fatalf("call %d: %v", i, err)
				}
				answer.(*reply).free()
			}
			before := heap()
			for i := range calls {
				tenant, path, tier := fmt.Sprintf("tenant-%d", i), fmt.Sprintf("/a path/%d", i), fmt.Sprintf("tier-%d", i)
				limit, err := proto.Marshal(&rlsv3.RateLimitRequest{Domain: "edge", Descriptors: []*rlcommon.RateLimitDescriptor{
					descriptor("tenant", tenant, "path", path, "tier", tier, "rest", strings.Repeat("x", size)),
				}})
				if err != nil {
					t.Fatal(err)
				}
				check, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
					Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
						Id: tenant, Path: path, Headers: map[string]string{"x-tenant": tenant, "x-tier": tier, "cookie": strings.Repeat("x", size)},
					}},
				}})
				if err != nil {
					t.Fatal(err)
				}
				for range 2 { // the second is denied
					ask(i, services.RateLimit, limit)
					ask(i, services.Authorization, check)
				}
			}
			decider.Wait()
			if grown := heap() - before; grown > calls*2*most {
				t.Errorf("%d KB more are held for each request of %d KB", grown>>10/(2*calls), size>>10)
			}
			if denials, _ := remembered.Denials(recent.Selection{}); len(denials) == 0 {
				t.Error("no denial is remembered")
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := limiter.Close(ctx); err != nil {
				t.Error(err)
			}
			cache.Close()
		})
	}
}
