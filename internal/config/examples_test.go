package config_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/config/yamltree"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// warned are the warnings that the examples deserve: what a request can be
// without, so that no rule takes it.
var warned = map[string][]string{
	"02-rls.yaml":         {"5:17 descriptor.route"},
	"03-saas-plans.yaml":  {`3:15 metadata["envoy.filters.http.jwt_authn"].payload.tenant`, "5:17 context_extensions.resource"},
	"04-llm.yaml":         {"4:15 descriptor.user", "11:17 descriptor.model"},
	"04b-llm-claims.yaml": {"20:19 descriptor.org", "26:20 descriptor.user", "28:17 descriptor.model"},
	"05-costs.yaml":       {`15:15 request.headers["x-tenant"]`},
	"07-istio.yaml":       {"5:17 destination.principal"},
	"09-rollout.yaml":     {`8:15 request.headers["x-tenant"]`},
	"10-routing.yaml":     {`3:15 request.headers["x-tenant"]`, "4:17 context_extensions.resource"},
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("testdata/examples/*.yaml")
	if err != nil || len(files) != 11 {
		t.Fatalf("%d examples: %v", len(files), err)
	}
	for _, file := range files {
		c, report := config.Load(file, config.Options{})
		if c == nil || report.Err() != nil {
			t.Errorf("%s:\n%s", file, report)
			continue
		}
		var got []string
		for _, p := range report.Problems {
			_, rest, _ := strings.Cut(p.Message, "a request without ")
			missing, _, found := strings.Cut(rest, " passes it by")
			if !found || !p.Warning {
				t.Errorf("%s: %s", file, p.String())
			}
			got = append(got, position(&p)+" "+missing)
		}
		if diff := cmp.Diff(warned[filepath.Base(file)], got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

func TestLimitsOfAnExample(t *testing.T) {
	c, report := config.Load("testdata/examples/03-saas-plans.yaml", config.Options{})
	if c == nil {
		t.Fatal(report)
	}
	own := func(l ratelimit.Limit) hierarchy.Level { return hierarchy.Level{Limits: []ratelimit.Limit{l}} }
	search := func(rate int64) map[string]hierarchy.Level {
		return map[string]hierarchy.Level{"search": own(ratelimit.PerMinute("requests", rate))}
	}
	want := hierarchy.Document{
		System: own(ratelimit.PerMinute("requests", 10)),
		Tiers: map[string]hierarchy.Tier{
			"free":       {Level: own(ratelimit.PerMinute("requests", 60))},
			"pro":        {Level: own(ratelimit.PerMinute("requests", 600).WithBurst(1200)), Resources: search(100)},
			"enterprise": {Level: own(ratelimit.PerMinute("requests", 6000))},
		},
		Entities: map[string]hierarchy.Entity{
			"acme":   {Tier: "enterprise"},
			"globex": {Tier: "pro", Resources: search(500)},
		},
	}
	if diff := cmp.Diff(want, c.Limits); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLimitsOfEveryKind(t *testing.T) {
	const text = `
namespace: acme
limits:
  system: {on_unavailable: deny, mode: disabled}
  resources:
    "GPT-4.Turbo": {mode: bypass, on_unavailable: allow}
    spiffe://a/b#c: {limits: {010: 1/min}}
  entities:
    1.2.3.4: {parent: "é\t", cascade: true, metadata: {crm: 010, "": x}}
`
	_, report := config.Parse("x.yaml", []byte(text), config.Options{})
	if got, want := strings.Join(report.Lines(), "\n"), "x.yaml:7:31: a limit: the name \"010\" is not a letter followed by letters, digits and . _ -\n"+
		"x.yaml:9:23: warning: there is no entity \"é\\t\"\nx.yaml:9:66: the name is empty"; got != want {
		t.Errorf("%s", cmp.Diff(want, got))
	}
	right := strings.NewReplacer(`010: 1/min`, "a: {rate: 7/2h, burst: 9}", `, "": x`, "").Replace(text)
	c, report := config.Parse("x.yaml", []byte(right), config.Options{})
	if c == nil {
		t.Fatal(report)
	}
	want := hierarchy.Document{
		System: hierarchy.Level{OnUnavailable: ratelimit.FallbackDeny, Mode: ratelimit.ModeDisabled},
		Resources: map[string]hierarchy.Level{
			"GPT-4.Turbo":    {OnUnavailable: ratelimit.FallbackAllow, Mode: ratelimit.ModeBypass},
			"spiffe://a/b#c": {Limits: []ratelimit.Limit{{Name: "a", Rate: 7, Period: 2 * time.Hour, Burst: 9}}},
		},
		Entities: map[string]hierarchy.Entity{
			"1.2.3.4": {Parent: "é\t", Cascade: true, Metadata: map[string]string{"crm": "010"}},
		},
	}
	if diff := cmp.Diff(want, c.Limits); diff != "" || c.Namespace != "acme" {
		t.Errorf("namespace %q, -want +got:\n%s", c.Namespace, diff)
	}
}

func position(p *config.Problem) string { return fmt.Sprintf("%d:%d", p.Pos.Line, p.Pos.Column) }

// example is the file that shows every key.
const example = "../../extauthz.example.yaml"

// TestExampleFile holds that the commented file is right, says the defaults
// where there are any, and has every key.
func TestExampleFile(t *testing.T) {
	shown, report := config.Load(example, config.Options{})
	if shown == nil || len(report.Problems) > 0 {
		t.Fatalf("%s", report)
	}
	byDefault, report := config.Load("", config.Options{})
	if byDefault == nil {
		t.Fatal(report)
	}
	same := *shown
	same.Path, same.Sum, same.Rules, same.Limits = byDefault.Path, byDefault.Sum, byDefault.Rules, byDefault.Limits
	if diff := cmp.Diff(*byDefault, same, cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "Rules" }, cmp.Ignore())); diff != "" {
		t.Errorf("the example is not the default (-default +example):\n%s", diff)
	}
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	text = withDynamoDB(t, text, byDefault.Path)
	keys := map[string]bool{}
	collect(yamltree.Parse(text).Root, keys)
	for _, known := range config.Keys() {
		if !keys[known] {
			t.Errorf("the example doesn't show %s", known)
		}
	}
	if len(config.Keys()) < 30 {
		t.Errorf("only %d keys are known: %s", len(config.Keys()), slices.Sorted(maps.Keys(keys)))
	}
}

// withDynamoDB is the example with its other store in place of the embedded one,
// which must say the defaults too.
func withDynamoDB(t *testing.T, text []byte, path string) []byte {
	t.Helper()
	text = regexp.MustCompile(`(?m)^  type: embedded .*\n`).ReplaceAll(text, nil)
	text = regexp.MustCompile(`(?m)^# ([a-z_]+: )`).ReplaceAll(text, []byte("  $1"))
	shown, report := config.Parse(path, text, config.Options{})
	byDefault, _ := config.Parse("", []byte("store: {type: dynamodb}"), config.Options{})
	if shown == nil || byDefault == nil {
		t.Fatal(report)
	}
	if diff := cmp.Diff(byDefault.Store, shown.Store); diff != "" {
		t.Errorf("the example's other store is not the default (-default +example):\n%s", diff)
	}
	return text
}

func collect(n *yamltree.Node, into map[string]bool) {
	for _, e := range n.Entries {
		into[e.Key.Value] = true
		collect(e.Value, into)
	}
	for _, item := range n.Items {
		collect(item, into)
	}
}
