package descriptors

import (
	"testing"
)

// jwt is metadata as Envoy's jwt_authn filter sets it.
func jwt(r *Request, claims Object) *Request {
	r.Metadata = Object{"envoy.filters.http.jwt_authn": Object{"payload": claims}}
	return r
}

func extensions(r *Request, pairs ...string) *Request {
	r.ContextExtensions = map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		r.ContextExtensions[pairs[i]] = pairs[i+1]
	}
	return r
}

func principals(source, destination string) *Request {
	r := check("GET", "/")
	r.Source.Principal, r.Destination.Principal = source, destination
	return r
}

const tenantClaim = `${metadata["envoy.filters.http.jwt_authn"].payload.tenant}`

// TestExamples has the rules of ten users, and what their comments say.
func TestExamples(t *testing.T) {
	type want struct {
		req *Request
		out string
	}
	for _, example := range []struct {
		name  string
		ip    string
		rules []RuleSource
		wants []want
	}{
		{
			name: "quickstart", ip: "x-envoy-external-address",
			rules: []RuleSource{
				rule("api", "entity", `${sha256(request.headers["x-api-key"])}`, "default_limits.requests", "5/min"),
				rule("anonymous", "entity", "${client_ip}", "default_limits.requests", "1/min"),
			},
			wants: []want{
				{check("GET", "/", "x-api-key", "k1"), "charge by api: 6ab9f1eb8f7d3388f4f9d586f66e99fd api each=1 requests:5/min"},
				{check("GET", "/"), "charge by anonymous: 192.0.2.1 anonymous each=1 requests:1/min"},
				{check("GET", "/", "x-api-key", ""), "charge by anonymous: 192.0.2.1 anonymous each=1 requests:1/min"},
				{check("GET", "/", "x-envoy-external-address", "203.0.113.9"), "charge by anonymous: 203.0.113.9 anonymous each=1 requests:1/min"},
				{check("GET", "/", "x-envoy-external-address", "nonsense"), "charge by anonymous: 192.0.2.1 anonymous each=1 requests:1/min"},
				{descriptor("edge", "a", "b"), "no_match"},
			},
		},
		{
			name: "rls",
			rules: []RuleSource{rule("api", "match", `domain == "edge" && has(descriptor.api_key)`,
				"entity", "${descriptor.api_key}", "resource", "${descriptor.route}", "default_limits.requests", "5/min")},
			wants: []want{
				{descriptor("edge", "api_key", "k", "route", "r"), "charge by api: k r each=1 requests:5/min"},
				{withHits(descriptor("edge", "api_key", "k", "route", "r"), 7), "charge by api: k r each=7 requests:5/min"},
				{withHits(descriptor("edge", "api_key", "k", "route", "r"), 0), "charge by api: k r each=0 requests:5/min"},
				{descriptor("edge", "api_key", "k"), "no_match"},
				{descriptor("other", "api_key", "k", "route", "r"), "no_match"},
				{descriptor("edge", "route", "r"), "no_match"},
			},
		},
		{
			name: "saas plans",
			rules: []RuleSource{rule("api", "entity", tenantClaim,
				"tier", `${metadata["envoy.filters.http.jwt_authn"].payload.plan}`,
				"resource", "${context_extensions.resource}", "on_allow.x-tier", "${entity.tier}")},
			wants: []want{
				{jwt(extensions(check("GET", "/"), "resource", "search"), Object{"tenant": "globex", "plan": "pro"}), "charge by api: globex search each=1 tier=pro"},
				{jwt(extensions(check("GET", "/"), "resource", "search"), Object{"tenant": "globex"}), "charge by api: globex search each=1"},
				{jwt(extensions(check("GET", "/"), "resource", "search"), Object{"tenant": 42.0}), "charge by api: 42 search each=1"},
				{jwt(extensions(check("GET", "/"), "resource", "search"), Object{"tenant": 4.5}), "invalid by api"},
				{jwt(extensions(check("GET", "/"), "resource", "search"), Object{"tenant": nil}), "invalid by api"},
				{jwt(extensions(check("GET", "/"), "resource", "search"), Object{"plan": "pro"}), "no_match"},
				{extensions(check("GET", "/"), "resource", "search"), "no_match"},
			},
		},
		{
			name: "llm",
			rules: []RuleSource{
				rule("settle", "match", `domain == "llm" && descriptor.phase == "settle"`, "entity", "${descriptor.user}",
					"resource", "${descriptor.model}", "consume.tpm", "hits", "settle", "true"),
				rule("chat", "match", `domain == "llm" && has(descriptor.user)`, "entity", "${descriptor.user}",
					"resource", "${descriptor.model}", "consume.rpm", "1", "consume.tpm", "0"),
			},
			wants: []want{
				{withHits(descriptor("llm", "user", "alice", "model", "gpt-4", "phase", "settle"), 420), "charge by settle: alice gpt-4 tpm=420 settle"},
				{descriptor("llm", "user", "alice", "model", "gpt-4"), "charge by chat: alice gpt-4 rpm=1 tpm=0"},
				{withHits(descriptor("llm", "user", "alice", "model", "gpt-4", "phase", "settle"), 2e15), "invalid by settle"},
				{descriptor("llm", "model", "gpt-4"), "no_match"},
			},
		},
		{
			name: "llm claims",
			rules: []RuleSource{
				rule("org-settle", "match", `descriptor.phase == "settle"`, "continue", "true", "entity", "org-${descriptor.org}",
					"tier", "org", "resource", "${descriptor.model}", "consume.tpm", "hits", "settle", "true"),
				rule("user-settle", "match", `descriptor.phase == "settle"`, "entity", "user-${descriptor.user}",
					"tier", "user", "resource", "${descriptor.model}", "consume.tpm", "hits", "settle", "true"),
				rule("org", "match", "!has(descriptor.phase)", "continue", "true", "entity", "org-${descriptor.org}",
					"tier", "org", "resource", "${descriptor.model}", "consume.rpm", "1", "consume.tpm", "0"),
				rule("user", "match", "!has(descriptor.phase)", "entity", "user-${descriptor.user}",
					"tier", "user", "resource", "${descriptor.model}", "consume.rpm", "1", "consume.tpm", "0"),
			},
			wants: []want{
				{
					withHits(descriptor("llm", "org", "acme", "user", "alice", "model", "gpt-4", "phase", "settle"), 9),
					"charge by user-settle: org-acme gpt-4 tpm=9 tier=org settle: user-alice gpt-4 tpm=9 tier=user settle",
				},
				{
					descriptor("llm", "org", "acme", "user", "alice", "model", "gpt-4"),
					"charge by user: org-acme gpt-4 rpm=1 tpm=0 tier=org: user-alice gpt-4 rpm=1 tpm=0 tier=user",
				},
				{descriptor("llm", "org", "acme", "model", "gpt-4"), "charge by org: org-acme gpt-4 rpm=1 tpm=0 tier=org"},
				{descriptor("llm", "org", "", "user", "", "model", "gpt-4"), "no_match"},
			},
		},
		{
			name: "costs",
			rules: []RuleSource{
				rule("search", "match", `request.url_path == "/search"`, "entity", `${request.headers["x-tenant"]}`,
					"resource", "api", "consume", "5", "default_limits.credits", "100/min"),
				rule("by-route", "match", "has(context_extensions.cost)", "entity", `${request.headers["x-tenant"]}`,
					"resource", "api", "consume", "int(context_extensions.cost)", "default_limits.credits", "100/min"),
				rule("rest", "entity", `${request.headers["x-tenant"]}`, "resource", "api", "default_limits.credits", "100/min"),
			},
			wants: []want{
				{check("GET", "/search?q=a", "x-tenant", "t"), "charge by search: t api each=5 credits:100/min"},
				{extensions(check("GET", "/x", "x-tenant", "t"), "cost", "3"), "charge by by-route: t api each=3 credits:100/min"},
				{extensions(check("GET", "/x", "x-tenant", "t"), "cost", "0"), "charge by by-route: t api each=0 credits:100/min"},
				{extensions(check("GET", "/x", "x-tenant", "t"), "cost", "-1"), "invalid by by-route"},
				{extensions(check("GET", "/x", "x-tenant", "t"), "cost", "many"), "invalid by by-route"},
				{extensions(check("GET", "/x", "x-tenant", "t"), "cost", ""), "charge by rest: t api each=1 credits:100/min"},
				{check("GET", "/x", "x-tenant", "t"), "charge by rest: t api each=1 credits:100/min"},
				{check("GET", "/x"), "no_match"},
			},
		},
		{
			name: "ip", ip: "x-envoy-external-address",
			rules: []RuleSource{
				rule("office", "match", `inCIDR(client_ip, ["10.0.0.0/8", "203.0.113.0/24", "2001:db8::/32"])`, "action", "allow"),
				rule("known", "entity", `${request.headers["x-user"]}`, "default_limits.requests", "100/min"),
				rule("anonymous", "entity", "${client_ip}", "default_limits.requests", "10/min:20"),
			},
			wants: []want{
				{check("GET", "/", "x-envoy-external-address", "203.0.113.7"), "allow by office"},
				{check("GET", "/", "x-envoy-external-address", "2001:DB8:0::1"), "allow by office"},
				{check("GET", "/", "x-envoy-external-address", "::ffff:10.1.2.3"), "allow by office"},
				{check("GET", "/", "x-user", "u"), "charge by known: u known each=1 requests:100/min"},
				{check("GET", "/", "x-envoy-external-address", "198.51.100.7"), "charge by anonymous: 198.51.100.7 anonymous each=1 requests:10/min:20"},
				{check("GET", "/", "x-envoy-external-address", "2001:0:0:0::0001"), "charge by anonymous: 2001::1 anonymous each=1 requests:10/min:20"},
			},
		},
		{
			name: "istio",
			rules: []RuleSource{rule("mesh", "match", `source.principal.startsWith("spiffe://cluster.local/ns/")`,
				"entity", "${source.principal}", "resource", "${destination.principal}", "default_limits.requests", "1000/min")},
			wants: []want{
				{
					principals("spiffe://cluster.local/ns/batch/sa/importer", "spiffe://cluster.local/ns/shop/sa/orders"),
					"charge by mesh: spiffe://cluster.local/ns/batch/sa/importer spiffe://cluster.local/ns/shop/sa/orders each=1 requests:1000/min",
				},
				{principals("spiffe://elsewhere/ns/batch", "spiffe://cluster.local/ns/shop/sa/orders"), "no_match"},
				{principals("", "spiffe://cluster.local/ns/shop/sa/orders"), "no_match"},
			},
		},
		{
			name: "ratelimit migration",
			rules: []RuleSource{
				rule("marketing-per-number", "match", `domain == "messaging" && size(descriptor) == 2 && descriptor.message_type == "marketing" && has(descriptor.to_number)`,
					"entity", "${descriptor.to_number}", "default_limits.requests", "5/day"),
				rule("per-number", "match", `domain == "messaging" && size(descriptor) == 1 && has(descriptor.to_number)`,
					"entity", "${descriptor.to_number}", "default_limits.requests", "100/day"),
				rule("database-write", "match", `domain == "messaging" && descriptor.database == "users" && descriptor.op.startsWith("w")`,
					"entity", "anyone", "default_limits.requests", "500/sec"),
				rule("internal", "match", `domain == "messaging" && descriptor.key == "internal"`, "action", "allow"),
			},
			wants: []want{
				{descriptor("messaging", "message_type", "marketing", "to_number", "+1"), "charge by marketing-per-number: +1 marketing-per-number each=1 requests:5/day"},
				{descriptor("messaging", "to_number", "+1"), "charge by per-number: +1 per-number each=1 requests:100/day"},
				{descriptor("messaging", "message_type", "", "to_number", "+1"), "charge by per-number: +1 per-number each=1 requests:100/day"},
				{descriptor("messaging", "message_type", "other", "to_number", "+1"), "no_match"},
				{descriptor("messaging", "database", "users", "op", "write"), "charge by database-write: anyone database-write each=1 requests:500/s"},
				{descriptor("messaging", "database", "users", "op", "read"), "no_match"},
				{descriptor("messaging", "key", "internal"), "allow by internal"},
			},
		},
		{
			name: "routing",
			rules: []RuleSource{rule("api", "entity", `${request.headers["x-tenant"]}`, "resource", "${context_extensions.resource}",
				"on_allow.x-tenant-tier", "${entity.tier}", "on_deny.status", "429",
				"on_deny.body", `{"error":"slow down"}`, "on_deny.content_type", "application/json")},
			wants: []want{
				{extensions(check("GET", "/", "x-tenant", "acme"), "resource", "orders"), "charge by api: acme orders each=1"},
				{extensions(check("GET", "/", "x-tenant", "a\xffb/#"), "resource", "orders"), "charge by api: a\xffb/# orders each=1"},
			},
		},
	} {
		t.Run(example.name, func(t *testing.T) {
			rules, errs, _ := Compile(example.rules, Options{Namespace: "default", ClientIP: Text{Value: example.ip}})
			if len(errs) > 0 {
				t.Fatalf("compiling: %v", errs)
			}
			for _, w := range example.wants {
				out := rules.Evaluate(w.req)
				if got := summary(out); got != w.out {
					t.Errorf("%+v\n got %s\nwant %s", w.req, got, w.out)
				}
				if (out.Err != nil) != (out.Action == Invalid) {
					t.Errorf("%s with error %v", out.Action, out.Err)
				}
			}
		})
	}
}
