package descriptors

import (
	"testing"
)

// BenchmarkEvaluate measures the rules alone, from a neutral request to charges.
func BenchmarkEvaluate(b *testing.B) {
	llm := compile(b,
		rule("settle", "match", `domain == "llm" && descriptor.phase == "settle"`, "entity", "${descriptor.user}",
			"resource", "${descriptor.model}", "consume.tpm", "hits", "settle", "true"),
		rule("chat", "match", `domain == "llm" && has(descriptor.user)`, "entity", "${descriptor.user}",
			"resource", "${descriptor.model}", "consume.rpm", "1", "consume.tpm", "0"))
	keys := compile(b,
		rule("health", "match", `request.url_path == "/healthz" || inCIDR(client_ip, ["10.0.0.0/8"])`, "action", "allow"),
		rule("api", "entity", `${request.headers["x-tenant"]}`, "default_limits.requests", "5/min"))
	inCEL := compile(b,
		rule("chat", "match", `domain == "llm" && descriptor.user.matches("^[a-z]+$")`, "entity", "${descriptor.user}",
			"resource", "${descriptor.model}", "consume.rpm", "1", "consume.tpm", "0"))
	claims := compile(b, rule("api", "entity", tenantClaim, "resource", "api"))
	for _, c := range []struct {
		name  string
		rules *Rules
		req   *Request
	}{
		{"native/descriptor", llm, descriptor("llm", "user", "alice", "model", "gpt-4")},
		{"native/check", keys, check("GET", "/orders?a=b", "x-tenant", "acme")},
		{"native/claim", claims, jwt(check("GET", "/"), Object{"tenant": "acme"})},
		{"cel/descriptor", inCEL, descriptor("llm", "user", "alice", "model", "gpt-4")},
		{"zero configuration", compile(b), descriptor("llm", "entity", "alice", "resource", "gpt-4")},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if out := c.rules.Evaluate(c.req); out.Action != Charge {
					b.Fatal(summary(out))
				}
			}
		})
	}
}

// BenchmarkMatch measures a condition alone: native, and all in CEL.
func BenchmarkMatch(b *testing.B) {
	req := descriptor("llm", "user", "alice", "model", "gpt-4")
	for _, native := range []bool{true, false} {
		name := map[bool]string{true: "native", false: "cel"}[native]
		m := conditionFor(b, `domain == "llm" && has(descriptor.user)`, native)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			ev := newEvaluation(clientIP{}, newSANs())
			for b.Loop() {
				ev.begin(req, nil)
				if holds, err := m.holds(ev); !holds || err != nil {
					b.Fatal(holds, err)
				}
			}
		})
	}
}

// BenchmarkSANs reads the names of a certificate that is known, and of a new one.
func BenchmarkSANs(b *testing.B) {
	peer := Peer{Certificate: certificate(b, anyNames())}
	for name, s := range map[string]*sans{"known": newSANs(), "new": nil} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				from := s
				if from == nil {
					from = newSANs()
				}
				from.of(&peer)
			}
		})
	}
}
