package descriptors

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// values are texts that requests hold and rules compare with: empty, long, not
// UTF-8, and a few that meet.
var values = []string{
	"", "a", "ab", "b", "llm", "/v1/orders", "10.1.2.3", "::1", "not\xffutf8", "ä", "a b", "42",
	strings.Repeat("x", maxText), strings.Repeat("x", maxText+1), strings.Repeat("x", maxText) + "y",
}

func anyValue() *rapid.Generator[string] { return rapid.SampledFrom(values) }

var anyKey = rapid.SampledFrom([]string{"a", "b", "x-tenant", "cost"})

func anyTexts(t *rapid.T, label string) map[string]string {
	return rapid.MapOfN(anyKey, anyValue(), 0, 4).Draw(t, label)
}

// anyRequest is one of a protocol, with much that is missing or empty.
func anyRequest(t *rapid.T, p Protocol) *Request {
	r := &Request{Protocol: p, Hits: rapid.SampledFrom([]uint64{0, 1, 7, 1e15, 1e16, 1 << 63}).Draw(t, "hits")}
	if p == ProtocolRateLimit {
		r.Domain = anyValue().Draw(t, "domain")
		for range rapid.SampledFrom([]int{0, 1, 2, 3, 4, 20}).Draw(t, "entries") {
			r.Entries = append(r.Entries, Entry{anyKey.Draw(t, "key"), anyValue().Draw(t, "value")})
		}
		return r
	}
	r.Method = rapid.SampledFrom([]string{"", "GET", "POST"}).Draw(t, "method")
	r.Path = rapid.SampledFrom([]string{"", "/", "/v1/orders?a=b&b=%ff&a=c&cost=", "/?x-tenant=a+b%20c&b", "/%zz?a=%zz#f"}).Draw(t, "path")
	r.Headers = anyTexts(t, "headers")
	r.ContextExtensions = anyTexts(t, "extensions")
	r.Source = Peer{Address: anyValue().Draw(t, "address"), Principal: anyValue().Draw(t, "principal")}
	if rapid.Bool().Draw(t, "has metadata") {
		r.Metadata = anyObject(t, 2)
	}
	return r
}

func anyObject(t *rapid.T, depth int) Object {
	o := Object{}
	for _, key := range []string{"a", "b"} {
		switch rapid.IntRange(0, 7).Draw(t, key) {
		case 0:
			o[key] = nil
		case 1:
			o[key] = true
		case 2:
			o[key] = rapid.SampledFrom([]float64{0, 3, -2, 1.5, 1e16, 1e300}).Draw(t, "number")
		case 3:
			o[key] = anyValue().Draw(t, "text")
		case 4:
			o[key] = someList{"a", 1.0}
		case 5, 6:
			if depth > 0 {
				o[key] = anyObject(t, depth-1)
			}
		}
	}
	return o
}

// someList is a list of metadata.
type someList []any

func (l someList) Len() int     { return len(l) }
func (l someList) At(i int) any { return l[i] }

var (
	readsOf = map[Protocol][]string{
		ProtocolRateLimit: {"domain", "descriptor.a", `descriptor["x-tenant"]`, "descriptor.b"},
		ProtocolExtAuthz: {
			"request.method", "request.url_path", "request.path", `request.headers["x-tenant"]`, "request.headers.a",
			"request.query_params.a", `request.query_params["b"]`, "context_extensions.cost", "source.principal", "client_ip", "source.address",
		},
	}
	testsOf = map[Protocol][]string{
		ProtocolRateLimit: {"has(descriptor.a)", `"b" in descriptor`, "size(descriptor) == 2", "size(descriptor) < 1", "size(descriptor) == 3", "hits > 5", "hits != 1"},
		ProtocolExtAuthz: {
			"has(request.method)", "has(request.headers.a)", `"x-tenant" in request.headers`, "size(request.headers) >= 2",
			"size(request.query_params) == 1", "has(source.principal)", "has(context_extensions.cost)", "hits == 1",
			`has(metadata.a.b)`, `metadata.a == "a"`,
		},
	}
)

// anyTest is a condition without "and", "or", "not".
func anyTest(t *rapid.T, p Protocol) string {
	if rapid.IntRange(0, 2).Draw(t, "kind") == 0 {
		return rapid.SampledFrom(append([]string{"true", "false"}, testsOf[p]...)).Draw(t, "test")
	}
	read := rapid.SampledFrom(readsOf[p]).Draw(t, "read")
	with := rapid.SampledFrom([]string{"a", "b", "llm", "/v1", "x", "GET"}).Draw(t, "with")
	return fmt.Sprintf(rapid.SampledFrom([]string{
		"%s == %q", "%s != %q", "%s.startsWith(%q)", "%s.endsWith(%q)", "%s.contains(%q)", `%s in [%q, "ab"]`,
		`inCIDR(%s, ["10.0.0.0/8", "::1"]) || %q == "never"`, `isIP(%s) && %q != ""`, `%s.matches(%q)`, "%s + %q == 'aa'",
	}).Draw(t, "form"), read, with)
}

func anyCondition(t *rapid.T, p Protocol, depth int) string {
	kind := 0
	if depth > 0 {
		kind = rapid.IntRange(0, 4).Draw(t, "node")
	}
	switch kind {
	case 1, 2:
		return "(" + anyCondition(t, p, depth-1) + " && " + anyCondition(t, p, depth-1) + ")"
	case 3:
		return "(" + anyCondition(t, p, depth-1) + " || " + anyCondition(t, p, depth-1) + ")"
	case 4:
		return "!(" + anyCondition(t, p, depth-1) + ")"
	}
	return anyTest(t, p)
}

var bothOnce = rapid.SampledFrom([]Protocol{ProtocolRateLimit, ProtocolExtAuthz})

// kindOf is all that counts of an error.
func kindOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, errMissing):
		return "missing"
	}
	return "invalid"
}

// TestNativeConditionsAreCEL compares what conditions decide natively and in
// CEL.
func TestNativeConditionsAreCEL(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := bothOnce.Draw(t, "protocol")
		source := anyCondition(t, p, 3)
		native, inCEL := conditionFor(t, source, true), conditionFor(t, source, false)
		for range 20 {
			ev := newEvaluation(clientIP{}, newSANs())
			ev.begin(anyRequest(t, p), nil)
			got, gotErr := native.holds(ev)
			want, wantErr := inCEL.holds(ev)
			if got != want || kindOf(gotErr) != kindOf(wantErr) {
				t.Fatalf("%s for %.900s:\nnative %t, %v\nCEL    %t, %v", source, fmt.Sprintf("%+v", ev.req), got, gotErr, want, wantErr)
			}
		}
	})
}

// TestNativeTextsAreCEL compares what texts are natively and in CEL; long ones
// are whole natively, and capped in CEL.
func TestNativeTextsAreCEL(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := bothOnce.Draw(t, "protocol")
		reads := append([]string{"hits", "'constant'", "5"}, readsOf[p]...)
		if p == ProtocolExtAuthz {
			reads = append(reads, "metadata.a", "metadata.a.b", `metadata["b"].a.b`, "metadata.missing.a")
		}
		prefix := rapid.SampledFrom([]string{"", "org-"}).Draw(t, "prefix")
		source := prefix + "${" + rapid.SampledFrom(reads).Draw(t, "read") + "}"
		native, inCEL := textFor(t, source, true), textFor(t, source, false)
		for range 20 {
			ev := newEvaluation(clientIP{}, newSANs())
			ev.begin(anyRequest(t, p), nil)
			got, gotErr := native.write(ev)
			want, wantErr := inCEL.write(ev)
			if body := strings.TrimPrefix(got, prefix); len(body) > maxText {
				got = prefix + capped(body)
			}
			if got != want || kindOf(gotErr) != kindOf(wantErr) {
				t.Fatalf("%s for %.900s:\nnative %.99q, %v\nCEL    %.99q, %v", source, fmt.Sprintf("%+v", ev.req), got, gotErr, want, wantErr)
			}
		}
	})
}
