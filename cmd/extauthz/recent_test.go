package main

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/internal/recent"
	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// remembered is a memory of a denial of each kind, and of an admission.
func remembered(t *testing.T) *recent.Recorder {
	t.Helper()
	rules, faults, _ := descriptors.Compile([]descriptors.RuleSource{
		{Name: descriptors.Text{Value: "chat"}, Entity: descriptors.Text{Value: "x"}},
	}, descriptors.Options{Namespace: "default"})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	rule := rules.All()[0]
	key, err := ratelimit.NewKey("default", "al\x1bice", "gpt-4", "")
	if err != nil {
		t.Fatal(err)
	}
	reqs := []*descriptors.Request{{Protocol: descriptors.ProtocolExtAuthz}}
	charges := []descriptors.RuleCharge{{Rule: rule, Charge: ratelimit.Charge{Query: ratelimit.Query{Key: key}}}}
	parts := []decision.Part{{Outcome: descriptors.Outcome{Charges: charges}}}
	bucket := func(of ratelimit.Key, parent int) ratelimit.BucketStatus {
		return ratelimit.BucketStatus{Parent: parent, Key: of, Limits: []ratelimit.LimitStatus{
			{Limit: ratelimit.PerMinute("rpm", 6), Cost: 3, Violated: parent > 0},
		}}
	}
	own, parent := bucket(key, 0), bucket(key.WithEntity("acme"), 1)
	admitted := ratelimit.Decision{Allowed: true, Buckets: []ratelimit.BucketStatus{own}}
	denied := ratelimit.Decision{
		Reason: ratelimit.ReasonExceeded, RetryAfter: 1500 * time.Millisecond, Buckets: []ratelimit.BucketStatus{own, parent},
	}
	r := recent.New(func() time.Time { return time.Unix(1_800_000_000, 0) })
	r.Decided(nil, reqs, &decision.Answer{Parts: parts, Decision: admitted}, 0)
	r.Decided(nil, reqs, &decision.Answer{Verdict: decision.Invalid, Reason: decision.ReasonInvalid, Err: errors.New("no number")}, 0)
	r.Shadowed(nil, rule, &denied, nil)
	r.Decided(nil, reqs, &decision.Answer{
		Verdict: decision.Deny, Reason: "exceeded", RetryAfter: denied.RetryAfter, Rule: rule, Parts: parts, Decision: denied,
	}, 0)
	return r
}

// Tables have what is to be known, and nothing that does something to a
// terminal.
func TestRecentAsTables(t *testing.T) {
	address, blanks := serveAdmin(t, embedstore.New(embedstore.Config{})), regexp.MustCompile(" +")
	for line, want := range map[string]string{
		"denials list": "^TIME NAMESPACE ENTITY RESOURCE LIMIT RULE REASON RETRY AFTER SOURCE\n" +
			`2027-01-15T08:00:00Z default "al\\x1bice" \(by acme\) gpt-4 rpm 6/min chat exceeded 1.5s store` + "\n" +
			`2027-01-15T08:00:00Z default "al\\x1bice" \(by acme\) gpt-4 rpm 6/min chat exceeded \(shadow\) 1.5s store` + "\n" +
			`2027-01-15T08:00:00Z - - - - - invalid: no number - -` + "\n$",
		"denials list --limit 1":                    `^TIME.*\n.*exceeded.*\nthere is more: add --after 3\n$`,
		"denials list --after 2 -n default":         `^TIME.*\n$`,
		"denials list --rule chat -e acme -r gpt-4": `^TIME.*\n.*al.*\n.*shadow.*\n$`,
		"top": `^NAMESPACE ENTITY DENIALS\ndefault "al.x1bice" 1\nsince 2027-01-15T08:00:00Z\n$`,
		"top --by consumption --limit 3 -n default":  `^LIMIT NAMESPACE ENTITY TOKENS\nrpm default "al.x1bice" 3\nsince `,
		"top --by consumption --namespace elsewhere": `^LIMIT NAMESPACE ENTITY TOKENS\nsince `,
	} {
		var out bytes.Buffer
		if status := run(t.Context(), append(strings.Fields(line), "--server", address), nil, &out, &out); status != exitOK {
			t.Errorf("%s: %d", line, status)
		}
		if printed := blanks.ReplaceAllString(out.String(), " "); !regexp.MustCompile(want).MatchString(printed) {
			t.Errorf("%s printed\n%s\nwant\n%s", line, printed, want)
		}
	}
}
