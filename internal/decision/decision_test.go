package decision

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func text(s string) descriptors.Text { return descriptors.Text{Value: s} }

func limits(name, rate string) []descriptors.LimitText {
	return []descriptors.LimitText{{Name: text(name), Text: text(rate)}}
}

// watch counts what an observer is told.
type watch struct {
	decided  []Verdict
	shadowed []ratelimit.Reason
	busy     int
}

func (w *watch) Decided(_ *Policy, _ []*descriptors.Request, a *Answer, _ time.Duration) {
	w.decided = append(w.decided, a.Verdict)
}

func (w *watch) Shadowed(_ *Policy, _ *descriptors.Rule, d *ratelimit.Decision, err error) {
	if errors.Is(err, errBusy) {
		w.busy++
		return
	}
	w.shadowed = append(w.shadowed, d.Reason)
}

// broken is a store that answers nothing.
type broken struct{}

func (broken) Apply(context.Context, *ratelimit.Write) (ratelimit.State, error) {
	return ratelimit.State{}, errors.New("no route")
}

func (broken) Get(context.Context, ratelimit.Key) (ratelimit.State, error) {
	return ratelimit.State{}, errors.New("no route")
}

type fixture struct {
	t       *testing.T
	policy  *Policy
	decider *Decider
	watch   watch
}

func newFixture(t *testing.T, store ratelimit.Store, doc hierarchy.Document, rules ...descriptors.RuleSource) *fixture {
	t.Helper()
	compiled, faults, _ := descriptors.Compile(rules, descriptors.Options{Namespace: "default"})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	at := ratelimit.Epoch.Add(time.Hour)
	l, err := ratelimit.New(ratelimit.Config{Store: store, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	// The timeout is for however busy the machine is.
	f := &fixture{t: t, policy: &Policy{Rules: compiled, Resolver: hierarchy.NewResolver("default", doc), Timeout: time.Minute}}
	f.decider = New(l, &f.watch)
	return f
}

// descriptor is a request with one descriptor of key, value pairs.
func descriptor(pairs ...string) *descriptors.Request {
	r := &descriptors.Request{Protocol: descriptors.ProtocolRateLimit, Domain: "edge", Hits: 1}
	for i := 0; i < len(pairs); i += 2 {
		r.Entries = append(r.Entries, descriptors.Entry{Key: pairs[i], Value: pairs[i+1]})
	}
	return r
}

func (f *fixture) decide(reqs ...*descriptors.Request) Answer {
	return f.decider.Decide(f.t.Context(), f.policy, reqs)
}

func (f *fixture) want(a Answer, v Verdict, reason string, parts ...Verdict) {
	f.t.Helper()
	if a.Verdict != v || a.Reason != reason {
		f.t.Fatalf("%v (%s), want %v (%s); %v", a.Verdict, a.Reason, v, reason, a.Err)
	}
	for i, p := range parts {
		if a.Parts[i].Verdict != p {
			f.t.Errorf("part %d: %v, want %v", i, a.Parts[i].Verdict, p)
		}
	}
}

var perUser = descriptors.RuleSource{
	Name: text("user"), Match: text("has(descriptor.user)"), Entity: text("${descriptor.user}"),
	DefaultLimits: limits("n", "2/min"),
}

func TestDescriptorsOfOneCallAreOneDecision(t *testing.T) {
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, perUser)
	alice, bob := descriptor("user", "alice"), descriptor("user", "bob")
	f.want(f.decide(alice), Allow, "allowed", Allow)
	f.want(f.decide(alice, bob), Allow, "allowed", Allow, Allow)
	a := f.decide(bob, alice)
	f.want(a, Deny, "exceeded", Allow, Deny)
	if a.RetryAfter != 30*time.Second || a.Rule.Name() != "user" || a.Entity.ID != "alice" {
		t.Errorf("%v, rule %s, entity %s", a.RetryAfter, a.Rule.Name(), a.Entity.ID)
	}
	if l := a.Parts[0].Limit; l == nil || l.Remaining() != 1 {
		t.Errorf("bob has %+v left", l)
	}
	f.want(f.decide(bob), Allow, "allowed") // the denial took nothing from him
	f.want(f.decide(bob), Deny, "exceeded")
}

func TestNoMatch(t *testing.T) {
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, perUser)
	f.want(f.decide(descriptor("other", "x")), Allow, ReasonNoMatch, Allow)
	f.policy.DenyNoMatch = true
	f.want(f.decide(descriptor("other", "x")), Deny, ReasonNoMatch, Deny)
	f.want(f.decide(descriptor("user", "a"), descriptor("other", "x")), Deny, ReasonNoMatch, Allow, Deny)
	f.want(f.decide(descriptor("user", "a")), Allow, "allowed")
}

func TestNoLimitsIsAsNoMatch(t *testing.T) {
	rule := perUser
	rule.DefaultLimits = nil
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, rule)
	f.want(f.decide(descriptor("user", "a")), Allow, "no_limits")
	f.policy.DenyNoMatch = true
	f.want(f.decide(descriptor("user", "a")), Deny, "unlimited", Deny)
}

func TestInvalidChargesNothing(t *testing.T) {
	bad := descriptors.RuleSource{
		Name: text("cost"), Match: text("has(descriptor.cost)"), Entity: text("all"), Consume: text("int(descriptor.cost)"),
		DefaultLimits: limits("n", "10/min"),
	}
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, bad, perUser)
	a := f.decide(descriptor("user", "a"), descriptor("cost", "many"))
	f.want(a, Invalid, ReasonInvalid, Allow, Invalid)
	if a.Err == nil {
		t.Error("no reason given")
	}
	f.want(f.decide(descriptor("user", "a")), Allow, "allowed")
	f.want(f.decide(descriptor("user", "a")), Allow, "allowed")
}

func TestRuleActions(t *testing.T) {
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{},
		descriptors.RuleSource{Name: text("in"), Match: text(`descriptor.who == "in"`), Action: text("allow")},
		descriptors.RuleSource{Name: text("out"), Match: text(`descriptor.who == "out"`), Action: text("deny")},
		perUser)
	f.want(f.decide(descriptor("who", "in")), Allow, ReasonRule)
	a := f.decide(descriptor("who", "out"))
	f.want(a, Deny, ReasonRule, Deny)
	if a.Rule.Name() != "out" || a.RetryAfter != 0 {
		t.Errorf("rule %v, retry %v", a.Rule, a.RetryAfter)
	}
}

// What settles is booked whatever else is decided.
func TestSettleBesideADenial(t *testing.T) {
	settle := descriptors.RuleSource{
		Name: text("settle"), Match: text(`descriptor.phase == "settle"`), Entity: text("${descriptor.user}"), Resource: text("user"),
		Settle: text("true"), DefaultLimits: limits("n", "2/min"),
	}
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{},
		settle, descriptors.RuleSource{Name: text("out"), Match: text(`descriptor.who == "out"`), Action: text("deny")}, perUser)
	big := descriptor("phase", "settle", "user", "a")
	big.Hits = 5
	f.want(f.decide(big, descriptor("who", "out")), Deny, ReasonRule)
	a := f.decide(descriptor("user", "a"))
	f.want(a, Deny, "exceeded")
	if a.RetryAfter != 2*time.Minute {
		t.Errorf("booked to a wait of %v", a.RetryAfter)
	}
}

func TestShadowsAreCountedOnBucketsOfTheirOwn(t *testing.T) {
	strict := perUser
	strict.Name, strict.Enforce, strict.DefaultLimits = text("strict"), text("0%"), limits("n", "1/min")
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, strict, perUser)
	for range 2 {
		f.want(f.decide(descriptor("user", "a")), Allow, "allowed")
		f.decider.Wait()
	}
	f.want(f.decide(descriptor("user", "a")), Deny, "exceeded")
	f.decider.Wait()
	want := []ratelimit.Reason{ratelimit.ReasonAllowed, ratelimit.ReasonExceeded, ratelimit.ReasonExceeded}
	for i := range want {
		if i >= len(f.watch.shadowed) || f.watch.shadowed[i] != want[i] {
			t.Fatalf("shadows: %v", f.watch.shadowed)
		}
	}
	if len(f.watch.decided) != 3 {
		t.Errorf("decided: %v", f.watch.decided)
	}
}

// held is a store that answers writes of a variant's bucket when it is let go.
type held struct {
	ratelimit.Store
	free chan struct{}
}

func (h held) Apply(ctx context.Context, w *ratelimit.Write) (ratelimit.State, error) {
	if w.Key.Variant() != "" {
		<-h.free
	}
	return h.Store.Apply(ctx, w)
}

// TestShadowsKeepNobodyWaiting: where a store has to be asked, the call is
// answered before its shadows, even when its context ends.
func TestShadowsKeepNobodyWaiting(t *testing.T) {
	strict := perUser
	strict.Name, strict.Enforce = text("strict"), text("0%")
	store := held{embedstore.New(embedstore.Config{}), make(chan struct{})}
	f := newFixture(t, store, hierarchy.Document{}, strict, perUser)
	ctx, cancel := context.WithCancel(t.Context())
	f.want(f.decider.Decide(ctx, f.policy, []*descriptors.Request{descriptor("user", "a")}), Allow, "allowed")
	cancel()
	close(store.free)
	f.decider.Wait()
	if len(f.watch.shadowed) != 1 || f.watch.shadowed[0] != ratelimit.ReasonAllowed {
		t.Errorf("shadows: %v", f.watch.shadowed)
	}
}

// TestShadowsHoldNoRequest: what is to be decided behind a call may wait long, and
// the texts of a request are parts of one.
func TestShadowsHoldNoRequest(t *testing.T) {
	const calls, size = 64, 1 << 20
	strict := perUser
	strict.Name, strict.Enforce, strict.Tier = text("strict"), text("0%"), text("${descriptor.tier}")
	store := held{embedstore.New(embedstore.Config{}), make(chan struct{})}
	f := newFixture(t, store, hierarchy.Document{}, strict, perUser)
	f.decider.observer = nil // the fixture's is for one call at a time
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for i := range calls {
		request := fmt.Sprintf("%04dgold", i) + strings.Repeat("x", size)
		a := f.decide(descriptor("user", request[:4], "tier", request[4:8], "rest", request[8:]))
		f.decider.Free(&a)
	}
	if grown := heap() - before; grown > calls*size/4 {
		t.Errorf("%d KB are held for each of the calls whose shadows wait", grown/calls>>10)
	}
	close(store.free)
	f.decider.Wait()
}

// TestShadowsAreBounded: neither one call nor many of them make more shadows
// than there is room for.
func TestShadowsAreBounded(t *testing.T) {
	strict := perUser
	strict.Name, strict.Enforce = text("strict"), text("0%")
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, strict)
	reqs := make([]*descriptors.Request, MaxCharges+1)
	for i := range reqs {
		reqs[i] = descriptor("user", "a")
	}
	f.decide(reqs...)
	f.decider.Wait()
	if len(f.watch.shadowed) != MaxCharges {
		t.Errorf("%d shadows of one call", len(f.watch.shadowed))
	}
	for range maxBehind {
		f.decider.slots <- struct{}{}
	}
	f.want(f.decide(reqs[0]), Allow, ReasonNoMatch)
	if f.watch.busy != 1 || len(f.watch.shadowed) != MaxCharges {
		t.Errorf("%d counted as undecided, %d decided", f.watch.busy, len(f.watch.shadowed)-MaxCharges)
	}
	<-f.decider.slots
	f.decide(reqs[0])
	f.decider.Wait()
	if f.watch.busy != 1 || len(f.watch.shadowed) != MaxCharges+1 {
		t.Errorf("%d counted as undecided, %d decided when there is room", f.watch.busy, len(f.watch.shadowed)-MaxCharges)
	}
}

func TestLookChargesAndCountsNothing(t *testing.T) {
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, perUser)
	for range 5 {
		a := f.decider.Look(t.Context(), f.policy, []*descriptors.Request{descriptor("user", "a")})
		f.want(a, Allow, "allowed")
	}
	if len(f.watch.decided) != 0 {
		t.Errorf("counted: %v", f.watch.decided)
	}
}

func TestFallbacks(t *testing.T) {
	for _, c := range []struct {
		configured ratelimit.Fallback
		system     ratelimit.Fallback
		verdict    Verdict
		retry      time.Duration
	}{
		{ratelimit.FallbackUnset, ratelimit.FallbackUnset, Unavailable, 0},
		{ratelimit.FallbackError, ratelimit.FallbackUnset, Unavailable, 0},
		{ratelimit.FallbackAllow, ratelimit.FallbackUnset, Allow, 0},
		{ratelimit.FallbackDeny, ratelimit.FallbackUnset, Deny, time.Second},
		{ratelimit.FallbackDeny, ratelimit.FallbackAllow, Allow, 0}, // the store's word comes first
	} {
		doc := hierarchy.Document{System: hierarchy.Level{OnUnavailable: c.system}}
		f := newFixture(t, broken{}, doc, perUser)
		f.policy.OnUnavailable = c.configured
		a := f.decide(descriptor("user", "a"))
		f.want(a, c.verdict, ReasonUnavailable)
		if a.Source != ratelimit.SourceFallback || a.RetryAfter != c.retry {
			t.Errorf("%v/%v: source %v, retry %v", c.configured, c.system, a.Source, a.RetryAfter)
		}
		if c.verdict == Unavailable && !errors.Is(a.Err, ratelimit.ErrUnavailable) {
			t.Errorf("%v", a.Err)
		}
	}
}

// The rule and the entity that answer are those of the denied charge, or else
// of the last charge of the first request.
func TestWhoAnswers(t *testing.T) {
	everyone := descriptors.RuleSource{
		Name: text("everyone"), Continue: text("true"), Entity: text("everyone"), DefaultLimits: limits("n", "3/min"),
	}
	doc := hierarchy.Document{
		Tiers:    map[string]hierarchy.Tier{"gold": {Level: hierarchy.Level{Limits: []ratelimit.Limit{ratelimit.PerMinute("n", 100)}}}},
		Entities: map[string]hierarchy.Entity{"a": {Tier: "gold", Metadata: map[string]string{"crm": "42"}}},
	}
	f := newFixture(t, embedstore.New(embedstore.Config{}), doc, everyone, perUser)
	for range 3 {
		a := f.decide(descriptor("user", "a"))
		f.want(a, Allow, "allowed")
		if a.Rule.Name() != "user" || a.Entity.ID != "a" || a.Entity.Tier != "gold" || a.Entity.Metadata["crm"] != "42" {
			t.Fatalf("rule %s, entity %+v", a.Rule.Name(), a.Entity)
		}
	}
	a := f.decide(descriptor("user", "a"))
	f.want(a, Deny, "exceeded")
	if a.Rule.Name() != "everyone" || a.Entity.ID != "everyone" {
		t.Errorf("rule %s, entity %+v", a.Rule.Name(), a.Entity)
	}
}

// writes counts the buckets that a store is asked to write.
type writes struct {
	ratelimit.Store
	n atomic.Int64
}

func (s *writes) Apply(ctx context.Context, w *ratelimit.Write) (ratelimit.State, error) {
	s.n.Add(1)
	return s.Store.Apply(ctx, w)
}

// TestTooManyCharges: a call with more charges than it may have is invalid, and
// none is taken, whether they are decided together or each by itself; but what
// settles is booked, as far as there is room.
func TestTooManyCharges(t *testing.T) {
	flags := func(settle, independent string) descriptors.RuleSource {
		r := perUser
		r.Settle, r.Independent = text(settle), text(independent)
		return r
	}
	settled := flags("true", "false")
	settled.Name, settled.Match, settled.Entity = text("settled"), text("has(descriptor.settled)"), text("${descriptor.settled}")
	for _, c := range []struct {
		name           string
		rule           descriptors.RuleSource
		alone, besides int64 // writes of a call with too many, and of one with a settlement besides
	}{
		{"together", flags("false", "false"), 0, 1},
		{"independent", flags("false", "true"), 0, 1},
		{"settled", flags("true", "false"), MaxCharges, MaxCharges},
		{"settled by itself", flags("true", "true"), MaxCharges, MaxCharges},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := &writes{Store: embedstore.New(embedstore.Config{})}
			f := newFixture(t, store, hierarchy.Document{}, c.rule, settled)
			var reqs []*descriptors.Request
			for i := range MaxCharges + 1 {
				reqs = append(reqs, descriptor("user", string(rune('a'+i))))
			}
			a := f.decide(append(reqs, descriptor("other", "x"))...)
			f.want(a, Invalid, ReasonInvalid, Invalid)
			if first, last := a.Parts[MaxCharges].Verdict, a.Parts[MaxCharges+1].Verdict; first != Invalid || last != Allow {
				t.Errorf("the last that is charged: %v, one that isn't: %v", first, last)
			}
			if n := store.n.Swap(0); n != c.alone {
				t.Errorf("%d buckets written, want %d", n, c.alone)
			}
			f.want(f.decide(append([]*descriptors.Request{descriptor("settled", "x")}, reqs...)...), Invalid, ReasonInvalid)
			if n := store.n.Swap(0); n != c.besides {
				t.Errorf("%d buckets written beside a settlement, want %d", n, c.besides)
			}
			if got := f.left("x", "settled"); got != 1 {
				t.Errorf("%d left of what settles, want 1 of 2", got)
			}
			f.want(f.decide(reqs[1:]...), Allow, "allowed")
		})
	}
}

func TestAutoTimeout(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		deadline, want time.Duration
	}{{0, 250 * time.Millisecond}, {20 * time.Millisecond, 18 * time.Millisecond}, {200 * time.Millisecond, 180 * time.Millisecond}, {time.Minute, time.Second}, {time.Millisecond, 1}} {
		ctx := t.Context()
		if c.deadline > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadline(ctx, now.Add(c.deadline))
			defer cancel()
		}
		if got := (&Policy{}).timeout(ctx, now); got != c.want {
			t.Errorf("%v: %v, want %v", c.deadline, got, c.want)
		}
	}
	if got := (&Policy{InProcess: true}).timeout(t.Context(), now); got != 0 {
		t.Errorf("in the process: %v", got)
	}
}
