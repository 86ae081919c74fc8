package descriptors

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// entityRule is a rule with what it must have, and more.
func entityRule(pairs ...string) RuleSource {
	return rule("r", append(pairs, "entity", "x")...)
}

const tellableHint = ` (entity.tier, entity.metadata, context_extensions and route_metadata may be told)`

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		rule RuleSource
		want string
	}{
		// Names that nobody knows.
		{entityRule("match", "domian == 'x'"), `2:1: rule "r": match: unknown variable "domian" (did you mean "domain"?)`},
		{entityRule("match", "true &&\n request.urlpath == '/x'"), `2:18: rule "r": match: unknown field "urlpath" (did you mean "url_path"?)`},
		{entityRule("match", "'ä' != domian"), `2:9: rule "r": match: unknown variable "domian" (did you mean "domain"?)`},
		{entityRule("match", "domain.startWith('x')"), `2:8: rule "r": match: unknown function "startWith" (did you mean "startsWith"?)`},
		{entityRule("match", "incidr(client_ip, ['::1'])"), `2:1: rule "r": match: unknown function "incidr" (did you mean "inCIDR"?)`},
		{entityRule("match", "lookup(domain)"), `2:1: rule "r": match: unknown function "lookup"`},
		{entityRule("match", "descriptor.my-key == 'a'"), `2:15: rule "r": match: unknown variable "key" (a key with a "-" is read as in descriptor["x-y"])`},
		{entityRule("match", "entity.id == 'x'"), `2:1: rule "r": match: unknown variable "entity" (what is known of the entity is for on_allow and on_deny)`},
		{entityRule("match", "entries.exists(e, e.kye == 'a')"), `2:21: rule "r": match: unknown field "kye" (did you mean "key"?)`},
		{rule("r", "entity", "org-${descriptr.x}"), `2:7: rule "r": entity: unknown variable "descriptr" (did you mean "descriptor"?)`},
		{entityRule("on_deny.body", "${entity.teir}"), `2:10: rule "r": on_deny: unknown field "teir" (did you mean "tier"?)`},
		{entityRule("on_allow.x", "${entty.id}"), `2:3: rule "r": on_allow: unknown variable "entty" (did you mean "entity"?)`},
		// Names of headers.
		{entityRule("match", `request.headers["X-Api-Key"] == "a"`), `2:18: rule "r": match: names of headers are in lower case, "X-Api-Key" never is one (did you mean "x-api-key"?)`},
		{entityRule("match", "request.headers.Foo == 'a'"), `2:17: rule "r": match: names of headers are in lower case, "Foo" never is one (did you mean "foo"?)`},
		{entityRule("match", "has(request.headers.Foo)"), `2:21: rule "r": match: names of headers are in lower case, "Foo" never is one (did you mean "foo"?)`},
		{entityRule("match", `"X-Foo" in request.headers`), `2:2: rule "r": match: names of headers are in lower case, "X-Foo" never is one (did you mean "x-foo"?)`},
		{entityRule("match", `request.headers[?"X-A"].orValue("a") == "b"`), `2:19: rule "r": match: names of headers are in lower case, "X-A" never is one (did you mean "x-a"?)`},
		{rule("r", "entity", `${request.?headers["X-A"].orValue("a")}`), `2:21: rule "r": entity: names of headers are in lower case, "X-A" never is one (did you mean "x-a"?)`},
		{entityRule("on_allow.X-Foo", "a"), `2:1: rule "r": on_allow: "X-Foo" is no name of a header in lower case (did you mean "x-foo"?)`},
		{entityRule("on_allow.x foo", "a"), `2:1: rule "r": on_allow: "x foo" is no name of a header in lower case`},
		{entityRule("on_allow.host", "a"), `2:1: rule "r": on_allow: the header host can't be set`},
		{entityRule("on_allow.x-foo", "a\nb"), `2:1: rule "r": on_allow: the value of x-foo is not text in one line`},
		// Protocols.
		{entityRule("match", "descriptor.in == 'x'"), `2:12: rule "r": match: unexpected "in" (a key that is a word of CEL is read as in x["in"])`},
		{entityRule("match", "domain == 'x' && request.method == 'GET'"), `2:18: rule "r": match: request is known for ext_authz alone (the rule uses variables of both protocols; write one for each)`},
		{rule("r", "match", "domain == 'x'", "entity", "${client_ip}"), `3:3: rule "r": entity: client_ip is known for ext_authz alone (the rule uses variables of both protocols; write one for each)`},
		{entityRule("protocol", "ratelimit", "match", "request.method == 'x'"), `3:1: rule "r": match: request is known for ext_authz alone (the rule says protocol: ratelimit)`},
		{entityRule("protocol", "rls"), `2:1: rule "r": protocol: "rls" is not one of ratelimit, ext_authz`},
		// Syntax.
		{entityRule("match", "${domain == 'x'}"), `2:1: rule "r": match: unexpected "$" (this is CEL already: write it without ${ })`},
		{entityRule("match", "domain = 'x'"), `2:8: rule "r": match: unexpected "=" (equality is ==)`},
		{entityRule("match", "domain == 'x' and hits > 1"), `2:15: rule "r": match: unexpected "and" (write &&)`},
		{entityRule("match", "not has(descriptor.x)"), `2:5: rule "r": match: unexpected "has" (write !)`},
		{entityRule("match", "domain == 'x"), `2:11: rule "r": match: a string is not closed`},
		{entityRule("match", `domain == "\q"`), `2:11: rule "r": match: a string is not closed, or has an escape that CEL doesn't know`},
		{entityRule("match", "domain == '"+strings.Repeat("x", maxText)+"'"), `2:1: rule "r": match: the expression is longer than 4096 characters`},
		{entityRule("match", strings.Repeat("(", 300)+"true"+strings.Repeat(")", 300)), `2:1: rule "r": match: the expression is nested too deeply`},
		{entityRule("match", "timestamp('x') == timestamp('y')"), `2:1: rule "r": match: CEL can't run it: invalid RFC 3339 timestamp "x"`},
		{entityRule("match", "domain =="), `2:10: rule "r": match: the expression ends too early`},
		{entityRule("match", "domain == 'x'\xff"), `2:1: rule "r": match: the expression is not UTF-8`},
		{rule("r", "entity", "a${descriptor.user"), `2:2: rule "r": entity: a ${ is not closed (a literal ${ is written $${)`},
		{rule("r", "entity", "a${ }b"), `2:2: rule "r": entity: a ${ } is empty (a literal ${ is written $${)`},
		{rule("r", "entity", `${"}}" + domian}`), `2:10: rule "r": entity: unknown variable "domian" (did you mean "domain"?)`},
		// Types.
		{entityRule("match", "hits"), `2:1: rule "r": match: its type is int, not bool`},
		{entityRule("match", `metadata["a"].b`), `2:1: rule "r": match: its type is dyn, not bool (compare it, as in x == true)`},
		{entityRule("match", "domain == 1"), `2:8: rule "r": match: == can't be applied to (string, int)`},
		{entityRule("match", "descriptor[1] == 'x'"), `2:11: rule "r": match: [ ] can't be applied to (map(string, string), int)`},
		{entityRule("match", "domain.foo == 'x'"), `2:7: rule "r": match: a string has no fields`},
		{entityRule("match", "has(domain)"), `2:5: rule "r": match: has() asks for a field (as in has(descriptor.user))`},
		{entityRule("match", "descriptor.x.matches('[')"), `2:22: rule "r": match: not a valid regular expression`},
		{entityRule("match", "descriptor.x.matches('[a-z]{1,900}')"), `2:22: rule "r": match: the regular expression is too large for every request (a {n} repeats what is before it n times)`},
		{entityRule("match", "descriptor.x.matches(descriptor.y)"), `2:21: rule "r": match: a regular expression is a constant text`},
		{entityRule("match", "dyn(request) == 'x'"), `2:5: rule "r": match: request is no value by itself (it has method, scheme, host, path, url_path, id, body, query_params, headers)`},
		{entityRule("match", "dyn(source) == 'x'"), `2:5: rule "r": match: source is no value by itself (it has address, principal, sans)`},
		{entityRule("match", "'x' in destination.sans"), `2:20: rule "r": match: unknown field "sans" (source has it)`},
		{entityRule("match", "'x' in source.san"), `2:15: rule "r": match: unknown field "san" (did you mean "sans"?)`},
		{entityRule("match", "source.sans.exists(a, source.sans.exists(b, source.sans.exists(c, a == b)))"), `2:1: rule "r": match: the expression can take too long for one request (use fewer loops within loops, and shorter regular expressions)`},
		{rule("r", "entity", "${source.sans}"), `2:3: rule "r": entity: a value of type list(string) can't become text (a string, a boolean or a whole number can)`},
		{entityRule("on_deny.x-a", "${source.sans[0]}"), `2:3: rule "r": on_deny: source comes from the request, which a header of the answer may not repeat` + tellableHint},
		{entityRule("match", "Peer{address: 'x'}.address == 'x'"), `2:5: rule "r": match: a Peer can't be made`},
		{rule("r", "entity", "${descriptor}"), `2:3: rule "r": entity: a value of type map(string, string) can't become text (a string, a boolean or a whole number can)`},
		{rule("r", "entity", `${request.headers[?"x"]}`), `2:3: rule "r": entity: a value of type optional_type(string) can't become text (say what stands in for it: .orValue("none"))`},
		{entityRule("match", "inCIDR(client_ip, ['10.0.0.0/99'])"), `2:20: rule "r": match: "10.0.0.0/99" is no CIDR, as in 10.0.0.0/8 or 2001:db8::/32`},
		{entityRule("match", "request.headers.exists(a, request.headers.exists(b, request.headers.exists(c, a == b)))"), `2:1: rule "r": match: the expression can take too long for one request (use fewer loops within loops, and shorter regular expressions)`},
		// Consume and limits.
		{entityRule("consume", "-1"), `2:1: rule "r": consume: -1 is not between 0 and 1e15 tokens`},
		{entityRule("consume", "2000000000000000"), `2:1: rule "r": consume: 2000000000000000 is not between 0 and 1e15 tokens`},
		{entityRule("consume", "1.5"), `2:1: rule "r": consume: 1.5 is no whole number of tokens`},
		{entityRule("consume", "context_extensions.cost"), `2:1: rule "r": consume: a value of type string is no number of tokens (int(...) makes a number of a text)`},
		{entityRule("consume.rpm", "1", "consume.rpm", "2"), `3:1: rule "r": consume: rpm is there twice`},
		{entityRule("consume.9", "1"), `2:1: rule "r": consume: the name "9" is not a letter followed by letters, digits and . _ -`},
		{entityRule("default_limits.rpm", "60"), `2:1: rule "r": default_limits: limit "60": no period: write RATE/PERIOD, as in 100/min`},
		{entityRule("default_limits.rpm", "60/min", "default_limits.rpm", "60/min"), `3:1: rule "r": default_limits: rpm is there twice`},
		// Words and numbers.
		{entityRule("enforce", "10"), `2:1: rule "r": enforce: "10" is not a percentage (did you mean "10%"?)`},
		{entityRule("enforce", "101%"), `2:1: rule "r": enforce: "101%" is not between 0% and 100%, with two decimals at most`},
		{entityRule("enforce", "-1%"), `2:1: rule "r": enforce: "-1%" is not between 0% and 100%, with two decimals at most`},
		{entityRule("enforce", "1.234%"), `2:1: rule "r": enforce: "1.234%" is not between 0% and 100%, with two decimals at most`},
		{entityRule("action", "chrage"), `2:1: rule "r": action: "chrage" is not one of charge, allow, deny (did you mean "charge"?)`},
		{entityRule("continue", "yes"), `2:1: rule "r": continue: "yes" is not one of false, true`},
		{entityRule("independent", "on"), `2:1: rule "r": independent: "on" is not one of false, true`},
		{rule("r", "action", "deny", "independent", "true"), `3:1: rule "r": independent: a rule with action: deny charges nothing`},
		{rule("r", "action", "allow", "entity", "x"), `3:1: rule "r": entity: a rule with action: allow charges nothing`},
		{rule("r", "action", "deny", "continue", "true"), `3:1: rule "r": continue: a rule with action: deny charges nothing`},
		{rule("r", "action", "deny", "on_allow.x", "a"), `2:1: rule "r": on_allow: a rule with action: deny never answers so`},
		{entityRule("on_deny.status", "200"), `2:1: rule "r": on_deny: the status is not a number from 400 to 599 (429 is the usual one)`},
		{entityRule("on_allow.status", "200"), `2:1: rule "r": on_allow: only headers can be set on what is allowed`},
		{entityRule("on_deny.content_type", "text/${x}"), `2:1: rule "r": on_deny: the content type is not a constant text in one line`},
		// Headers of answers repeat nothing of the request.
		{entityRule("on_deny.x-a", "${request.path}"), `2:3: rule "r": on_deny: request comes from the request, which a header of the answer may not repeat` + tellableHint},
		{entityRule("on_deny.x-a", "a ${entity.id}"), `2:5: rule "r": on_deny: entity.id comes from the request, which a header of the answer may not repeat` + tellableHint},
		{entityRule("on_deny.x-a", "${string(hits)}"), `2:10: rule "r": on_deny: hits comes from the request, which a header of the answer may not repeat` + tellableHint},
		{entityRule("on_deny.x-a", "${entries.map(e, e.value).join()}"), `2:3: rule "r": on_deny: entries comes from the request, which a header of the answer may not repeat` + tellableHint},
		{entityRule("on_deny.x-a", "a\r\nb"), `2:1: rule "r": on_deny: the value of x-a is not text in one line`},
		{rule("r", "match", "true"), `1:1: rule "r": entity: it says who is charged and is not there (entity: ${...}, or action: allow)`},
		{entityRule("namespace", "a b"), `2:1: rule "r": namespace: the namespace "a b" may hold letters, digits and . _ - : @ only, and begins with a letter or a digit`},
		{entityRule("resource", "_default_"), `2:1: rule "r": resource: _default_ is a reserved name`},
		{rule("_default_", "entity", "x"), `1:1: rule "_default_": resource: _default_ is a reserved name`},
		{rule("", "entity", "x"), `2:1: rule 1 has no name (name: tells rules apart, in metrics and explain)`},
	} {
		rules, errs, _ := Compile([]RuleSource{c.rule}, Options{Namespace: "default"})
		if rules != nil || len(errs) != 1 {
			t.Errorf("%q: %d errors, want 1: %v", c.want, len(errs), errs)
			continue
		}
		if got := errs[0].Error(); got != "rules.yaml:"+c.want {
			t.Errorf("\n got %s\nwant rules.yaml:%s", got, c.want)
		}
	}
}

// TestFaultsAllAtOnce has many faults in two rules.
func TestFaultsAllAtOnce(t *testing.T) {
	_, errs, _ := Compile([]RuleSource{
		ruleAt(1, "a", "match", "domian == 'x' || reqest.id == 'y'", "entity", "${nobody}-${descriptor.usr.x}", "enforce", "10"),
		ruleAt(10, "a", "entity", "${", "consume.rpm", "-1", "consume.tpm", "x"),
	}, Options{Namespace: "default", ClientIP: at("xff:0", 30)})
	var got []string
	for _, err := range errs {
		got = append(got, strings.TrimPrefix(err.Error(), "rules.yaml:"))
	}
	want := []string{
		`2:1: rule "a": match: unknown variable "domian" (did you mean "domain"?)`,
		`2:18: rule "a": match: unknown variable "reqest" (did you mean "request"?)`,
		`3:3: rule "a": entity: unknown variable "nobody"`,
		`3:27: rule "a": entity: a string has no fields`,
		`4:1: rule "a": enforce: "10" is not a percentage (did you mean "10%"?)`,
		`10:1: rule "a" is there twice (names of rules are unique)`,
		`11:1: rule "a": entity: a ${ is not closed (a literal ${ is written $${)`,
		`12:1: rule "a": consume: -1 is not between 0 and 1e15 tokens`,
		`13:1: rule "a": consume: unknown variable "x"`,
		`30:5: client_ip: the hop of x-forwarded-for is not a number from 1 to 100 (xff:1 is the last address, which the nearest proxy added)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestFaultWithoutFile(t *testing.T) {
	_, errs, _ := Compile([]RuleSource{{Name: Text{Value: "r"}, Entity: Text{Value: "${x}"}}}, Options{Namespace: "default"})
	if len(errs) != 1 || errs[0].Error() != `rule "r": entity: unknown variable "x"` {
		t.Errorf("got %v", errs)
	}
	if f := errs[0]; f.Offset != 2 || f.Width != 1 || f.Source.Value != "${x}" {
		t.Errorf("at %d, %d wide, of %q", f.Offset, f.Width, f.Source.Value)
	}
}

func TestLongForm(t *testing.T) {
	limits := func(limits ...LimitText) RuleSource {
		r := entityRule()
		r.DefaultLimits = limits
		return r
	}
	name := at("tpm", 5)
	out := compile(t, limits(LimitText{Name: name, Rate: at("100/min", 6), Burst: at("150", 7)})).Evaluate(descriptor("d"))
	if got, want := summary(out), "charge by r: x r each=1 tpm:100/min:150"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for want, l := range map[string]LimitText{
		`rules.yaml:5:1: rule "r": default_limits: tpm has no rate (as in 60/min)`:                   {Name: name, Burst: at("150", 7)},
		`rules.yaml:7:1: rule "r": default_limits: the burst of tpm is there twice`:                  {Name: name, Rate: at("1/min:2", 6), Burst: at("150", 7)},
		`rules.yaml:6:1: rule "r": default_limits: limit "1/min:x": burst "x" is not a whole number`: {Name: name, Rate: at("1/min", 6), Burst: at("x", 7)},
	} {
		_, errs, _ := Compile([]RuleSource{limits(l)}, Options{Namespace: "default"})
		if len(errs) != 1 || errs[0].Error() != want {
			t.Errorf("got %v, want %s", errs, want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"domain", "descriptor", "hits", "url_path"}
	for name, want := range map[string]string{
		"domian": "domain", "Descriptors": "descriptor", "urlpath": "url_path", "hist": "hits",
		"xyz": "", "foo": "", "request": "",
	} {
		if want != "" {
			want = `did you mean "` + want + `"?`
		}
		if got := didYouMean(name, known); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
