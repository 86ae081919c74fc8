package descriptors

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWarnings(t *testing.T) {
	const (
		hint = " (a last rule without a match takes the rest, no_match: deny refuses it)"
		miss = ` passes it by, and nothing after it takes every request of `
	)
	tenant := `${request.headers["x-tenant"]}`
	for _, c := range []struct {
		name  string
		rules []RuleSource
		deny  bool
		want  []string
	}{
		{"nothing can miss", []RuleSource{rule("r", "match", "domain == 'a'", "entity", "e")}, false, nil},
		{
			"a header",
			[]RuleSource{rule("api", "entity", tenant)},
			false,
			[]string{`2:3: rule "api": entity: a request without request.headers["x-tenant"]` + miss + `ext_authz` + hint},
		},
		{"denied when nothing matches", []RuleSource{rule("api", "entity", tenant)}, true, nil},
		{"client_ip is always there", []RuleSource{rule("api", "entity", tenant), rule("rest", "entity", "${client_ip}")}, false, nil},
		{"a rule that allows the rest", []RuleSource{rule("api", "entity", tenant), rule("rest", "action", "allow")}, false, nil},
		{
			"a last rule of the other protocol",
			[]RuleSource{rule("api", "entity", tenant), rule("rest", "protocol", "ratelimit", "action", "deny")},
			false,
			[]string{`2:3: rule "api": entity: a request without request.headers["x-tenant"]` + miss + `ext_authz` + hint},
		},
		{
			"once for each thing",
			[]RuleSource{rule("a", "match", "request.method == 'GET'", "entity", tenant), ruleAt(5, "b", "entity", tenant+"${context_extensions.x}")},
			false,
			[]string{
				`6:3: rule "b": entity: a request without request.headers["x-tenant"]` + miss + `ext_authz` + hint,
				`6:33: rule "b": entity: a request without context_extensions.x` + miss + `ext_authz` + hint,
			},
		},
		{"names are always there, though there may be none", []RuleSource{rule("r", "entity", "${string(source.sans.size())}")}, false, nil},
		{
			"the first of names",
			[]RuleSource{rule("r", "entity", "${source.sans[0]}")},
			false,
			[]string{`2:3: rule "r": entity: a request without source.sans[0]` + miss + `ext_authz` + hint},
		},
		{"promised by has", []RuleSource{rule("r", "match", "has(descriptor.user) && has(descriptor.model)", "entity", "${descriptor.user}", "resource", "${descriptor.model}")}, false, nil},
		{"promised by a key", []RuleSource{rule("r", "match", `"user" in descriptor`, "entity", `${descriptor["user"]}`)}, false, nil},
		{"promised by a comparison", []RuleSource{rule("r", "match", "descriptor.user.startsWith('u') && descriptor.model == 'm'", "entity", "${descriptor.user}${descriptor.model}")}, false, nil},
		{"promised by both of or", []RuleSource{rule("r", "match", "descriptor.user == 'a' || has(descriptor.user)", "entity", "${descriptor.user}")}, false, nil},
		{
			"promised by one of or",
			[]RuleSource{rule("r", "match", "has(descriptor.user) || has(descriptor.x)", "entity", "${descriptor.user}")},
			false,
			[]string{`3:3: rule "r": entity: a request without descriptor.user` + miss + `ratelimit` + hint},
		},
		{
			"the opposite of promised",
			[]RuleSource{rule("r", "match", "!has(descriptor.user)", "entity", "${descriptor.user}")},
			false,
			[]string{`3:3: rule "r": entity: a request without descriptor.user` + miss + `ratelimit` + hint},
		},
		{"promised in the text", []RuleSource{rule("r", "entity", `${has(descriptor.a) ? descriptor.a : domain}${descriptor[?"b"].orValue("x")}`)}, false, nil},
		{"a tier may be missing", []RuleSource{rule("r", "entity", "e", "tier", "${descriptor.tier}")}, false, nil},
		{
			"consume",
			[]RuleSource{rule("r", "entity", "e", "consume.a", "int(descriptor.n)")},
			false,
			[]string{`3:5: rule "r": consume: a request without descriptor.n` + miss + `ratelimit` + hint},
		},
		{
			"never reached",
			[]RuleSource{rule("all", "entity", "e"), ruleAt(5, "late", "entity", "e")},
			false,
			[]string{`5:1: rule "late" is never reached: rule "all" takes every request before it`},
		},
		{
			"reached by one protocol",
			[]RuleSource{rule("authz", "entity", "${client_ip}"), ruleAt(5, "late", "entity", "e"), ruleAt(9, "later", "action", "deny")},
			false,
			[]string{`9:1: rule "later" is never reached: rule "authz" takes every request before it`},
		},
		{"after continue and shadows", []RuleSource{rule("all", "entity", "e", "continue", "true"), ruleAt(5, "b", "entity", "e", "enforce", "50%"), ruleAt(9, "late", "entity", "e")}, false, nil},
		{
			"headers where none can be set",
			[]RuleSource{rule("r", "match", "domain == 'a'", "entity", "e", "on_allow.x", "y")},
			false,
			[]string{`4:1: rule "r": on_allow: the rule is for ratelimit, which can't set headers of a request`},
		},
		{"never matches", []RuleSource{rule("r", "match", "false", "action", "deny")}, false, []string{`1:1: rule "r" never matches`}},
		{
			"empty text",
			[]RuleSource{rule("r", "match", "descriptor.x == ''", "action", "deny")},
			false,
			[]string{`2:17: rule "r": match: no text of a request is empty: one that would be is missing (use has() to ask whether it is there)`},
		},
	} {
		_, errs, warnings := Compile(c.rules, Options{Namespace: "default", DenyNoMatch: c.deny})
		if len(errs) > 0 {
			t.Errorf("%s: %v", c.name, errs)
		}
		var got []string
		for _, w := range warnings {
			got = append(got, strings.TrimPrefix(w.Error(), "rules.yaml:"))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
