package telemetry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func readAll(t *testing.T, response *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func text(s string) descriptors.Text { return descriptors.Text{Value: s} }

// policy has one rule of each kind, told apart by the domain.
func policy(t *testing.T) *decision.Policy {
	t.Helper()
	limits := []descriptors.LimitText{{Name: text("rpm"), Text: text("2/hour")}}
	rule := func(name string, more func(*descriptors.RuleSource)) descriptors.RuleSource {
		r := descriptors.RuleSource{
			Name: text(name), Match: text(`domain == "` + name + `"`), Entity: text("${descriptor.user}"), DefaultLimits: limits,
		}
		more(&r)
		return r
	}
	rules, faults, _ := descriptors.Compile([]descriptors.RuleSource{
		rule("charged", func(*descriptors.RuleSource) {}),
		rule("settled", func(r *descriptors.RuleSource) { r.Settle = text("true") }),
		rule("shadow", func(r *descriptors.RuleSource) { r.Enforce = text("0%") }),
		rule("limitless", func(r *descriptors.RuleSource) { r.DefaultLimits = nil }),
		rule("misnamed", func(r *descriptors.RuleSource) {
			r.ConsumeEach = []descriptors.NamedText{{Name: text("rmp"), Value: text("1")}}
		}),
		rule("senseless", func(r *descriptors.RuleSource) { r.Enforce, r.Entity = text("0%"), text("${1/0}") }),
	}, descriptors.Options{Namespace: "default"})
	for _, f := range faults {
		t.Error(f)
	}
	if rules == nil {
		t.FailNow()
	}
	return &decision.Policy{ID: "abc", Rules: rules, Resolver: hierarchy.NewResolver("default", hierarchy.Document{})}
}

// asker decides requests for a descriptor user=alice, and counts.
type asker struct {
	metrics *Metrics
	decider *decision.Decider
	log     *bytes.Buffer
}

func newAsker(t *testing.T, s ratelimit.Store, p *decision.Policy) *asker {
	t.Helper()
	a := &asker{metrics: NewMetrics("v1"), log: new(bytes.Buffer)}
	log, err := NewLog(a.log, "text", new(slog.LevelVar))
	if err != nil {
		t.Fatal(err)
	}
	limiter, err := ratelimit.New(ratelimit.Config{Store: a.metrics.Store(s, 1, log)})
	if err != nil {
		t.Fatal(err)
	}
	observer := NewObserver(a.metrics, log)
	observer.Use(p)
	a.decider = decision.New(limiter, observer)
	return a
}

func (a *asker) ask(ctx context.Context, p *decision.Policy, domain string) decision.Answer {
	return a.decider.Decide(ctx, p, []*descriptors.Request{{
		Protocol: descriptors.ProtocolRateLimit, Domain: domain, Hits: 1, Entries: []descriptors.Entry{{Key: "user", Value: "alice"}},
	}})
}

func TestDecisionsAreCounted(t *testing.T) {
	p := policy(t)
	a := newAsker(t, embedstore.New(embedstore.Config{}), p)
	for range 3 {
		for _, domain := range []string{"charged", "settled", "shadow", "limitless", "misnamed", "senseless", "nobody's"} {
			a.ask(t.Context(), p, domain)
			a.decider.Wait()
		}
	}
	want := `
# HELP extauthz_decisions_total Calls decided, by the rule that decided.
# TYPE extauthz_decisions_total counter
extauthz_decisions_total{protocol="ratelimit",reason="allowed",rule="charged",source="store",verdict="allow"} 2
extauthz_decisions_total{protocol="ratelimit",reason="allowed",rule="misnamed",source="store",verdict="allow"} 3
extauthz_decisions_total{protocol="ratelimit",reason="allowed",rule="settled",source="store",verdict="allow"} 3
extauthz_decisions_total{protocol="ratelimit",reason="exceeded",rule="charged",source="store",verdict="deny"} 1
extauthz_decisions_total{protocol="ratelimit",reason="no_limits",rule="limitless",source="store",verdict="allow"} 3
extauthz_decisions_total{protocol="ratelimit",reason="no_match",rule="",source="store",verdict="allow"} 9
# HELP extauthz_rule_matches_total Descriptors (ratelimit) and requests (ext_authz), by the rule that took them.
# TYPE extauthz_rule_matches_total counter
extauthz_rule_matches_total{action="charge",protocol="ratelimit",rule="charged"} 3
extauthz_rule_matches_total{action="charge",protocol="ratelimit",rule="limitless"} 3
extauthz_rule_matches_total{action="charge",protocol="ratelimit",rule="misnamed"} 3
extauthz_rule_matches_total{action="charge",protocol="ratelimit",rule="settled"} 3
extauthz_rule_matches_total{action="no_match",protocol="ratelimit",rule=""} 9
# HELP extauthz_settled_charges_total Charges booked whatever the balance, of settle rules.
# TYPE extauthz_settled_charges_total counter
extauthz_settled_charges_total{rule="settled"} 3
# HELP extauthz_shadow_decisions_total What rules that aren't enforced would have decided.
# TYPE extauthz_shadow_decisions_total counter
extauthz_shadow_decisions_total{rule="senseless",verdict="invalid"} 3
extauthz_shadow_decisions_total{rule="shadow",verdict="allow"} 2
extauthz_shadow_decisions_total{rule="shadow",verdict="deny"} 1
# HELP extauthz_unknown_limits_total Limits that a rule's consume names and the bucket lacks.
# TYPE extauthz_unknown_limits_total counter
extauthz_unknown_limits_total{rule="misnamed"} 3
# HELP extauthz_unlimited_charges_total Charges to which no limits apply.
# TYPE extauthz_unlimited_charges_total counter
extauthz_unlimited_charges_total{rule="limitless"} 3
`
	if err := testutil.GatherAndCompare(a.metrics.registry, strings.NewReader(want), "extauthz_decisions_total", "extauthz_rule_matches_total",
		"extauthz_settled_charges_total", "extauthz_shadow_decisions_total", "extauthz_unknown_limits_total",
		"extauthz_unlimited_charges_total"); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(a.metrics.duration); n != 2 { // one of each protocol
		t.Errorf("%d histograms of durations, want 2", n)
	}
}

// TestSeriesEndWithTheirRule: a reload that takes a rule away takes its series.
func TestSeriesEndWithTheirRule(t *testing.T) {
	p := policy(t)
	a := newAsker(t, embedstore.New(embedstore.Config{}), p)
	a.ask(t.Context(), p, "charged")
	a.ask(t.Context(), p, "nobody's")

	rules, _, _ := descriptors.Compile(nil, descriptors.Options{Namespace: "default"})
	next := &decision.Policy{ID: "def", Rules: rules, Resolver: p.Resolver}
	observer := NewObserver(a.metrics, slog.New(slog.DiscardHandler))
	observer.Use(p)
	observer.Use(next)
	if n := testutil.CollectAndCount(a.metrics.decisions); n != 1 {
		t.Errorf("%d series of decisions, want the one of no rule", n)
	}
	a.ask(t.Context(), p, "charged") // began before the reload
	if got := testutil.CollectAndCount(a.metrics.matches); got < 1 {
		t.Errorf("%d series of matches", got)
	}
}

// silent is a store that answers nothing.
type silent struct{ err error }

func (s silent) Apply(context.Context, *ratelimit.Write) (ratelimit.State, error) {
	return ratelimit.State{}, s.err
}

func (s silent) Get(context.Context, ratelimit.Key) (ratelimit.State, error) {
	return ratelimit.State{}, s.err
}

func TestAnUnavailableStoreIsLoggedNowAndThen(t *testing.T) {
	p := policy(t)
	a := newAsker(t, silent{errors.New("the cable is out")}, p)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for range 5 {
		if got := a.ask(ctx, p, "charged"); got.Verdict != decision.Unavailable {
			t.Fatalf("verdict %s, want unavailable", got.Verdict)
		}
	}
	if n := strings.Count(a.log.String(), "the store gave no answer in time"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, a.log)
	}
	if n := strings.Count(a.log.String(), `"the store fails" operation=get more_before=0 err="the cable is out"`); n != 1 {
		t.Errorf("why is logged %d times, want once:\n%s", n, a.log)
	}
	if got := testutil.ToFloat64(a.metrics.decisions.WithLabelValues("ratelimit", "charged", "unavailable", "unavailable", "fallback")); got != 5 {
		t.Errorf("%v decisions counted as unavailable, want 5", got)
	}
}

// TestAFallbackThatAnswersIsCounted: whichever way on_unavailable answers, it is
// seen to be no answer of the store's.
func TestAFallbackThatAnswersIsCounted(t *testing.T) {
	for fallback, labels := range map[ratelimit.Fallback][]string{
		ratelimit.FallbackAllow: {"allow", "unavailable"},
		ratelimit.FallbackDeny:  {"deny", "unavailable"},
		ratelimit.FallbackLocal: {"allow", "allowed"},
	} {
		p := policy(t)
		p.OnUnavailable = fallback
		a := newAsker(t, silent{errors.New("the cable is out")}, p)
		if got := a.ask(t.Context(), p, "charged"); got.Source != ratelimit.SourceFallback {
			t.Errorf("%s: source %s", fallback, got.Source)
		}
		if got := testutil.ToFloat64(a.metrics.decisions.WithLabelValues("ratelimit", "charged", labels[0], labels[1], "fallback")); got != 1 {
			t.Errorf("%s: %v decisions counted as %v", fallback, got, labels)
		}
		if !strings.Contains(a.log.String(), "source=fallback") {
			t.Errorf("%s is not logged: %s", fallback, a.log)
		}
	}
}

func TestCallsToDynamoDBAreCounted(t *testing.T) {
	m := NewMetrics("v1")
	d := m.DynamoDB()
	d.Called(dynamostore.Call{Request: dynamostore.RequestWrite})
	d.Called(dynamostore.Call{Request: dynamostore.RequestWrite, Kind: dynamostore.KindThrottled, Reasons: []string{"TableWriteKeyRangeThroughputExceeded"}})
	d.Called(dynamostore.Call{Request: dynamostore.RequestRead, Kind: dynamostore.KindThrottled})
	for i := range 2 * mostReasons {
		d.Called(dynamostore.Call{Kind: dynamostore.KindThrottled, Reasons: []string{strings.Repeat("x", i+1)}})
	}
	for kind, want := range map[string]float64{"ok": 1, "throttled": 1 + 2*mostReasons, "unknown": 0} {
		if got := testutil.ToFloat64(m.dynamoCalls.WithLabelValues("write", kind)); got != want {
			t.Errorf("%v writes are %s, want %v", got, kind, want)
		}
	}
	for reason, want := range map[string]float64{"TableWriteKeyRangeThroughputExceeded": 1, "none": 1, "x": 1, "other": mostReasons + 2} {
		if got := testutil.ToFloat64(m.throttles.WithLabelValues(reason)); got != want {
			t.Errorf("%v throttled for %s, want %v", got, reason, want)
		}
	}
}

func TestStoreOperationsAreCounted(t *testing.T) {
	refused, unknown := &ratelimit.RefusedError{}, errors.New("reset")
	for name, tc := range map[string]struct {
		err      error
		outcome  string
		answered bool
	}{
		"ok":          {nil, "ok", true},
		"refused":     {refused, "refused", true},
		"not applied": {ratelimit.ErrNotApplied, "not_applied", false},
		"unknown":     {unknown, "unknown", false},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMetrics("v1")
			s := m.Store(silent{tc.err}, 0, slog.New(slog.DiscardHandler))
			if _, err := s.Apply(t.Context(), nil); !errors.Is(err, tc.err) {
				t.Errorf("error %v, want the store's", err)
			}
			if got := testutil.ToFloat64(m.storeOps.WithLabelValues("apply", tc.outcome)); got != 1 {
				t.Errorf("counted %v times as %s", got, tc.outcome)
			}
			if got := !s.Answered().IsZero(); got != tc.answered {
				t.Errorf("answered: %t, want %t", got, tc.answered)
			}
		})
	}
	m := NewMetrics("v1")
	s := m.Store(silent{}, 16, slog.New(slog.DiscardHandler))
	for range 32 {
		if _, err := s.Get(t.Context(), ratelimit.Key{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := testutil.ToFloat64(m.storeOps.WithLabelValues("get", "ok")); got != 32 {
		t.Errorf("%v counted, want 32", got)
	}
	if err := s.Probe(t.Context(), ratelimit.Key{}); err != nil || time.Since(s.Answered()) > time.Minute {
		t.Errorf("a probe: %v, answered %v", err, s.Answered())
	}
}

func TestCallsAreCounted(t *testing.T) {
	m := NewMetrics("v1")
	calls := m.Calls(ProtocolExtAuthz)
	calls.Late()
	calls.Refused(RefusedGone)
	m.Panicked()
	if late, refused := testutil.ToFloat64(m.late.WithLabelValues("ext_authz")),
		testutil.ToFloat64(m.refused.WithLabelValues("ext_authz", "caller_gone")); late != 1 || refused != 1 {
		t.Errorf("late %v, refused %v, want 1 each", late, refused)
	}
	if got := testutil.ToFloat64(m.panics); got != 1 {
		t.Errorf("%v panics, want 1", got)
	}
	var nothing *Calls
	nothing.Late()
	nothing.Refused(RefusedGone)
}

func TestLogAndLevels(t *testing.T) {
	if _, err := NewLog(io.Discard, "xml", new(slog.LevelVar)); err == nil {
		t.Error("xml is no format")
	}
	var out bytes.Buffer
	level := new(slog.LevelVar)
	log, err := NewLog(&out, "json", level)
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("unseen")
	level.Set(slog.LevelDebug)
	log.Debug("seen")
	if got := out.String(); strings.Contains(got, "unseen") || !strings.Contains(got, `"msg":"seen"`) {
		t.Errorf("logged %s", got)
	}
	for name, want := range map[string]slog.Level{"debug": slog.LevelDebug, "": slog.LevelInfo, "WARN": slog.LevelWarn, "error": slog.LevelError} {
		if got, err := ParseLevel(name); err != nil || got != want {
			t.Errorf("%q: %v %v", name, got, err)
		}
	}
	if _, err := ParseLevel("loud"); err == nil {
		t.Error("loud is no level")
	}
}

func BenchmarkDecided(b *testing.B) {
	m := NewMetrics("v1")
	observer := NewObserver(m, slog.New(slog.DiscardHandler))
	rules, _, _ := descriptors.Compile(nil, descriptors.Options{Namespace: "default"})
	p := &decision.Policy{Rules: rules}
	observer.Use(p)
	reqs := []*descriptors.Request{{Protocol: descriptors.ProtocolRateLimit}}
	a := decision.Answer{Reason: "allowed", Parts: []decision.Part{{Outcome: descriptors.Outcome{Action: descriptors.Charge}}}}
	b.ReportAllocs()
	for b.Loop() {
		observer.Decided(p, reqs, &a, 1500*time.Nanosecond)
	}
}
