package descriptors

import (
	"fmt"
	"strings"
	"testing"
)

// at is a text whose bytes stand one after another in a line.
func at(value string, line int) Text {
	return Text{Value: value, Locate: func(offset int) Position {
		return Position{File: "rules.yaml", Line: line, Column: offset + 1}
	}}
}

// rule writes a rule as key, value, key, value: the keys of the configuration
// file, with a dot before the name of a limit or header. Its lines count from
// the name, which stands in the line given.
func ruleAt(line int, name string, pairs ...string) RuleSource {
	r := RuleSource{Name: at(name, line)}
	plain := map[string]*Text{
		"match": &r.Match, "action": &r.Action, "protocol": &r.Protocol, "continue": &r.Continue,
		"settle": &r.Settle, "independent": &r.Independent, "refunds": &r.Refunds,
		"enforce": &r.Enforce, "namespace": &r.Namespace, "entity": &r.Entity,
		"resource": &r.Resource, "tier": &r.Tier, "consume": &r.Consume,
	}
	for i := 0; i < len(pairs); i += 2 {
		key, value := pairs[i], at(pairs[i+1], line+1+i/2)
		if to := plain[key]; to != nil {
			*to = value
			continue
		}
		part, name, _ := strings.Cut(key, ".")
		entry := NamedText{Name: at(name, line+1+i/2), Value: value}
		switch part {
		case "consume":
			r.ConsumeEach = append(r.ConsumeEach, entry)
		case "default_limits":
			r.DefaultLimits = append(r.DefaultLimits, LimitText{Name: entry.Name, Text: value})
		case "on_allow":
			r.OnAllow = answerSource(r.OnAllow, name, entry)
		case "on_deny":
			r.OnDeny = answerSource(r.OnDeny, name, entry)
		default:
			panic("no such key: " + key)
		}
	}
	return r
}

func answerSource(a *AnswerSource, name string, entry NamedText) *AnswerSource {
	if a == nil {
		a = &AnswerSource{}
	}
	switch name {
	case "status":
		a.Status = entry.Value
	case "body":
		a.Body = entry.Value
	case "content_type":
		a.ContentType = entry.Value
	default:
		a.Headers = append(a.Headers, entry)
	}
	return a
}

func rule(name string, pairs ...string) RuleSource { return ruleAt(1, name, pairs...) }

// compile compiles rules that have no fault.
func compile(t testing.TB, src ...RuleSource) *Rules {
	t.Helper()
	rules, errs, _ := Compile(src, Options{Namespace: "default"})
	for _, err := range errs {
		t.Errorf("compiling: %s", err.Error())
	}
	if len(errs) > 0 {
		t.FailNow()
	}
	return rules
}

// descriptor is a request of the RateLimitService: domain, then key, value, ...
func descriptor(domain string, pairs ...string) *Request {
	r := &Request{Protocol: ProtocolRateLimit, Domain: domain, Hits: 1}
	for i := 0; i < len(pairs); i += 2 {
		r.Entries = append(r.Entries, Entry{pairs[i], pairs[i+1]})
	}
	return r
}

func withHits(r *Request, hits uint64) *Request {
	r.Hits = hits
	return r
}

// check is a request of the Authorization service: method, path, then header,
// value, ...
func check(method, path string, pairs ...string) *Request {
	r := &Request{
		Protocol: ProtocolExtAuthz, Hits: 1, ID: "1", Method: method, Path: path, Host: "example.com", Scheme: "https",
		Headers: map[string]string{}, Source: Peer{Address: "192.0.2.1"},
	}
	for i := 0; i < len(pairs); i += 2 {
		r.Headers[pairs[i]] = pairs[i+1]
	}
	return r
}

// summary writes an outcome in a line: what was charged by which rule, how much
// of what.
func summary(o Outcome) string {
	var b strings.Builder
	b.WriteString(o.Action.String())
	if o.Rule != nil {
		b.WriteString(" by " + o.Rule.Name())
	}
	for _, c := range o.Charges {
		b.WriteString(": " + chargeText(c))
	}
	for _, c := range o.Shadows {
		b.WriteString(" | shadow: " + chargeText(c))
	}
	return b.String()
}

func chargeText(c RuleCharge) string {
	k := c.Query.Key
	s := fmt.Sprintf("%s %s", k.Entity(), k.Resource())
	if k.Namespace() != "default" {
		s = k.Namespace() + " " + s
	}
	if n, all := c.Cost.Of("no such limit"); all {
		s += fmt.Sprintf(" each=%d", n)
	}
	for _, take := range c.Cost.Takes() {
		s += fmt.Sprintf(" %s=%d", take.Limit, take.Tokens)
	}
	if c.Query.Tier != "" {
		s += " tier=" + c.Query.Tier
	}
	for _, l := range c.Query.DefaultLimits {
		s += " " + l.String()
	}
	if c.Settle {
		s += " settle"
	}
	if c.Independent {
		s += " independent"
	}
	if o := c.Query.Override; o != nil {
		s += " override=" + o.Text()
	}
	return s
}

// fataler is what testing and rapid have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// compilerFor compiles natively what can be, or leaves all to CEL.
func compilerFor(t fataler, native bool) *compiler {
	t.Helper()
	env, err := newEnvironment()
	if err != nil {
		t.Fatalf("%v", err)
	}
	c := newCompiler(env, &faults{}, "test")
	c.noReads = !native
	return c
}

func conditionFor(t fataler, source string, native bool) condition {
	t.Helper()
	c := compilerFor(t, native)
	m := c.match(at(source, 1))
	for _, err := range c.errors {
		t.Fatalf("%s: %s", source, err.Error())
	}
	return m
}

func textFor(t fataler, source string, native bool) *text {
	t.Helper()
	c := compilerFor(t, native)
	made := c.text("text", at(source, 1))
	for _, err := range c.errors {
		t.Fatalf("%s: %s", source, err.Error())
	}
	return made
}
