package decision

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// llmRules look at the tokens before a request, and book what it cost after it.
var llmRules = []descriptors.RuleSource{
	{
		Name: text("settle"), Match: text(`descriptor.phase == "settle"`), Settle: text("true"), Entity: text("${descriptor.user}"),
		Resource: text("gpt-4"), ConsumeEach: []descriptors.NamedText{{Name: text("tpm"), Value: text("hits")}},
	},
	{
		Name: text("chat"), Match: text("has(descriptor.user)"), Entity: text("${descriptor.user}"),
		Resource: text("gpt-4"), ConsumeEach: []descriptors.NamedText{{Name: text("tpm"), Value: text("0")}},
	},
}

// A tenant with 10 tokens left who spends 1,000 is at -990, and refused until
// that is repaid, to the second; and what a thousand streams cost that end at
// once while the bucket is below zero is booked, all of it. On both engines.
func TestDebtIsRepaid(t *testing.T) {
	for name, remote := range map[string]*ratelimit.Remote{"in process": nil, "remote": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { repayDebt(t, remote) })
		})
	}
}

func repayDebt(t *testing.T, remote *ratelimit.Remote) {
	rules, faults, _ := descriptors.Compile(llmRules, descriptors.Options{Namespace: "default"})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	limiter, err := ratelimit.New(ratelimit.Config{Store: embedstore.New(embedstore.Config{}), Remote: remote})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := limiter.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	f := &fixture{t: t, decider: New(limiter, nil), policy: &Policy{
		Rules: rules, Resolver: hierarchy.NewResolver("default", hierarchy.Document{
			System: hierarchy.Level{Limits: []ratelimit.Limit{ratelimit.Custom("tpm", 1000, 1, time.Second)}},
		}),
	}}
	settle := func(tokens uint64) {
		if a := f.decide(hits(tokens, false, "user", "alice", "phase", "settle")); a.Verdict != Allow {
			t.Errorf("settling %d: %v %v", tokens, a.Verdict, a.Err)
		}
	}
	look := func() Answer { return f.decide(descriptor("user", "alice")) }
	refused := func(wait time.Duration) {
		t.Helper()
		if a := look(); a.Verdict != Deny || a.RetryAfter != wait {
			t.Errorf("%v, retry after %v; want a denial and %v: %s %s %+v %v", a.Verdict, a.RetryAfter, wait, a.Reason, a.Source, a.Decision, a.Err)
		}
	}

	settle(990)
	f.want(look(), Allow, "allowed") // 10 are left
	settle(1000)
	const more = time.Millisecond // than 0, a look wants
	refused(990*time.Second + more)
	time.Sleep(989 * time.Second)
	refused(time.Second + more)
	time.Sleep(time.Second + more)
	f.want(look(), Allow, "allowed")

	settle(500)
	repaid := time.Now().Add(look().RetryAfter + 7000*time.Second)
	var streams sync.WaitGroup
	for range 1000 {
		streams.Go(func() { settle(7) })
	}
	streams.Wait()
	time.Sleep(time.Minute) // by then no memory of before answers
	refused(time.Until(repaid))
}
