package recent

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func text(s string) descriptors.Text { return descriptors.Text{Value: s} }

// world decides requests for what their domain names, of a user, and remembers.
type world struct {
	recorder *Recorder
	decider  *decision.Decider
	policy   *decision.Policy
	now      time.Time
}

func newWorld(tb testing.TB, store ratelimit.Store) *world {
	tb.Helper()
	limits := []descriptors.LimitText{{Name: text("rpm"), Text: text("2/min")}, {Name: text("tpm"), Text: text("1000/min")}}
	rule := func(name string, more func(*descriptors.RuleSource)) descriptors.RuleSource {
		r := descriptors.RuleSource{
			Name: text(name), Match: text(`domain == "` + name + `"`), Entity: text("${descriptor.user}"), DefaultLimits: limits,
			ConsumeEach: []descriptors.NamedText{{Name: text("rpm"), Value: text("1")}, {Name: text("tpm"), Value: text("hits")}},
		}
		more(&r)
		return r
	}
	rules, faults, _ := descriptors.Compile([]descriptors.RuleSource{
		rule("charged", func(*descriptors.RuleSource) {}),
		rule("settled", func(r *descriptors.RuleSource) { r.Settle = text("true") }),
		rule("apart", func(r *descriptors.RuleSource) { r.Independent = text("true") }),
		rule("shadow", func(r *descriptors.RuleSource) { r.Enforce = text("0%") }),
		rule("senseless", func(r *descriptors.RuleSource) { r.Entity = text("${1/0}") }),
		{Name: text("closed"), Match: text(`domain == "closed"`), Action: text("deny")},
	}, descriptors.Options{Namespace: "default"})
	for _, f := range faults {
		tb.Error(f)
	}
	if rules == nil {
		tb.FailNow()
	}
	w := &world{now: time.Unix(1_800_000_000, 0).UTC()}
	clock := func() time.Time { return w.now }
	limiter, err := ratelimit.New(ratelimit.Config{Store: store, Now: clock})
	if err != nil {
		tb.Fatal(err)
	}
	w.recorder = New(clock)
	w.decider = decision.New(limiter, w.recorder)
	w.policy = &decision.Policy{
		Rules: rules, InProcess: true,
		Resolver: hierarchy.NewResolver("default", hierarchy.Document{Entities: map[string]hierarchy.Entity{
			"child": {Parent: "acme", Cascade: true},
			"acme":  {Level: hierarchy.Level{Limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", 1)}}},
		}}),
	}
	return w
}

func (w *world) ask(ctx context.Context, domain, user string, hits uint64) decision.Verdict {
	return w.decider.Decide(ctx, w.policy, []*descriptors.Request{{
		Protocol: descriptors.ProtocolRateLimit, Domain: domain, Hits: hits,
		Entries: []descriptors.Entry{{Key: "user", Value: user}},
	}}).Verdict
}

func TestDenialsSayWhoAndWhy(t *testing.T) {
	w := newWorld(t, embedstore.New(embedstore.Config{}))
	rpm, tpm := ratelimit.PerMinute("rpm", 2), ratelimit.PerMinute("tpm", 1000)
	at := w.now
	for _, tc := range []struct {
		name, domain, user string
		hits               uint64
		before             int // calls that are admitted
		want               Denial
	}{
		{"exceeded", "charged", "alice", 1, 2, Denial{
			Protocol: "ratelimit", Rule: "charged", Reason: "exceeded", Source: "store", Namespace: "default", Entity: "alice",
			Resource: "charged", Limit: rpm, Cost: 1, RetryAfter: 30 * time.Second,
		}},
		{"never", "charged", "bob", 1001, 0, Denial{
			Protocol: "ratelimit", Rule: "charged", Reason: "never", Source: "store", Namespace: "default", Entity: "bob",
			Resource: "charged", Limit: tpm, Cost: 1001,
		}},
		{"by a parent", "charged", "child", 1, 1, Denial{
			Protocol: "ratelimit", Rule: "charged", Reason: "exceeded", Source: "store", Namespace: "default", Entity: "child",
			Parent: "acme", Resource: "charged", Limit: ratelimit.PerMinute("rpm", 1), Cost: 1, RetryAfter: time.Minute,
		}},
		{"by a rule", "closed", "alice", 1, 0, Denial{Protocol: "ratelimit", Rule: "closed", Reason: "rule"}},
		{"invalid", "senseless", "alice", 1, 0, Denial{
			Protocol: "ratelimit", Rule: "senseless", Reason: "invalid", Err: `entity of rule "senseless": division by zero`,
		}},
		{"by a shadow", "shadow", "carol", 1, 3, Denial{
			Shadow: true, Rule: "shadow", Reason: "exceeded", Source: "store", Namespace: "default", Entity: "carol",
			Resource: "shadow", Limit: rpm, Cost: 1, RetryAfter: 30 * time.Second,
		}},
	} {
		for range tc.before {
			if v := w.ask(t.Context(), tc.domain, tc.user, tc.hits); v != decision.Allow {
				t.Fatalf("%s: %v before", tc.name, v)
			}
		}
		if !tc.want.Shadow {
			w.ask(t.Context(), tc.domain, tc.user, tc.hits)
		}
		got, _ := w.recorder.Denials(Selection{Limit: 1})
		tc.want.At = at
		if len(got) != 1 {
			t.Fatalf("%s: %d denials", tc.name, len(got))
		}
		got[0].Seq = 0
		if diff := cmp.Diff(tc.want, got[0]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}

	// Who is refused, and who takes what: a shadow refuses nobody, and settling
	// takes whatever the balance.
	if v := w.ask(t.Context(), "settled", "dave", 5000); v != decision.Allow {
		t.Fatal(v)
	}
	ranks := w.recorder.Top(ByDenials, "", 10).Ranks
	if diff := cmp.Diff([]Rank{{"", "default", "alice", 1, 1}, {"", "default", "bob", 1, 1}, {"", "default", "child", 1, 1}}, ranks); diff != "" {
		t.Errorf("by denials (-want +got):\n%s", diff)
	}
	top := w.recorder.Top(ByConsumption, "default", 2)
	if diff := cmp.Diff([]Rank{
		{"rpm", "default", "alice", 2, 2},
		{"rpm", "default", "acme", 1, 1},
		{"tpm", "default", "dave", 5000, 5000},
		{"tpm", "default", "alice", 2, 2},
	}, top.Ranks); diff != "" || !top.Since.Equal(at) {
		t.Errorf("by consumption, since %v (-want +got):\n%s", top.Since, diff)
	}
}

// What settles is taken though another charge of the call denies it, and so is
// what is independent and has enough.
func TestConsumptionOfDenials(t *testing.T) {
	w := newWorld(t, embedstore.New(embedstore.Config{}))
	of := func(domain, user string, hits uint64) *descriptors.Request {
		return &descriptors.Request{
			Protocol: descriptors.ProtocolRateLimit, Domain: domain, Hits: hits, Entries: []descriptors.Entry{{Key: "user", Value: user}},
		}
	}
	call := []*descriptors.Request{
		of("charged", "alice", 2000), of("charged", "bob", 7), of("settled", "carol", 300), of("apart", "dave", 20), of("apart", "erin", 1001),
	}
	if a := w.decider.Decide(t.Context(), w.policy, call); a.Verdict != decision.Deny {
		t.Fatal(a.Verdict)
	}
	if diff := cmp.Diff([]Rank{
		{"rpm", "default", "carol", 1, 1},
		{"rpm", "default", "dave", 1, 1},
		{"tpm", "default", "carol", 300, 300},
		{"tpm", "default", "dave", 20, 20},
	}, w.recorder.Top(ByConsumption, "", 5).Ranks); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// down is a store that gives no answer.
type down struct{ ratelimit.Store }

func (down) Apply(context.Context, *ratelimit.Write) (ratelimit.State, error) {
	return ratelimit.State{}, errors.New("down")
}

func TestFallbackDenials(t *testing.T) {
	w := newWorld(t, down{embedstore.New(embedstore.Config{})})
	w.policy.OnUnavailable = ratelimit.FallbackDeny
	if v := w.ask(t.Context(), "charged", "alice", 1); v != decision.Deny {
		t.Fatal(v)
	}
	got, _ := w.recorder.Denials(Selection{})
	if len(got) != 1 || got[0].Source != "fallback" || got[0].Reason != "unavailable" || got[0].Entity != "alice" {
		t.Errorf("%+v", got)
	}
	w.policy.OnUnavailable = ratelimit.FallbackError
	if v := w.ask(t.Context(), "charged", "alice", 1); v != decision.Unavailable {
		t.Fatal(v)
	}
	if _, seen := w.recorder.Denials(Selection{}); seen != 1 {
		t.Errorf("%d denials: what isn't decided isn't denied", seen)
	}
}

// Of one bucket a denial is kept each second, of all together 64, and 1,024 in
// all: one who sends without end doesn't wash the others away.
func TestRingIsSampledAndBounded(t *testing.T) {
	w := newWorld(t, embedstore.New(embedstore.Config{}))
	deny := func(user string) {
		t.Helper()
		if v := w.ask(t.Context(), "charged", user, 1001); v != decision.Deny {
			t.Fatal(v)
		}
	}
	deny("victim")
	for range 1000 {
		deny("flood")
	}
	list := func(s Selection) []Denial {
		found, _ := w.recorder.Denials(s)
		return found
	}
	if n, m := len(list(Selection{Entity: "flood"})), len(list(Selection{Entity: "victim"})); n != 1 || m != 1 {
		t.Errorf("within a second %d of the flood and %d of another are kept, want one each", n, m)
	}
	w.now = w.now.Add(time.Second)
	for i := range 1000 {
		deny("user-" + strconv.Itoa(i))
	}
	if n := len(list(Selection{})); n != 2+perSecond {
		t.Errorf("%d are kept, want %d", n, 2+perSecond)
	}
	for range 2 * ringSize {
		w.now = w.now.Add(time.Second)
		deny("flood")
	}
	all := list(Selection{})
	if len(all) != ringSize {
		t.Fatalf("%d are kept, want %d", len(all), ringSize)
	}
	for i := range all[1:] {
		if all[i].Seq != all[i+1].Seq+1 || !all[i].At.After(all[i+1].At) {
			t.Fatalf("%d follows %d", all[i+1].Seq, all[i].Seq)
		}
	}
	if page := list(Selection{Before: all[9].Seq, Limit: 5}); len(page) != 5 || page[0].Seq != all[10].Seq {
		t.Errorf("the part after the tenth: %v", page)
	}
	if none := list(Selection{Rule: "closed"}); len(none) != 0 {
		t.Errorf("%v", none)
	}
}

// What shares a slot of the gate doesn't hide the other's denials.
func TestGateTellsApart(t *testing.T) {
	var r ring
	now := time.Unix(1_800_000_000, 0)
	const a, b = 5, 5 + 1<<40 // hashes of one slot
	for i, want := range []bool{true, false} {
		if got := r.pass(a, now); got != want {
			t.Errorf("%d of a: %v", i, got)
		}
	}
	if !r.pass(b, now) || r.pass(b, now) {
		t.Error("of b one is to be kept, and no more")
	}
	if later := now.Add(time.Second); !r.pass(b, later) || r.pass(b, later) {
		t.Error("of b one is to be kept in the second after it, and no more")
	}
}

// Whatever clients send, little is kept for it.
func TestMemoryIsBounded(t *testing.T) {
	w := newWorld(t, embedstore.New(embedstore.Config{}))
	long := strings.Repeat("x", 60<<10)
	for i := range 1200 {
		w.now = w.now.Add(20 * time.Millisecond)
		w.ask(t.Context(), "charged", strconv.Itoa(i)+long, 1001)
		w.ask(t.Context(), "charged", strconv.Itoa(i)+long, 1)
	}
	found, seen := w.recorder.Denials(Selection{})
	if len(found) != ringSize || seen != 1200 {
		t.Errorf("%d of %d are kept", len(found), seen)
	}
	for _, d := range found {
		if len(d.Entity) > 256 {
			t.Fatalf("an entity of %d bytes is kept", len(d.Entity))
		}
	}
	for _, by := range []By{ByDenials, ByConsumption} {
		if n := len(w.recorder.Top(by, "", 1<<20).Ranks); n > 2*shards*perShard {
			t.Errorf("%d entities are ranked by %s", n, by)
		}
	}
}

// The names of limits are bounded too.
func TestLimitNamesAreBounded(t *testing.T) {
	r := New(time.Now)
	for i := range 2 * maxLimits {
		if got := r.tallyOf("limit-" + strconv.Itoa(i)); (got != nil) != (i < maxLimits) {
			t.Errorf("name %d: %v", i, got)
		}
	}
	if r.tallyOf("limit-0") == nil {
		t.Error("a name that was known isn't any more")
	}
}

// What is remembered of a request costs no memory, once its entity is known.
func TestNoAllocations(t *testing.T) {
	w := newWorld(t, embedstore.New(embedstore.Config{}))
	reqs := []*descriptors.Request{{
		Protocol: descriptors.ProtocolRateLimit, Domain: "charged", Hits: 1, Entries: []descriptors.Entry{{Key: "user", Value: "alice"}},
	}}
	for _, want := range []decision.Verdict{decision.Allow, decision.Allow, decision.Deny} {
		a := w.decider.Decide(t.Context(), w.policy, reqs)
		if a.Verdict != want {
			t.Fatal(a.Verdict)
		}
		if n := testing.AllocsPerRun(100, func() { w.recorder.Decided(w.policy, reqs, &a, 0) }); n != 0 {
			t.Errorf("%v: %v allocations", want, n)
		}
	}
}

func BenchmarkDecided(b *testing.B) {
	w := newWorld(b, embedstore.New(embedstore.Config{}))
	reqs := []*descriptors.Request{{
		Protocol: descriptors.ProtocolRateLimit, Domain: "charged", Hits: 1, Entries: []descriptors.Entry{{Key: "user", Value: "alice"}},
	}}
	w.recorder.now = time.Now
	for _, name := range []string{"allowed", "allowed2", "denied"} {
		a := w.decider.Decide(b.Context(), w.policy, reqs)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.recorder.Decided(w.policy, reqs, &a, 0)
			}
		})
	}
}
