package telemetry

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/internal/dropin"
	"github.com/extauthz/extauthz/pkg/descriptors"
)

// counting is a policy with a descriptor for each name, which is counted by its
// value where the name begins with a v.
func counting(t testing.TB, names ...string) *decision.Policy {
	t.Helper()
	var all []dropin.Descriptor
	for _, name := range names {
		all = append(all, dropin.Descriptor{
			Key: text(name), DetailedMetric: dropin.Flag{On: name[0] == 'v'}, RateLimit: &dropin.RateLimit{Unlimited: dropin.Flag{On: true}},
		})
	}
	rules, faults, _ := dropin.Compile([]dropin.File{{Domain: text("d"), Descriptors: all}}, dropin.Options{Namespace: "default"})
	if rules == nil {
		t.Fatal(faults)
	}
	return &decision.Policy{Rules: rules}
}

// entryCounter counts descriptors as they are decided under a policy.
type entryCounter struct {
	*Observer
	policy *decision.Policy
}

func newEntryCounter(t testing.TB, p *decision.Policy) *entryCounter {
	t.Helper()
	c := &entryCounter{NewObserver(NewMetrics("v1"), slog.New(slog.DiscardHandler)), p}
	c.Use(p)
	return c
}

func (c *entryCounter) reload(p *decision.Policy) {
	c.policy = p
	c.Use(p)
}

// decided is a call about one descriptor, as it is observed.
func decided(p *decision.Policy, key, value string) ([]*descriptors.Request, *decision.Answer) {
	r := &descriptors.Request{Protocol: descriptors.ProtocolRateLimit, Domain: "d", Hits: 1, Entries: []descriptors.Entry{{Key: key, Value: value}}}
	return []*descriptors.Request{r}, &decision.Answer{Parts: []decision.Part{{Outcome: p.Rules.Evaluate(r)}}}
}

func (c *entryCounter) count(key, value string) {
	reqs, a := decided(c.policy, key, value)
	c.Decided(c.policy, reqs, a, time.Microsecond)
}

// series are what is counted by entries.
func (c *entryCounter) series(t testing.TB) map[string]float64 {
	t.Helper()
	families, err := c.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "extauthz_detailed_matches_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			all[m.GetLabel()[1].GetValue()+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
		}
	}
	return all
}

// TestEntriesAreBounded: what clients can think of makes no more series than
// there is room for; all beyond is one.
func TestEntriesAreBounded(t *testing.T) {
	c := newEntryCounter(t, counting(t, "v", "w"))
	var before, after runtime.MemStats
	const values = 100_000
	for i := range values {
		if i == values/10 {
			runtime.GC()
			runtime.ReadMemStats(&before)
		}
		c.count("v", fmt.Sprint(i))
		c.count("w", fmt.Sprint(i))
	}
	c.count("v", "7")
	c.count("v", "other")
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("%d bytes more for the last 90,000 values", grown)
	}
	series := c.series(t)
	if len(series) != mostOfRule+1 {
		t.Errorf("%d series", len(series))
	}
	if n := series["d.v other"]; n != values-mostOfRule+1 {
		t.Errorf("%v others", n)
	}
	if n := series["d.v v=7"]; n != 2 {
		t.Errorf("a value that was there first is counted %v times", n)
	}
	reqs, a := decided(c.policy, "v", "one more")
	if n := testing.AllocsPerRun(100, func() { c.Decided(c.policy, reqs, a, time.Microsecond) }); n != 0 {
		t.Errorf("%v allocations for one of the others", n)
	}
}

// TestRulesShareRoom: all rules together make no more series than there is room
// for, and a rule that goes makes room.
func TestRulesShareRoom(t *testing.T) {
	var names []string
	for i := range mostOfAll/mostOfRule + 1 {
		names = append(names, fmt.Sprintf("v%d", i))
	}
	c := newEntryCounter(t, counting(t, names...))
	for _, name := range names {
		for i := range mostOfRule {
			c.count(name, fmt.Sprint(i))
		}
	}
	last := names[len(names)-1]
	if n, left := c.series(t)["d."+last+" other"], c.metrics.entries.room.Load(); n != mostOfRule || left != 0 {
		t.Errorf("%v others of the last rule, room for %d", n, left)
	}
	c.reload(counting(t, names[1:]...))
	c.count(last, "new")
	if n := c.series(t)["d."+last+" "+last+"=new"]; n != 1 {
		t.Error("a rule that is gone leaves no room")
	}
	if n := testutil.CollectAndCount(c.metrics.entries.metric); n != mostOfAll-mostOfRule+2 {
		t.Errorf("%d series", n)
	}
}

// TestHostileEntries: whatever a value holds, its label is UTF-8, short, and on
// one line of the page; and it is "other" only where it is one of the others.
func TestHostileEntries(t *testing.T) {
	c := newEntryCounter(t, counting(t, "v"))
	long := strings.Repeat("é", 30_000)
	for _, value := range []string{"a\r\nb", "\xff\xfe", "", "other", "a,b=c%d", "\u2028", long, long[2:], "x" + long} {
		c.count("v", value)
	}
	cut := strings.Repeat("é", 125)
	want := map[string]float64{
		"d.v v=a%0D%0Ab": 1, "d.v v=%FF%FE": 1, "d.v v=": 1, "d.v v=other": 1, "d.v v=a%2Cb=c%25d": 1, "d.v v=\u2028": 1,
		"d.v v=" + cut + "...": 2, "d.v v=x" + cut + "...": 1,
	}
	if diff := cmp.Diff(want, c.series(t)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for n := range 300 { // wherever it is cut, what stands for a byte is whole
		value := strings.Repeat("a", n) + strings.Repeat("\n", 100)
		label := string(appendEntries(nil, make([]descriptors.Entry, 1), []descriptors.Entry{{Key: "v", Value: value}}))
		plain, err := url.PathUnescape(strings.TrimSuffix(label, cutEntries))
		if err != nil || len(label) < mostOfEntries-8 || !strings.HasPrefix("v="+value, plain) {
			t.Errorf("label %q: %v", label, err)
		}
	}
	page := httptest.NewRecorder()
	c.metrics.Handler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if n := bytes.Count(page.Body.Bytes(), []byte("\nextauthz_detailed_matches_total{")); n != len(want) || bytes.ContainsRune(page.Body.Bytes(), '\r') {
		t.Errorf("%d lines of the page", n)
	}
}

// TestEntriesStayApart: two lists of entries have one label only where they are
// too long for it, and a label is always UTF-8 of a bounded length.
func TestEntriesStayApart(t *testing.T) {
	part := rapid.StringOfN(rapid.SampledFrom([]rune{'a', ',', '=', '%', '2', 'C', '\n', 'é', '.', '\x7f'}), 0, 140, -1)
	bytesOf := rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 4), func(b []byte) string { return string(b) })
	entry := rapid.Custom(func(t *rapid.T) descriptors.Entry {
		return descriptors.Entry{Key: part.Draw(t, "key"), Value: rapid.OneOf(part, bytesOf).Draw(t, "value")}
	})
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3).Draw(t, "n")
		list := rapid.SliceOfN(entry, n, n)
		a, b := list.Draw(t, "a"), list.Draw(t, "b")
		la := string(appendEntries(nil, make([]descriptors.Entry, n), a))
		lb := string(appendEntries(nil, make([]descriptors.Entry, n), b))
		if !utf8.ValidString(la) || len(la) > mostOfEntries || strings.ContainsAny(la, "\n\x7f") {
			t.Fatalf("label %q of %q", la, a)
		}
		if la == lb && len(la) < mostOfEntries-8 && !cmp.Equal(a, b) {
			t.Fatalf("label %q of %q and %q", la, a, b)
		}
		if la == otherEntries {
			t.Fatalf("%q are others", a)
		}
	})
}

// TestSeriesByEntriesEndWithTheirRule: a reload ends the series of rules that are
// gone or are counted otherwise, and no others; a call that began before it
// brings none back.
func TestSeriesByEntriesEndWithTheirRule(t *testing.T) {
	first := counting(t, "va", "vb", "vc")
	c := newEntryCounter(t, first)
	for _, key := range []string{"va", "vb", "vc"} {
		c.count(key, "1")
	}
	second := counting(t, "va", "vb")
	for _, r := range second.Rules.All() {
		if r.Name() == "d.vb" {
			r.Adopted().Counted[0] = descriptors.Entry{Key: "vb"} // counted otherwise
		}
	}
	before := c.current.Load()
	c.reload(second)
	reqs, a := decided(first, "vc", "2")
	c.Decided(first, reqs, a, time.Microsecond)
	before.decided(0, reqs, a)
	c.count("va", "1")
	if diff := cmp.Diff(map[string]float64{"d.va va=1": 2}, c.series(t)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if left := c.metrics.entries.room.Load(); left != mostOfAll-1 {
		t.Errorf("room for %d", left)
	}
}

// TestEntriesAreCountedAtOnce counts and reloads at the same time: nothing of a
// rule that stays is lost, and nothing of one that goes is left.
func TestEntriesAreCountedAtOnce(t *testing.T) {
	both, one := counting(t, "va", "vb"), counting(t, "va")
	c := newEntryCounter(t, both)
	var all sync.WaitGroup
	const callers, calls = 8, 2000
	for range callers {
		all.Go(func() {
			for i := range calls {
				for _, key := range []string{"va", "vb"} {
					reqs, a := decided(both, key, fmt.Sprint(i%1500))
					c.Decided(both, reqs, a, time.Microsecond)
				}
			}
		})
	}
	for range 50 {
		c.Use(one)
		c.Use(both)
	}
	all.Wait()
	c.Use(one)
	total := 0.0
	for name, n := range c.series(t) {
		if !strings.HasPrefix(name, "d.va ") {
			t.Errorf("%s is left", name)
		}
		total += n
	}
	if total != callers*calls {
		t.Errorf("%v counted, want %d", total, callers*calls)
	}
	if left := c.metrics.entries.room.Load(); left != mostOfAll-mostOfRule {
		t.Errorf("room for %d", left)
	}
}

// TestVerdictsByEntries: a descriptor of a call without a decision has none.
func TestVerdictsByEntries(t *testing.T) {
	c := newEntryCounter(t, counting(t, "v"))
	for _, answer := range []struct {
		of      decision.Verdict
		part    decision.Part
		verdict string
	}{
		{decision.Allow, decision.Part{}, "allow"},
		{decision.Deny, decision.Part{}, "allow"}, // for another descriptor
		{decision.Deny, decision.Part{Verdict: decision.Deny}, "deny"},
		{decision.Invalid, decision.Part{Verdict: decision.Invalid}, "invalid"},
		{decision.Allow, decision.Part{Excused: true}, "shadow"},
		{decision.Unavailable, decision.Part{}, "unavailable"},
	} {
		got := entryVerdicts[verdictOf(&decision.Answer{Verdict: answer.of}, &answer.part)]
		if got != answer.verdict {
			t.Errorf("%+v: %s", answer, got)
		}
		reqs, a := decided(c.policy, "v", answer.verdict)
		a.Verdict = answer.of
		a.Parts[0].Verdict, a.Parts[0].Excused = answer.part.Verdict, answer.part.Excused
		c.Decided(c.policy, reqs, a, time.Microsecond)
		if n := testutil.ToFloat64(c.metrics.entries.metric.WithLabelValues("d.v", "v="+got, got)); n < 1 {
			t.Errorf("%s isn't counted", got)
		}
	}
}

// TestCountingAllocatesNothing once a series is there, nor for a rule that isn't
// counted by entries.
func TestCountingAllocatesNothing(t *testing.T) {
	c := newEntryCounter(t, counting(t, "v", "w"))
	for _, key := range []string{"v", "w"} {
		reqs, a := decided(c.policy, key, "some value\n")
		if n := testing.AllocsPerRun(100, func() { c.Decided(c.policy, reqs, a, time.Microsecond) }); n != 0 {
			t.Errorf("%s: %v allocations", key, n)
		}
	}
}

// TestCallsOfAnotherPolicyCostLittle, however many rules that has.
func TestCallsOfAnotherPolicyCostLittle(t *testing.T) {
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("v%d", i))
	}
	before := counting(t, names...)
	c := newEntryCounter(t, before)
	c.Use(counting(t, names...))
	reqs, a := decided(before, "v7", "x")
	a.Rule = a.Parts[0].Outcome.Rule
	if n := testing.AllocsPerRun(10, func() { c.Decided(before, reqs, a, time.Microsecond) }); n > 100 {
		t.Errorf("%v allocations", n)
	}
	if n := c.series(t)["d.v7 v7=x"]; n != 11 {
		t.Errorf("%v counted, want 11", n)
	}
}
