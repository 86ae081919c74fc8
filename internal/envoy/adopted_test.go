package envoy

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	rlcommon "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/internal/dropin"
	"github.com/extauthz/extauthz/internal/dropin/dropintest"
	"github.com/extauthz/extauthz/internal/telemetry"
	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// adoptedPolicy decides by the configuration of examples.
func adoptedPolicy(t *testing.T, opts dropin.Options, examples ...dropintest.Example) *decision.Policy {
	t.Helper()
	folder := t.TempDir()
	dropintest.Write(t, folder, examples...)
	opts.Namespace = "default"
	rules, report := config.LoadRatelimit(folder, opts)
	if rules == nil {
		t.Fatal(report)
	}
	return &decision.Policy{Rules: rules, Resolver: hierarchy.NewResolver("default", hierarchy.Document{}), InProcess: true}
}

// detailed are the lines of a page of metrics that say what is counted by
// entries.
var detailed = regexp.MustCompile(`(?m)^extauthz_detailed_matches_total\{entries="(.*)",rule="(.*)",verdict="(.*)"\} (.*)$`)

// countedBy are the lines of an example's metrics.
func countedBy(m *telemetry.Metrics) []string {
	page := httptest.NewRecorder()
	m.Handler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	var all []string
	for _, found := range detailed.FindAllStringSubmatch(page.Body.String(), -1) {
		all = append(all, strings.Join([]string{found[2], found[1], found[3], found[4]}, " "))
	}
	slices.Sort(all)
	return all
}

// TestRatelimitExamples has the answers to the examples of another format, and
// what they are counted by.
func TestRatelimitExamples(t *testing.T) {
	examples := dropintest.Load(t)
	if len(examples) < 13 {
		t.Errorf("there are %d examples", len(examples))
	}
	for _, e := range examples {
		t.Run(e.Name, func(t *testing.T) {
			metrics := telemetry.NewMetrics("v1")
			observer := telemetry.NewObserver(metrics, slog.New(slog.DiscardHandler))
			policy := adoptedPolicy(t, dropin.Options{}, e)
			observer.Use(policy)
			w := newObservedWorld(t, policy, observer)
			for _, step := range e.Steps {
				w.pass(step.Pass)
				w.step(t, &step, false)
			}
			if diff := cmp.Diff(e.Metrics, countedBy(metrics)); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}
		})
	}
}

// TestImportedExamples has the codes of the same answers by the rules that the
// examples are imported as, but where what they are imported with says otherwise.
func TestImportedExamples(t *testing.T) {
	otherwise := map[string]bool{"07-replaces": true, "20-units": true, "21-quota": true, "22-metrics": true}
	for _, e := range dropintest.Load(t) {
		if otherwise[e.Name] {
			continue
		}
		t.Run(e.Name, func(t *testing.T) {
			folder := t.TempDir()
			dropintest.Write(t, folder, e)
			files, _ := config.ReadRatelimit(folder, dropin.Options{Namespace: "default"})
			w := newWorld(t, dropin.Import(files).Text)
			for _, step := range e.Steps {
				w.pass(step.Pass)
				step.Statuses = codesOf(step.Statuses)
				w.step(t, &step, true)
			}
		})
	}
}

// codesOf are the codes of statuses, without their limits.
func codesOf(told []string) []string {
	var codes []string
	for _, s := range told {
		code, _, _ := strings.Cut(s, " ")
		codes = append(codes, code)
	}
	return codes
}

// step makes the calls of a step and holds their answers, or the codes in them.
func (w *world) step(t *testing.T, s *dropintest.Step, codes bool) {
	t.Helper()
	var response *rlsv3.RateLimitResponse
	for range s.Times {
		if s.Domain == "" {
			return
		}
		response = w.limit(t, s.Domain, called(s)...)
		if got := response.GetOverallCode().String(); got != s.Overall {
			t.Fatalf("%s\ngot %s", s.Line, got)
		}
	}
	got := toldBy(response)
	if codes {
		got = codesOf(got)
	}
	if response != nil && !slices.Equal(got, s.Statuses) {
		t.Errorf("%s\ngot %s", s.Line, strings.Join(got, " ; "))
	}
}

// called are the descriptors of a step's call.
func called(s *dropintest.Step) []*rlcommon.RateLimitDescriptor {
	all := make([]*rlcommon.RateLimitDescriptor, len(s.Descriptors))
	for i := range s.Descriptors {
		d := &s.Descriptors[i]
		all[i] = &rlcommon.RateLimitDescriptor{}
		for _, e := range d.Entries {
			all[i].Entries = append(all[i].Entries, &rlcommon.RateLimitDescriptor_Entry{Key: e[0], Value: e[1]})
		}
		if d.Hits != nil {
			all[i].HitsAddend = wrapperspb.UInt64(*d.Hits)
		}
		if d.Limit {
			unit := typev3.RateLimitUnit(typev3.RateLimitUnit_value[d.LimitUnit])
			all[i].Limit = &rlcommon.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: d.LimitOf, Unit: unit}
		}
	}
	return all
}

// toldBy are the statuses of an answer as examples have them.
func toldBy(response *rlsv3.RateLimitResponse) []string {
	var all []string
	for _, s := range response.GetStatuses() {
		told := s.GetCode().String()
		if l := s.GetCurrentLimit(); l != nil {
			told += fmt.Sprintf(" %d/%s", l.GetRequestsPerUnit(), l.GetUnit())
			if l.GetName() != "" {
				told += fmt.Sprintf(" %q", l.GetName())
			}
			told += fmt.Sprintf(" left %d", s.GetLimitRemaining())
		} else if s.GetLimitRemaining() == 1<<32-1 {
			told += " unlimited"
		}
		all = append(all, told)
	}
	return all
}

// TestRatelimitMetadata: what a descriptor has beside its limit goes with the
// answer unless it is exceeded, as one for all descriptors.
func TestRatelimitMetadata(t *testing.T) {
	policy := adoptedPolicy(t, dropin.Options{}, dropintest.Example{Name: "x", Files: []txtar.File{{Name: "a.yaml", Data: []byte(`
domain: d
descriptors:
  - key: a
    rate_limit: {unit: day, requests_per_unit: 2}
    metadata: {name: a, in: {one: 1, of: [x, true, 1.5]}, "010": 010}
  - key: b
    rate_limit: {unit: day, requests_per_unit: 1}
    metadata: {name: b, in: {one: 2, two: "2"}, none: ~}
  - {key: free, rate_limit: {unlimited: true}, metadata: {name: free}}
`)}}})
	policy.DynamicMetadata = true
	w := newWorldOf(t, policy)
	a := map[string]any{"name": "a", "in": map[string]any{"one": 1.0, "of": []any{"x", true, 1.5}}, "010": 8.0}
	both := map[string]any{"name": "a", "in": map[string]any{"one": 1.0, "of": []any{"x", true, 1.5}, "two": "2"}, "010": 8.0, "none": nil}
	for i, want := range []map[string]any{both, a, nil} {
		response := w.limit(t, "d", descriptor("free", "x"), descriptor("a", "x"), descriptor("b", "x"))
		got, _ := response.GetDynamicMetadata().AsMap()["metadata"].(map[string]any)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("call %d, -want +got:\n%s", i, diff)
		}
	}
}
