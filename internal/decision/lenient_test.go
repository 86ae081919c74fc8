package decision

import (
	"testing"
	"time"

	"github.com/extauthz/extauthz/internal/dropin"
	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// perDay is a descriptor of a configuration with a limit: its key, how many a
// day, and what else it says.
func perDay(key string, n uint32, more ...func(*dropin.Descriptor)) dropin.Descriptor {
	d := dropin.Descriptor{Key: text(key), RateLimit: &dropin.RateLimit{Unit: text("day"), RequestsPerUnit: dropin.Number{N: n, Said: true}}}
	for _, say := range more {
		say(&d)
	}
	return d
}

func shadowed(d *dropin.Descriptor) { d.ShadowMode.On = true }
func quota(d *dropin.Descriptor)    { d.QuotaMode.On = true }
func called(name string) func(*dropin.Descriptor) {
	return func(d *dropin.Descriptor) { d.RateLimit.Name = text(name) }
}

func replacing(name string) func(*dropin.Descriptor) {
	return func(d *dropin.Descriptor) { d.RateLimit.Replaces = []descriptors.Text{text(name)} }
}

// adopted decides by a configuration of another format, in one domain.
func adopted(t *testing.T, inProcess bool, all ...dropin.Descriptor) *fixture {
	t.Helper()
	rules, faults, _ := dropin.Compile([]dropin.File{{Domain: text("edge"), Descriptors: all}}, dropin.Options{Namespace: "default"})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{})
	f.policy.Rules, f.policy.InProcess = rules, inProcess
	return f
}

// TestShadowsAdmit: what a shadow decides is told by its limit and the reason
// alone, also beside what denies.
func TestShadowsAdmit(t *testing.T) {
	for _, inProcess := range []bool{true, false} {
		f := adopted(t, inProcess, perDay("seen", 1, shadowed), perDay("hard", 2), perDay("none", 0, shadowed))
		seen, hard, none := descriptor("seen", "a"), descriptor("hard", "a"), descriptor("none", "a")
		f.want(f.decide(seen), Allow, "allowed", Allow)
		a := f.decide(hard, seen)
		f.want(a, Allow, ReasonShadow, Allow, Allow)
		if a.Parts[0].Excused || !a.Parts[1].Excused {
			t.Errorf("excused: %t and %t", a.Parts[0].Excused, a.Parts[1].Excused)
		}
		if a.Rule.Name() != "edge.seen" || a.RetryAfter != 0 || a.Parts[1].Limit.Remaining() != 0 {
			t.Errorf("rule %s, retry after %s, limit %+v", a.Rule.Name(), a.RetryAfter, a.Parts[1].Limit)
		}
		f.want(f.decide(seen, hard), Allow, ReasonShadow, Allow, Allow) // the last of 2
		a = f.decide(seen, hard)
		f.want(a, Deny, "exceeded", Allow, Deny)
		if a.Rule.Name() != "edge.hard" || a.RetryAfter < 11*time.Hour {
			t.Errorf("rule %s, retry after %s", a.Rule.Name(), a.RetryAfter)
		}
		f.want(f.decide(none), Allow, ReasonShadow, Allow)
	}
}

// TestQuotasDenyTogether: a quota denies when all of the call's are exceeded, and
// is told of always.
func TestQuotasDenyTogether(t *testing.T) {
	for _, inProcess := range []bool{true, false} {
		f := adopted(t, inProcess, perDay("one", 1, quota), perDay("two", 2, quota), perDay("hard", 4), perDay("none", 0, quota))
		one, two, hard, none := descriptor("one", "a"), descriptor("two", "a"), descriptor("hard", "a"), descriptor("none", "a")
		f.want(f.decide(one, two), Allow, "allowed", Allow, Allow)
		f.want(f.decide(one, two), Allow, ReasonShadow, Deny, Allow)
		f.want(f.decide(one, two, hard), Deny, "exceeded", Deny, Deny, Allow)
		f.want(f.decide(one, hard), Deny, "exceeded", Deny, Allow) // it is all the quotas there are
		f.want(f.decide(none, hard), Deny, ReasonRule, Deny, Allow)
		f.want(f.decide(none, descriptor("one", "b")), Allow, "allowed", Deny, Allow)
		f.want(f.decide(none, descriptor("one", "b")), Deny, "exceeded", Deny, Deny)
		f.want(f.decide(hard), Allow, "allowed", Allow) // the last of 4
		f.want(f.decide(hard, descriptor("two", "b")), Deny, "exceeded", Deny, Allow)
	}
}

// TestReplaced: a limit that another of the call's replaces is not charged.
func TestReplaced(t *testing.T) {
	f := adopted(t, true, perDay("wide", 1, called("w")), perDay("own", 3, replacing("w")), perDay("other", 1, called("o")))
	wide, own, other := descriptor("wide", "a"), descriptor("own", "a"), descriptor("other", "a")
	for range 2 {
		f.want(f.decide(wide, own), Allow, "allowed", Allow, Allow)
	}
	f.want(f.decide(wide, other), Allow, "allowed", Allow, Allow)
	f.want(f.decide(wide, own), Allow, "allowed", Allow, Allow)
	f.want(f.decide(wide, own), Deny, "exceeded", Allow, Deny)
	f.want(f.decide(wide), Deny, "exceeded", Deny)
}

// TestShadowOfAll: nothing is denied, and each part says what would be.
func TestShadowOfAll(t *testing.T) {
	f := adopted(t, true, perDay("one", 1), perDay("none", 0))
	f.policy.Shadow = true
	one, none := descriptor("one", "a"), descriptor("none", "a")
	f.want(f.decide(one), Allow, "allowed", Allow)
	a := f.decide(one)
	f.want(a, Allow, ReasonShadow, Deny)
	if a.RetryAfter != 0 {
		t.Errorf("an admission says to wait %s", a.RetryAfter)
	}
	f.want(f.decide(descriptor("one", "b"), none), Allow, ReasonShadow, Allow, Deny)
	if got := f.decide(descriptor("one", "b"), none).Parts[0]; got.Verdict != Deny {
		t.Errorf("what was charged beside a ban: %v", got.Verdict)
	}
}
