package descriptors

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// TestMissingAndInvalid has a rule and one after it that takes the rest.
func TestMissingAndInvalid(t *testing.T) {
	const (
		rest    = "charge by rest: rest rest each=1"
		invalid = "invalid by r"
	)
	req := func() *Request {
		r := extensions(check("GET", "/v1/orders?q=1&e=", "x-a", "a", "x-empty", "", "x-n", "12", "x-bytes", "\xff\xfe"), "cost", "3")
		r.Metadata = Object{"f": Object{
			"text": "t", "empty": "", "whole": 7.0, "half": 0.5, "big": 1e300, "yes": true, "null": nil,
			"list": someList{"l", 1.0}, "object": Object{"deep": "d"},
		}}
		return r
	}
	x := func(pairs ...string) []string { return pairs }
	for _, c := range []struct {
		pairs []string
		want  string
	}{
		// Missing: the next rule.
		{x("entity", `${request.headers["x-none"]}`), rest},
		{x("entity", `${request.headers["x-empty"]}`), rest},
		{x("entity", `org-${request.headers["x-none"]}`), rest},
		{x("entity", `${request.headers["x-empty"] + "suffix"}`), rest},
		{x("entity", `${sha256(request.headers["x-empty"])}`), rest},
		{x("entity", `${metadata.f.none}`), rest},
		{x("entity", `${metadata.f.empty}`), rest},
		{x("entity", `${metadata.f.text.deeper}`), rest},
		{x("entity", `${metadata.none.text}`), rest},
		{x("entity", `${metadata.f.list[5]}`), rest},
		{x("entity", `${route_metadata.f.text}`), rest},
		{x("entity", `${source.principal}`), rest},
		{x("entity", `${request.query_params.e}`), rest},
		{x("entity", `${request.headers[?"x-none"].value()}`), rest},
		{x("entity", "${request.headers['x-none'].lowerAscii()}"), rest},
		{x("entity", "e", "resource", "${context_extensions.none}"), rest},
		{x("entity", "e", "namespace", "${context_extensions.none}"), rest},
		{x("entity", "e", "consume", "int(context_extensions.none)"), rest},
		{x("entity", "e", "consume.rpm", "1", "consume.tpm", "int(context_extensions.none)"), rest},
		{x("entity", "e", "match", `request.headers["x-none"] == "a"`), rest},
		{x("entity", "e", "match", `request.headers["x-none"] != "a"`), rest},
		{x("entity", "e", "match", `!(request.headers["x-none"] == "a")`), rest},
		// Missing, and yet decided.
		{x("entity", "e", "match", `request.headers["x-none"] == "a" || true`), "charge by r: e r each=1"},
		{x("entity", "e", "match", `!(request.headers["x-none"] == "a" && false)`), "charge by r: e r each=1"},
		{x("entity", "e", "match", `!has(request.headers.x) && !("x-empty" in request.headers)`), "charge by r: e r each=1"},
		{x("entity", "e", "match", `[1].exists(domain, domain == 1) && request.method == "GET"`), "charge by r: e r each=1"},
		{x("entity", "e", "match", `size(request.query_params) == 1`), "charge by r: e r each=1"},
		{x("entity", "e", "tier", `${metadata.f.none}`), "charge by r: e r each=1"},
		{x("entity", `${request.headers[?"x-none"].orValue("anon")}`), "charge by r: anon r each=1"},
		{x("entity", `${has(request.headers.none) ? request.headers.none : "anon"}`), "charge by r: anon r each=1"},
		// Values as JSON has them.
		{x("entity", `${metadata.f.whole}-${metadata.f.yes}-${hits}-${1u}`), "charge by r: 7-true-1-1 r each=1"},
		{x("entity", `${metadata.f.object.deep}${metadata.f.list[0]}`), "charge by r: dl r each=1"},
		{x("entity", `$${x}-$$`), "charge by r: ${x}-$$ r each=1"},
		{x("entity", `${request.headers["x-bytes"]}`), "charge by r: \xff\xfe r each=1"},
		{x("entity", `${request.headers["x-bytes"] + "!"}`), "charge by r: \xff\xfe! r each=1"},
		{x("entity", `${request.query_params.q}`), "charge by r: 1 r each=1"},
		{x("entity", "e", "consume", `metadata.f.whole`), "charge by r: e r each=7"},
		{x("entity", "e", "consume", `uint(request.headers["x-n"])`), "charge by r: e r each=12"},
		{x("entity", "e", "consume", `hits * 2`), "charge by r: e r each=2"},
		{x("entity", "e", "consume.a", `0`, "consume.b", "hits"), "charge by r: e r a=0 b=1"},
		// Invalid: denied.
		{x("entity", `${metadata.f.half}`), invalid},
		{x("entity", `${metadata.f.big}`), invalid},
		{x("entity", `${metadata.f["null"]}`), invalid},
		{x("entity", `${metadata.f.object}`), invalid},
		{x("entity", `${metadata.f.list}`), invalid},
		{x("entity", `${metadata.f.list.x}`), invalid},
		{x("entity", `${metadata.f.whole.startsWith("a")}`), invalid},
		{x("entity", `${int(request.headers["x-a"])}`), invalid},
		{x("entity", `${1 / (hits - 1)}`), invalid},
		{x("entity", "e", "tier", `${metadata.f.half}`), invalid},
		{x("entity", "e", "consume", `-hits`), invalid},
		{x("entity", "e", "consume", `hits + 1000000000000000`), invalid},
		{x("entity", "e", "consume", `metadata.f.half`), invalid},
		{x("entity", "e", "consume", `metadata.f.text`), invalid},
		{x("entity", "e", "consume", `int(request.headers["x-a"])`), invalid},
		{x("entity", "e", "match", `int(request.headers["x-a"]) == 1`), invalid},
		{x("entity", "e", "match", `metadata.f.whole && true`), invalid},
		{x("entity", "e", "resource", `${"_default" + "_"}`), invalid},
		{x("entity", "e", "namespace", `${request.url_path}`), invalid},
	} {
		out := compile(t, rule("r", c.pairs...), rule("rest", "entity", "rest")).Evaluate(req())
		if got := summary(out); got != c.want {
			t.Errorf("%q\n got %s, %v\nwant %s", c.pairs, got, out.Err, c.want)
		}
		if c.want == invalid {
			var invalid *InvalidError
			if !errors.As(out.Err, &invalid) || invalid.Rule != "r" {
				t.Errorf("%q: error %v", c.pairs, out.Err)
			}
		}
	}
}

func TestActionsAfterContinue(t *testing.T) {
	goOn := rule("all", "continue", "true", "entity", "all")
	booked := rule("booked", "continue", "true", "settle", "true", "entity", "booked")
	alone := rule("alone", "continue", "true", "independent", "true", "entity", "alone")
	for _, c := range []struct {
		name  string
		rules []RuleSource
		want  string
	}{
		{"charge", []RuleSource{goOn, rule("r", "entity", "e")}, "charge by r: all all each=1: e r each=1"},
		{"continue alone", []RuleSource{goOn}, "charge by all: all all each=1"},
		{"allow", []RuleSource{goOn, rule("r", "action", "allow"), rule("never", "entity", "e")}, "charge by r: all all each=1"},
		{"allow alone", []RuleSource{rule("r", "action", "allow"), goOn}, "allow by r"},
		{"deny", []RuleSource{goOn, rule("r", "action", "deny")}, "deny by r"},
		{"deny what settles", []RuleSource{booked, goOn, rule("r", "action", "deny")}, "deny by r: booked booked each=1 settle"},
		{"deny what is independent", []RuleSource{alone, goOn, rule("r", "action", "deny")}, "deny by r: alone alone each=1 independent"},
		{"independent", []RuleSource{alone, goOn}, "charge by all: alone alone each=1 independent: all all each=1"},
		{"invalid", []RuleSource{alone, booked, goOn, rule("r", "entity", "${1/0}")}, "invalid by r"},
	} {
		if got := summary(compile(t, c.rules...).Evaluate(descriptor("d"))); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestMostCharges(t *testing.T) {
	var src []RuleSource
	for i := range MaxCharges + 1 {
		src = append(src, rule(fmt.Sprintf("r%d", i), "continue", "true", "entity", "e"))
	}
	if out := compile(t, src[:MaxCharges]...).Evaluate(descriptor("d")); out.Action != Charge || len(out.Charges) != MaxCharges {
		t.Errorf("%d rules: %s", MaxCharges, summary(out))
	}
	if out := compile(t, src...).Evaluate(descriptor("d")); out.Action != Invalid || len(out.Charges) != 0 {
		t.Errorf("%d rules: %s", len(src), summary(out))
	}
	for i := range src {
		src[i].Continue, src[i].Enforce = Text{}, at("0%", 1)
	}
	if out := compile(t, src...).Evaluate(descriptor("d")); out.Action != NoMatch || len(out.Shadows) != MaxCharges {
		t.Errorf("%d shadows: %s", len(src), summary(out))
	}
}

// enforcedFor are the entities for which a rule with a share is enforced; for the
// others it has a shadow.
func enforcedFor(t *testing.T, entities int, share string) map[string]bool {
	t.Helper()
	rules := compile(t,
		rule("strict", "entity", `${descriptor.user}`, "enforce", share, "default_limits.requests", "30/min"),
		rule("api", "entity", `${descriptor.user}`))
	is := map[string]bool{}
	for i := range entities {
		user := fmt.Sprintf("user-%d", i)
		out := rules.Evaluate(descriptor("d", "user", user))
		switch {
		case out.Rule.Name() == "strict" && len(out.Shadows) == 0:
			is[user] = true
		case out.Rule.Name() == "api" && len(out.Shadows) == 1:
			shadow := out.Shadows[0]
			if k := shadow.Query.Key; k.Variant() != "shadow:strict" || k == out.Charges[0].Query.Key || shadow.Rule.Name() != "strict" {
				t.Fatalf("shadow %v of rule %s", k, shadow.Rule.Name())
			}
		default:
			t.Fatalf("%s: %s", share, summary(out))
		}
	}
	return is
}

func TestEnforce(t *testing.T) {
	const entities = 20_000
	var before map[string]bool
	for _, c := range []struct {
		share       string
		least, most float64
	}{{"0%", 0, 0}, {"0.5%", 0.003, 0.007}, {"10%", 0.09, 0.11}, {"50%", 0.48, 0.52}, {"99.99%", 0.999, 1}, {"100%", 1, 1}} {
		now := enforcedFor(t, entities, c.share)
		if got := float64(len(now)) / entities; got < c.least || got > c.most {
			t.Errorf("%s: enforced for %.4f", c.share, got)
		}
		for user := range before {
			if !now[user] {
				t.Fatalf("%s: %s was in at a smaller share and isn't now", c.share, user)
			}
		}
		before = now
	}
}

// TestEnforceByEntity has rules that take turns with the same entities.
func TestEnforceByEntity(t *testing.T) {
	rules := compile(t,
		rule("one", "entity", `${descriptor.user}`, "enforce", "30%", "continue", "true"),
		rule("other", "entity", `${descriptor.user}`, "enforce", "30%", "continue", "true", "resource", "x"))
	for i := range 200 {
		if out := rules.Evaluate(descriptor("d", "user", fmt.Sprintf("user-%d", i))); len(out.Charges) == 1 {
			t.Errorf("one of two rules is enforced: %s", summary(out))
		}
	}
}

// TestShadowsNeverAnswer has rules that aren't enforced and make no sense of the
// request.
func TestShadowsNeverAnswer(t *testing.T) {
	for _, pairs := range [][]string{
		{"entity", "${1/0}"},
		{"entity", "e", "match", "1/0 == 1"},
		{"entity", "e", "consume", "-hits"},
		{"entity", "e", "resource", "${'_default' + '_'}"},
	} {
		rules := compile(t, rule("shadow", append(pairs, "enforce", "0%")...), rule("api", "entity", "x"))
		out := rules.Evaluate(descriptor("d"))
		if got, want := summary(out), "charge by api: x api each=1"; got != want {
			t.Errorf("%q: got %s, want %s", pairs, got, want)
		}
		if f := out.InvalidShadows; len(f) != 1 || f[0].Rule.Name() != "shadow" || f[0].Err == nil {
			t.Errorf("%q: invalid shadows %v", pairs, f)
		}
	}
}

// TestVariants has keys beside the usual one.
func TestVariants(t *testing.T) {
	minute := &Override{Limit: ratelimit.PerMinute("override", 42), Variant: "MINUTEx1"}
	rules := compile(t, rule("shadow", "entity", "e", "enforce", "0%"), rule("chat", "entity", "e", "consume.rpm", "1", "consume.tpm", "0"))
	req := withHits(descriptor("d"), 3)
	out := rules.Evaluate(req)
	if got := out.Charges[0].Query.Key.Variant(); got != "" {
		t.Errorf("variant %q of the usual key", got)
	}
	req.Override = minute
	out = rules.Evaluate(req)
	if got, want := summary(out), "charge by chat: e chat each=3 override=42/min | shadow: e shadow each=3 override=42/min"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := out.Charges[0].Query.Key.Variant(), "MINUTEx1"; got != want {
		t.Errorf("variant %q, want %q", got, want)
	}
	want, err := ratelimit.NewKey("default", "e", "shadow", "shadow:shadow/MINUTEx1")
	if err != nil {
		t.Fatal(err)
	}
	if got := out.Shadows[0].Query.Key; got != want {
		t.Errorf("the shadow's key is %v, want %v", got.ID(), want.ID())
	}
	req.Override = &Override{Err: errors.New("no unit")}
	if out = rules.Evaluate(req); out.Action != Invalid {
		t.Errorf("a bad override: %s", summary(out))
	}
}

// TestLongTexts has texts that are cut for expressions: they stay apart.
func TestLongTexts(t *testing.T) {
	long := strings.Repeat("x", 50_000)
	rules := compile(t, rule("plain", "match", "domain == 'plain'", "entity", "${descriptor.user}"),
		rule("cel", "match", "domain == 'cel' && descriptor.user.startsWith('x')", "entity", "${descriptor.user + '!'}"))
	seen := map[ratelimit.Key]string{}
	for _, domain := range []string{"plain", "cel"} {
		for _, user := range []string{long, long + "a", long + "b", long[:maxText], long[:maxText+1], capped(long), capped(capped(long))} {
			out := rules.Evaluate(descriptor(domain, "user", user))
			if out.Action != Charge {
				t.Fatalf("%s, %d bytes: %s", domain, len(user), out.Action)
			}
			name := fmt.Sprintf("%s, %d bytes", domain, len(user))
			if other, met := seen[out.Charges[0].Query.Key]; met && domain == "cel" == strings.HasPrefix(other, "cel") {
				t.Errorf("%s meets %s", name, other)
			}
			seen[out.Charges[0].Query.Key] = name
		}
	}
	key, err := ratelimit.NewKey("default", long, "plain", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := seen[key]; !ok {
		t.Error("the key of a long entity is not that of its raw text")
	}
}

// TestTooMany has more than expressions may go over: such a request is invalid,
// and no way past a rule; what only looks up isn't concerned.
func TestTooMany(t *testing.T) {
	query := func(n int) *Request {
		r := check("GET", "/?x=a")
		for i := range n - 1 {
			r.Path += fmt.Sprintf("&k%d=v", i)
		}
		return r
	}
	list := func(n int) *Request {
		r := check("GET", "/")
		r.Metadata = Object{"f": Object{"roles": make(someList, n)}}
		return r
	}
	const over, lookup = `request.query_params.exists(q, q == "none")`, `request.query_params.x == "a"`
	for _, c := range []struct {
		match string
		req   *Request
		want  string
	}{
		{over, query(mostKeys), "charge by rest: rest rest each=1"},
		{over, query(mostKeys + 1), "invalid by r"},
		{over + " || true", query(mostKeys + 1), "charge by r: e r each=1"},
		{lookup, query(5000), "charge by r: e r each=1"},
		{`size(request.query_params) == 5000`, query(5000), "charge by r: e r each=1"},
		{`request.query_params == {"x": "a"}`, query(1), "charge by r: e r each=1"},
		{`request.query_params == {"x": "a"}`, query(mostKeys + 1), "invalid by r"},
		{`"x" in metadata.f.roles`, list(mostValues), "charge by rest: rest rest each=1"},
		{`"x" in metadata.f.roles`, list(mostValues + 1), "invalid by r"},
	} {
		rules := compile(t, rule("r", "match", c.match, "entity", "e"), rule("rest", "entity", "rest"))
		if got := summary(rules.Evaluate(c.req)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.match, got, c.want)
		}
	}
	rules := compile(t, rule("shadow", "match", over, "entity", "e", "enforce", "0%"), rule("r", "entity", `${request.query_params.x + "!"}`))
	if got, want := summary(rules.Evaluate(query(mostKeys+1))), "charge by r: a! r each=1"; got != want {
		t.Errorf("after a shadow: got %s, want %s", got, want)
	}
}

func TestRefund(t *testing.T) {
	req := descriptor("d")
	req.Refund = true
	rules := compile(t, rule("r", "entity", "e"))
	if out := rules.Evaluate(req); out.Action != Allow || !out.Refund || len(out.Charges) != 0 {
		t.Errorf("got %+v", out)
	}
	if out, _ := rules.Trace(req); !out.Refund {
		t.Errorf("traced %+v", out)
	}
}

// TestRefundsThatAreCredited: of the charges that the rules would make, those of
// rules with the key; whatever the rules would decide.
func TestRefundsThatAreCredited(t *testing.T) {
	credited := rule("credited", "continue", "true", "refunds", "true", "match", "has(descriptor.user)", "entity", "${descriptor.user}")
	plain := rule("plain", "match", "has(descriptor.user)", "entity", "all")
	for _, c := range []struct {
		name, user, want string
		rules            []RuleSource
	}{
		{"one of two", "u", "u credited each=7 by credited", []RuleSource{credited, plain}},
		{"a rule before it", "u", " by ", []RuleSource{plain, credited}},
		{"none takes it", "", " by ", []RuleSource{credited, plain}},
		{"a denial after it", "u", " by ", []RuleSource{credited, rule("out", "action", "deny")}},
		{"invalid after it", "u", " by ", []RuleSource{credited, rule("bad", "entity", "${1/0}")}},
		{"not enforced", "u", " by ", []RuleSource{rule("s", "enforce", "0%", "refunds", "true", "entity", "e")}},
	} {
		req := withHits(descriptor("d", "user", c.user), 7)
		req.Refund = true
		rules := compile(t, c.rules...)
		out := rules.Evaluate(req)
		got, by := "", ""
		for _, credit := range out.Credits {
			got += chargeText(credit)
		}
		if out.Rule != nil {
			by = out.Rule.Name()
		}
		if got += " by " + by; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if out.Action != Allow || !out.Refund || len(out.Charges)+len(out.Shadows)+len(out.InvalidShadows) > 0 || out.Err != nil {
			t.Errorf("%s: %+v", c.name, out)
		}
		if traced, _ := rules.Trace(req); len(traced.Credits) != len(out.Credits) {
			t.Errorf("%s: traced %+v", c.name, traced)
		}
	}
}

func TestZeroConfiguration(t *testing.T) {
	rules := compile(t)
	for _, c := range []struct {
		req  *Request
		want string
	}{
		{descriptor("edge", "entity", "alice", "resource", "gpt-4"), "charge by default: alice gpt-4 each=1"},
		{descriptor("edge", "entity_id", "alice"), "charge by default: alice edge each=1"},
		{descriptor("edge", "entity", "", "entity_id", "alice"), "charge by default: alice edge each=1"},
		{withHits(descriptor("edge", "entity", "alice", "namespace", "acme"), 5), "charge by default: acme alice edge each=5"},
		{descriptor("edge", "resource", "gpt-4"), "no_match"},
		{descriptor("", "entity", "alice"), "charge by default: alice default each=1"},
		{descriptor("edge", "entity", "alice", "namespace", "a b"), "invalid by default"},
		{extensions(check("GET", "/"), "entity", "bob", "resource", "orders", "namespace", "acme"), "charge by default: acme bob orders each=1"},
		{extensions(check("GET", "/"), "entity_id", "bob"), "charge by default: bob default each=1"},
		{check("GET", "/", "entity", "bob"), "no_match"},
	} {
		if got := summary(rules.Evaluate(c.req)); got != c.want {
			t.Errorf("%+v\n got %s\nwant %s", c.req, got, c.want)
		}
	}
}

func TestTrace(t *testing.T) {
	rules := compile(t,
		rule("web", "match", `request.method == "GET"`, "entity", "e"),
		rule("other", "match", `domain == "other"`, "entity", "e"),
		rule("missing", "entity", "${descriptor.none}"),
		rule("missing-match", "match", `descriptor.none == "x"`, "entity", "e"),
		rule("missing-consume", "entity", "e", "consume", "int(descriptor.none)"),
		rule("shadow", "entity", "e", "enforce", "0%"),
		rule("broken-shadow", "entity", "${1/0}", "enforce", "0%"),
		rule("all", "entity", "all", "continue", "true"),
		rule("last", "entity", "e"),
		rule("never", "entity", "e"))
	out, steps := rules.Trace(descriptor("d"))
	if out.Action != Charge || len(out.Charges) != 2 {
		t.Errorf("outcome %s", summary(out))
	}
	if diff := cmp.Diff(summary(rules.Evaluate(descriptor("d"))), summary(out)); diff != "" {
		t.Errorf("not what Evaluate says (-evaluate +trace):\n%s", diff)
	}
	var got []string
	for _, s := range steps {
		got = append(got, strings.TrimRight(fmt.Sprintf("%s: %s: %s", s.Rule.Name(), s.Verdict, s.Detail), ": "))
	}
	want := []string{
		"web: other_protocol: it is for ext_authz",
		"other: not_matched",
		"missing: missing: entity: ${descriptor.none} is missing",
		"missing-match: missing: the match needs something that is missing",
		"missing-consume: missing: consume needs something that is missing",
		`shadow: shadow: not enforced for entity "e": charged beside, on a bucket of its own`,
		`broken-shadow: shadow: entity of rule "broken-shadow": division by zero`,
		"all: continued",
		"last: took",
		"never: not_reached",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	_, steps = compile(t, rule("r", "entity", "${1/0}")).Trace(descriptor("d"))
	if s := steps[0]; s.Verdict != VerdictInvalid || s.Detail == "" {
		t.Errorf("an invalid rule: %+v", s)
	}
}

// TestConcurrentUse evaluates many requests at once; the race detector watches.
func TestConcurrentUse(t *testing.T) {
	rules := compile(t,
		rule("health", "match", `request.url_path == "/healthz" || inCIDR(client_ip, ["10.0.0.0/8"])`, "action", "allow"),
		rule("cel", "match", `request.headers.exists(h, h == "x-a") && metadata.f.startsWith("a")`, "entity", `${request.headers["x-a"] + "!"}`),
		rule("api", "entity", `${request.headers["x-a"]}`, "on_allow.x-b", `${request.headers["x-a"]}-${entity.id}`))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				tenant := fmt.Sprintf("t%d-%d", g, i)
				req := check("GET", "/", "x-a", tenant)
				if i%2 == 0 {
					req.Metadata = Object{"f": 1.0} // no such overload
				}
				out := rules.Evaluate(req)
				want := "charge by api: " + tenant + " api each=1"
				if i%2 == 0 {
					want = "invalid by cel"
				}
				if got := summary(out); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				headers := rules.All()[2].AllowHeaders(req, EntityInfo{ID: tenant})
				if got := headers[0].Value; got != tenant+"-"+tenant {
					t.Errorf("header %q for %s", got, tenant)
				}
			}
		})
	}
	wg.Wait()
}
