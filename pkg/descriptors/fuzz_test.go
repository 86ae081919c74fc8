package descriptors

import "testing"

// FuzzEvaluate compiles rules of any text and evaluates them for requests of any
// bytes: whatever compiles decides, and never panics.
func FuzzEvaluate(f *testing.F) {
	for _, s := range []struct{ match, entity, consume, value string }{
		{`domain == "llm" && has(descriptor.user)`, "${descriptor.user}", "1", "u"},
		{`request.url_path.startsWith("/v1")`, `${sha256(request.headers["k"])}`, "hits", "a\xffb"},
		{`entries.exists(e, e.key == "k" && e.value.contains("x"))`, "org-${entries[0].value.upperAscii()}", "size(entries)", ""},
		{`inCIDR(client_ip, ["10.0.0.0/8"]) || isIP(source.principal)`, "${metadata.f.k}${client_ip}", "int(context_extensions.k)", "10.0.0.1"},
		{`source.sans.all(s, s.size() > 2)`, `${source.sans.join(",")}${source.?sans.orValue([]).size()}`, "size(source.sans)", "%"},
		{`request.query_params.k.matches("^[0-9]+$")`, "${request.query_params.k.split(',').join('-')}", "int(request.headers.k) % 7", "12"},
		{`!has(metadata.f.k) || metadata.f.k.size() > 2`, `${metadata.f.k.format([metadata.f])}`, "metadata.f.k", "%d%s"},
		{`descriptor.k.charAt(3) == "ä"`, `${descriptor[?"k"].orValue("none").replace("a", "b").reverse()}`, "5 / hits", "äöü"},
	} {
		f.Add(s.match, s.entity, s.consume, s.value)
	}
	f.Fuzz(func(t *testing.T, match, entity, consume, value string) {
		if len(match)+len(entity)+len(consume) > 400 {
			return
		}
		rules, errs, _ := Compile([]RuleSource{
			rule("r", "match", match, "entity", entity, "consume", consume, "on_allow.x", entity, "on_deny.body", entity),
		}, Options{Namespace: "default", ClientIP: Text{Value: "x-envoy-external-address"}})
		for _, err := range errs {
			if err.Message == "" || err.Offset < 0 || err.Offset > len(err.Source.Value) || err.Width < 1 {
				t.Fatalf("fault %+v", err)
			}
		}
		if rules == nil {
			return
		}
		d := descriptor(value, "user", value, "k", value)
		c := extensions(check(value, "/"+value+"?k="+value, "k", value, "x-envoy-external-address", value), "k", value)
		c.Source = Peer{Address: value, Principal: value, SANs: []string{value, "x"}}
		c.Metadata = Object{"f": Object{"k": value, "n": float64(len(value)), "l": someList{value, nil}}}
		evaluateAnything(t, rules, d)
		evaluateAnything(t, rules, withHits(d, 0))
		evaluateAnything(t, rules, c)
	})
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		compile(b, rule("r", "match", `domain == "llm" && has(descriptor.user)`, "entity", "${descriptor.user}"))
	}
}
