package decision

import (
	"testing"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

var refundRules = []descriptors.RuleSource{
	{
		Name: text("credited"), Match: text(`descriptor.kind == "credited"`), Entity: text("${descriptor.user}"),
		Refunds: text("true"), DefaultLimits: limits("n", "5/min"),
	},
	{Name: text("kept"), Match: text("has(descriptor.user)"), Entity: text("${descriptor.user}"), DefaultLimits: limits("n", "5/min")},
	{Name: text("out"), Match: text("has(descriptor.out)"), Action: text("deny")},
}

func hits(n uint64, refund bool, pairs ...string) *descriptors.Request {
	r := descriptor(pairs...)
	r.Hits, r.Refund = n, refund
	return r
}

// By default hits that are given back mint nothing: Envoy sends them for what
// was denied too. A rule that credits them does so up to the capacity, which is
// to mint where the charge was denied.
func TestRefunds(t *testing.T) {
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, refundRules...)
	for _, c := range []struct {
		kind, resource string
		want           []int64 // left: after a charge of 3, its refund, a denied 9, its refund, and too much
	}{
		{"kept", "kept", []int64{2, 2, 2, 2, 2}},
		{"credited", "credited", []int64{2, 5, 5, 5, 5}},
	} {
		for i, r := range []*descriptors.Request{
			hits(3, false, "kind", c.kind, "user", "u"), hits(3, true, "kind", c.kind, "user", "u"),
			hits(9, false, "kind", c.kind, "user", "u"), hits(9, true, "kind", c.kind, "user", "u"), hits(1e12, true, "kind", c.kind, "user", "u"),
		} {
			a := f.decide(r)
			if allowed := r.Refund || i == 0; (a.Verdict == Allow) != allowed {
				t.Fatalf("%s, step %d: %v %v", c.kind, i, a.Verdict, a.Err)
			}
			if got := f.left("u", c.resource); got != c.want[i] {
				t.Errorf("%s, step %d: %d left, want %d", c.kind, i, got, c.want[i])
			}
		}
	}
	// The denied charge and its refund on an empty bucket: what it may not mint,
	// and what it does with the key.
	f.want(f.decide(hits(5, false, "kind", "credited", "user", "v")), Allow, "allowed")
	f.want(f.decide(hits(2, false, "kind", "credited", "user", "v")), Deny, "exceeded")
	f.want(f.decide(hits(2, true, "kind", "credited", "user", "v")), Allow, ReasonRule)
	if got := f.left("v", "credited"); got != 2 {
		t.Errorf("%d left, want the 2 that refunds: true mints here", got)
	}
}

// A refund beside a denial is credited, and told in its own part.
func TestRefundBesideADenial(t *testing.T) {
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, refundRules...)
	f.want(f.decide(hits(4, false, "kind", "credited", "user", "u")), Allow, "allowed")
	a := f.decide(descriptor("out", "1"), hits(2, true, "kind", "credited", "user", "u"), hits(1, true, "kind", "kept", "user", "u"))
	f.want(a, Deny, ReasonRule, Deny, Allow, Allow)
	if l := a.Parts[1].Limit; l == nil || l.Remaining() != 3 {
		t.Errorf("told of %+v, want 3 left", l)
	}
	if a.Parts[2].Limit != nil || !a.Parts[2].Outcome.Refund || a.Parts[2].Outcome.Rule != nil {
		t.Errorf("the refund that isn't credited: %+v", a.Parts[2])
	}
}

// Explain and what else only looks give nothing back.
func TestLookGivesNothingBack(t *testing.T) {
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, refundRules...)
	f.decide(hits(4, false, "kind", "credited", "user", "u"))
	a := f.decider.Look(t.Context(), f.policy, []*descriptors.Request{hits(2, true, "kind", "credited", "user", "u")})
	if f.want(a, Allow, ReasonRule); f.left("u", "credited") != 1 {
		t.Error("credited by a look")
	}
}

// A refund that is lost with the store denies nobody, and is visible.
func TestRefundWithoutAStore(t *testing.T) {
	f := newFixture(t, broken{}, hierarchy.Document{}, refundRules...)
	a := f.decide(hits(4, true, "kind", "credited", "user", "u"))
	if f.want(a, Allow, ReasonUnavailable); a.Source != ratelimit.SourceFallback || a.Err == nil {
		t.Errorf("source %v, error %v", a.Source, a.Err)
	}
}

// One call gives back to so many buckets at most.
func TestRefundsAreBounded(t *testing.T) {
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, refundRules...)
	f.decide(hits(5, false, "kind", "credited", "user", "last"))
	reqs := make([]*descriptors.Request, MaxCharges+1)
	for i := range reqs {
		reqs[i] = hits(1, true, "kind", "credited", "user", "u")
	}
	reqs[MaxCharges] = hits(1, true, "kind", "credited", "user", "last")
	f.want(f.decide(reqs...), Allow, ReasonRule)
	if got := f.left("last", "credited"); got != 0 {
		t.Errorf("%d given back", got)
	}
	f.decide(reqs[MaxCharges])
	if got := f.left("last", "credited"); got != 1 {
		t.Errorf("%d left, want 1", got)
	}
}
