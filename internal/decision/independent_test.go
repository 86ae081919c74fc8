package decision

import (
	"context"
	"testing"
	"time"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// aloneRules charge two buckets of a descriptor, each by itself, and one of
// `joint` together with others.
var aloneRules = []descriptors.RuleSource{
	{
		Name: text("wide"), Match: text("has(descriptor.user)"), Continue: text("true"), Independent: text("true"),
		Entity: text("everyone"), DefaultLimits: limits("n", "5/min"),
	},
	{
		Name: text("user"), Match: text("has(descriptor.user)"), Independent: text("true"),
		Entity: text("${descriptor.user}"), DefaultLimits: limits("n", "2/min"),
	},
	{Name: text("joint"), Match: text("has(descriptor.joint)"), Entity: text("${descriptor.joint}"), DefaultLimits: limits("n", "1/min")},
	{Name: text("out"), Match: text("has(descriptor.out)"), Action: text("deny")},
}

// inBothWays has groups asked one after the other, and all at once.
func inBothWays(t *testing.T, test func(t *testing.T, f *fixture)) {
	for name, inProcess := range map[string]bool{"in the process": true, "elsewhere": false} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, aloneRules...)
			f.policy.InProcess = inProcess
			test(t, f)
		})
	}
}

// left is what a bucket has, by a look that charges nothing; 5 where it is not
// there.
func (f *fixture) left(entity, resource string) int64 {
	f.t.Helper()
	k, err := ratelimit.NewKey("default", entity, resource, "")
	if err != nil {
		f.t.Fatal(err)
	}
	d, err := f.decider.limiter.Look(f.t.Context(), ratelimit.Ask{
		Now: f.decider.limiter.Now(), Resolver: f.policy.Resolver,
		Charges: []ratelimit.Charge{{Query: ratelimit.Query{Key: k, DefaultLimits: []ratelimit.Limit{ratelimit.PerMinute("n", 5)}}}},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return d.Buckets[0].Limits[0].Remaining()
}

// A denial of one charge keeps no independent one from being taken, and the
// call is denied all the same, by the charge that was.
func TestIndependentChargesAreDecidedByThemselves(t *testing.T) {
	inBothWays(t, func(t *testing.T, f *fixture) {
		alice, bob := descriptor("user", "alice"), descriptor("user", "bob")
		f.want(f.decide(alice), Allow, "allowed", Allow)
		f.want(f.decide(alice), Allow, "allowed", Allow)
		a := f.decide(bob, alice) // 3 and 4 of everyone
		f.want(a, Deny, "exceeded", Allow, Deny)
		if a.Rule.Name() != "user" || a.Entity.ID != "alice" || a.RetryAfter != 30*time.Second {
			t.Errorf("rule %s, entity %s, retry after %v", a.Rule.Name(), a.Entity.ID, a.RetryAfter)
		}
		if n := len(a.Decision.Buckets); n != 4 {
			t.Errorf("%d buckets, want 4", n)
		}
		for i, b := range a.Decision.Buckets {
			if b.Charge != i {
				t.Errorf("bucket %d belongs to charge %d", i, b.Charge)
			}
		}
		if got := f.left("everyone", "wide"); got != 1 {
			t.Errorf("everyone has %d left, want 1: each call was charged there", got)
		}
		f.want(f.decide(bob), Allow, "allowed")
		f.want(f.decide(descriptor("user", "carol")), Deny, "exceeded", Deny) // everyone has had 5
		if got := f.left("carol", "user"); got != 1 {
			t.Errorf("carol has %d of 2 left, want 1", got)
		}
	})
}

// What isn't independent is all or nothing beside what is.
func TestIndependentBesideOthers(t *testing.T) {
	inBothWays(t, func(t *testing.T, f *fixture) {
		f.want(f.decide(descriptor("joint", "x")), Allow, "allowed")
		f.want(f.decide(descriptor("joint", "x"), descriptor("joint", "y"), descriptor("user", "a")), Deny, "exceeded", Deny, Allow, Allow)
		if x, y, a := f.left("x", "joint"), f.left("y", "joint"), f.left("a", "user"); y != 5 || a != 1 {
			t.Errorf("left: x %d, y %d, a %d; want y whole and a charged", x, y, a)
		}
		f.want(f.decide(descriptor("out", "1"), descriptor("user", "b"), descriptor("joint", "z")), Deny, ReasonRule, Deny)
		if b, z := f.left("b", "user"), f.left("z", "joint"); b != 1 || z != 5 {
			t.Errorf("left beside a rule that denies: b %d, z %d; want 1 and 5", b, z)
		}
	})
}

// Of denials the one answers for which a wait helps least.
func TestIndependentDenialsWithoutAWait(t *testing.T) {
	inBothWays(t, func(t *testing.T, f *fixture) {
		big, small := descriptor("user", "big"), descriptor("joint", "x")
		big.Hits = 3
		f.want(f.decide(small), Allow, "allowed")
		a := f.decide(small, big)
		f.want(a, Deny, "never", Deny, Deny)
		if a.RetryAfter != 0 || a.Entity.ID != "big" {
			t.Errorf("retry after %v, entity %s", a.RetryAfter, a.Entity.ID)
		}
	})
}

// partly is a store that doesn't answer for some entities.
type partly struct {
	ratelimit.Store
	broken map[string]bool
}

func (s partly) Get(ctx context.Context, k ratelimit.Key) (ratelimit.State, error) {
	if s.broken[k.Entity()] {
		return ratelimit.State{}, ratelimit.ErrUnavailable
	}
	return s.Store.Get(ctx, k)
}

// A store that answers for one charge and not for another: a denial stands, and
// else the fallback of what is unknown answers.
func TestIndependentWithoutAnAnswer(t *testing.T) {
	for _, c := range []struct {
		fallback      ratelimit.Fallback
		verdict       Verdict
		reason        string
		retry         time.Duration
		first, second Verdict
	}{
		{ratelimit.FallbackError, Unavailable, ReasonUnavailable, 0, Allow, Allow},
		{ratelimit.FallbackAllow, Allow, ReasonUnavailable, 0, Allow, Allow},
		{ratelimit.FallbackDeny, Deny, ReasonUnavailable, time.Second, Allow, Deny},
	} {
		store := partly{embedstore.New(embedstore.Config{}), map[string]bool{"lost": true}}
		f := newFixture(t, store, hierarchy.Document{}, aloneRules...)
		f.policy.OnUnavailable = c.fallback
		a := f.decide(descriptor("user", "here"), descriptor("user", "lost"))
		f.want(a, c.verdict, c.reason, c.first, c.second)
		if a.Source != ratelimit.SourceFallback || a.RetryAfter != c.retry {
			t.Errorf("%v: source %v, retry %v", c.fallback, a.Source, a.RetryAfter)
		}
		if c.verdict == Deny && (a.Rule == nil || a.Rule.Name() != "user") {
			t.Errorf("rule %v", a.Rule)
		}
		f.decide(descriptor("user", "here")) // and takes the last of "here"
		a = f.decide(descriptor("user", "lost"), descriptor("user", "here"))
		f.want(a, Deny, "exceeded", map[bool]Verdict{true: Allow, false: Deny}[c.fallback == ratelimit.FallbackAllow], Deny)
	}
}
