package envoy

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
)

const metadataRules = `
on_unavailable: allow
rules:
  - {name: trial, match: 'domain == "edge" && has(descriptor.tenant)', enforce: 0%, entity: '${descriptor.tenant}', default_limits: {n: 1/min}}
  - {name: strict, match: 'domain == "edge" && has(descriptor.tenant)', enforce: 0%, entity: '${descriptor.tenant}', default_limits: {n: 1/min}}
  - {name: edge, match: 'domain == "edge"', entity: '${descriptor.tenant}', resource: '${descriptor.path}', default_limits: {n: 2/min, wide: 100/min}}
  - {name: health, match: 'domain == "edge" && descriptor.health == "1"', action: allow}
  - {name: closed, match: 'domain == "edge" && descriptor.health == "2"', action: deny}
  - {name: web, match: 'request.path == "/"', entity: 'everyone', resource: 'web', default_limits: {n: 2/hour}}
  - {name: odd, match: 'request.path == "/odd"', entity: 'everyone', resource: 'odd', default_limits: {n: 2/90s}}
limits:
  entities: {off: {mode: disabled}}
`

// TestMetadata is what both services tell Envoy of their decisions, on allow and
// on deny: what is known, and nothing else.
func TestMetadata(t *testing.T) {
	w := newWorld(t, metadataRules)
	edge := func(tenant string) func() *structpb.Struct {
		return func() *structpb.Struct {
			return w.limit(t, "edge", descriptor("tenant", tenant, "path", "/v1")).GetDynamicMetadata()
		}
	}
	plain := func(key, value string) func() *structpb.Struct {
		return func() *structpb.Struct { return w.limit(t, "edge", descriptor(key, value)).GetDynamicMetadata() }
	}
	check := func(path string) func() *structpb.Struct {
		return func() *structpb.Struct { return w.check(t, path).GetDynamicMetadata() }
	}
	type fields = map[string]any
	about := func(left float64) fields {
		return fields{
			"rule": "edge", "entity": "acme", "resource": "/v1", "limit": "n", "remaining": left, "source": "store", "shadow": "trial,strict",
		}
	}
	web := func(left float64) fields {
		return fields{
			"rule": "web", "entity": "everyone", "resource": "web", "limit": "n", "remaining": left, "source": "store",
			"override": fields{"requests_per_unit": 2.0, "unit": "HOUR"},
		}
	}
	for _, c := range []struct {
		what string
		ask  func() *structpb.Struct
		want fields
	}{
		{"admitted", edge("acme"), about(1)},
		{"admitted again", edge("acme"), about(0)},
		{"denied", edge("acme"), about(0)},
		{"disabled", edge("off"), fields{"rule": "edge", "entity": "off", "resource": "/v1", "source": "store", "shadow": "trial,strict"}},
		{"a rule that allows", plain("health", "1"), fields{"rule": "health"}},
		{"a rule that denies", plain("health", "2"), fields{"rule": "closed"}},
		{"no match", plain("other", "1"), nil},
		{"a check that is admitted", check("/"), web(1)},
		{"a check that is admitted again", check("/"), web(0)},
		{"a check that is denied", check("/"), web(0)},
		{"a limit that can't be an override", check("/odd"), fields{
			"rule": "odd", "entity": "everyone", "resource": "odd", "limit": "n", "remaining": 1.0, "source": "store",
		}},
		{"no match of a check", check("/other"), nil},
	} {
		got := c.ask()
		if got == nil != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		} else if diff := cmp.Diff(c.want, fields(got.AsMap())); got != nil && diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}

	w.store.down.Store(true)
	if diff := cmp.Diff(fields{"rule": "edge", "entity": "acme", "resource": "/v1", "source": "fallback", "shadow": "trial,strict"}, edge("acme")().AsMap()); diff != "" {
		t.Errorf("the fallback (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(fields{"rule": "web", "entity": "everyone", "resource": "web", "source": "fallback"}, check("/")().AsMap()); diff != "" {
		t.Errorf("the fallback of a check (-want +got):\n%s", diff)
	}
}

// TestMetadataIsText whatever the entity is: one that is cut within a character
// would be a message that Envoy can't read, and Envoy admits what it can't read.
func TestMetadataIsText(t *testing.T) {
	w := newWorld(t, metadataRules)
	for cut := range 4 {
		tenant := strings.Repeat("x", cut) + strings.Repeat("\U0001F600", 100)
		got := w.limit(t, "edge", descriptor("tenant", tenant, "path", tenant)).GetDynamicMetadata().GetFields()
		for _, name := range []string{"entity", "resource"} {
			if s := got[name].GetStringValue(); !utf8.ValidString(s) || !strings.HasPrefix(s, tenant[:cut+8]) {
				t.Errorf("%s is %q", name, s)
			}
		}
	}
}

// TestMetadataCanBeSwitchedOff for those who log nothing of it.
func TestMetadataCanBeSwitchedOff(t *testing.T) {
	w := newWorld(t, "dynamic_metadata: false\n"+metadataRules)
	if got := w.check(t, "/").GetDynamicMetadata(); got != nil {
		t.Errorf("a check: %v", got)
	}
	if got := w.limit(t, "edge", descriptor("tenant", "a", "path", "/v1")).GetDynamicMetadata(); got != nil {
		t.Errorf("a descriptor: %v", got)
	}
}

// TestNamesOfManyShadows are written once each.
func TestNamesOfManyShadows(t *testing.T) {
	policy := policyOf(t, "rules: [{name: a-rule-that-is-not-enforced, enforce: 0%, entity: x, default_limits: {n: 1/day}}]")
	policy.DynamicMetadata = true
	rule := policy.Rules.All()[0]
	shadows := slices.Repeat([]descriptors.RuleCharge{{Rule: rule}}, descriptors.MaxCharges)
	a := &decision.Answer{Parts: slices.Repeat([]decision.Part{{Outcome: descriptors.Outcome{Shadows: shadows}}}, maxDescriptors)}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	wire := appendMetadata(nil, responseMetadata, a, policy)
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 20*uint64(len(wire)) {
		t.Errorf("%d bytes are taken for %d", taken, len(wire))
	}
	answer := new(rlsv3.RateLimitResponse)
	wellWritten(t, "many shadows", wire, answer)
	names := strings.Split(answer.GetDynamicMetadata().GetFields()[metaShadow].GetStringValue(), ",")
	if len(names) != maxDescriptors*descriptors.MaxCharges || slices.ContainsFunc(names, func(n string) bool { return n != rule.Name() }) {
		t.Errorf("%d names, %.100q", len(names), names)
	}
}
