package decision

import (
	"strconv"
	"testing"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// benchRules are, for each protocol, a limit that no benchmark exceeds and one
// that the first request of a tenant does.
var benchRules = []descriptors.RuleSource{
	{
		Name: text("open"), Match: text(`domain == "open"`), Entity: text("${descriptor.tenant}"),
		DefaultLimits: limits("requests", "10000/day:1000000000"),
	},
	{
		Name: text("tight"), Match: text(`domain == "tight"`), Entity: text("${descriptor.tenant}"),
		DefaultLimits: limits("requests", "1/day"),
	},
	{
		Name: text("http-open"), Match: text(`request.url_path.startsWith("/open/")`),
		Entity:        text(`${request.headers["x-tenant"]}`),
		DefaultLimits: limits("requests", "10000/day:1000000000"),
	},
	{
		Name: text("http-tight"), Match: text(`request.url_path.startsWith("/tight/")`),
		Entity:        text(`${request.headers["x-tenant"]}`),
		DefaultLimits: limits("requests", "1/day"),
	},
}

// benchCase is a kind of request, and whether all but its first are allowed.
type benchCase struct {
	name    string
	request func(tenant string) *descriptors.Request
	allowed bool
}

var benchCases = []benchCase{
	{"ratelimit/allowed", descriptorOf("open"), true},
	{"ratelimit/rejected", descriptorOf("tight"), false},
	{"ext_authz/allowed", httpOf("/open/items"), true},
	{"ext_authz/rejected", httpOf("/tight/items"), false},
}

func descriptorOf(domain string) func(tenant string) *descriptors.Request {
	return func(tenant string) *descriptors.Request {
		return &descriptors.Request{
			Protocol: descriptors.ProtocolRateLimit, Domain: domain, Hits: 1,
			Entries: []descriptors.Entry{{Key: "tenant", Value: tenant}, {Key: "path", Value: "/v1/items"}},
		}
	}
}

func httpOf(path string) func(tenant string) *descriptors.Request {
	return func(tenant string) *descriptors.Request {
		return &descriptors.Request{
			Protocol: descriptors.ProtocolExtAuthz, Method: "GET", Path: path, Hits: 1,
			ID: "14283501709013499195", Began: 1, // no two are attempts at one check
			Headers: map[string]string{":path": path, "user-agent": "curl/8.5.0", "accept": "*/*", "x-tenant": tenant},
		}
	}
}

// tenants are requests of so many tenants.
func (c *benchCase) tenants(n int) []*descriptors.Request {
	all := make([]*descriptors.Request, n)
	for i := range all {
		all[i] = c.request("tenant-" + strconv.Itoa(i))
	}
	return all
}

func compileBench(tb testing.TB) *descriptors.Rules {
	tb.Helper()
	rules, faults, _ := descriptors.Compile(benchRules, descriptors.Options{Namespace: "default"})
	if len(faults) > 0 {
		tb.Fatal(faults)
	}
	return rules
}

// BenchmarkEvaluate is what the rules alone take.
func BenchmarkEvaluate(b *testing.B) {
	rules := compileBench(b)
	for _, bc := range benchCases {
		b.Run(bc.name, func(b *testing.B) {
			request := bc.tenants(1)[0]
			b.ReportAllocs()
			for b.Loop() {
				if out := rules.Evaluate(request); out.Action != descriptors.Charge {
					b.Fatal(out)
				}
			}
		})
	}
}

// BenchmarkDecide is a whole decision, of neutral requests, on the in-process
// store: everything but gRPC and Envoy's messages.
func BenchmarkDecide(b *testing.B) {
	for _, bc := range benchCases {
		for _, tenants := range []int{1, 10_000} {
			b.Run(bc.name+"/"+strconv.Itoa(tenants)+"keys", func(b *testing.B) { benchDecide(b, &bc, tenants) })
		}
	}
}

func benchDecide(b *testing.B, bc *benchCase, tenants int) {
	limiter, err := ratelimit.New(ratelimit.Config{Store: embedstore.New(embedstore.Config{})})
	if err != nil {
		b.Fatal(err)
	}
	decider := New(limiter, nil)
	policy := &Policy{
		Rules: compileBench(b), Resolver: hierarchy.NewResolver("default", hierarchy.Document{}),
		DenyNoMatch: true, InProcess: true,
	}
	requests := bc.tenants(tenants)
	for i := range requests { // the first of each tenant is allowed
		if a := decider.Decide(b.Context(), policy, requests[i:i+1]); a.Verdict != Allow {
			b.Fatal(a.Verdict, a.Err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		i %= tenants
		requests[i].Began++
		if a := decider.Decide(b.Context(), policy, requests[i:i+1]); (a.Verdict == Allow) != bc.allowed {
			b.Fatal(a.Verdict, a.Err)
		}
	}
}
