package telemetry

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// descriptions gives the names and labels of all metrics, as they describe
// themselves, those too that have no series yet.
func descriptions(t *testing.T, m *Metrics) map[string][]string {
	t.Helper()
	text := regexp.MustCompile(`fqName: "([^"]+)".*constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)
	fixed := regexp.MustCompile(`="[^"]*"`) // what a constant label says
	all := map[string][]string{}
	descs := make(chan *prometheus.Desc)
	go func() {
		m.registry.Describe(descs)
		close(descs)
	}()
	for d := range descs {
		match := text.FindStringSubmatch(d.String())
		if match == nil {
			t.Fatalf("a description can't be read: %s", d)
		}
		labels := strings.FieldsFunc(fixed.ReplaceAllString(match[2], "")+","+match[3], func(r rune) bool { return r == ',' })
		slices.Sort(labels)
		all[match[1]] = labels
	}
	return all
}

// TestEveryMetricIsDocumented compares docs/metrics.md with the registry.
func TestEveryMetricIsDocumented(t *testing.T) {
	m := NewMetrics("v1")
	m.Buckets(func() int { return 0 })
	m.Limiter(func() ratelimit.Stats { return ratelimit.Stats{} })
	m.Limits(func() hierarchy.CacheStats { return hierarchy.CacheStats{} })
	m.TLS()
	want := map[string][]string{}
	for name, labels := range descriptions(t, m) {
		if strings.HasPrefix(name, namespace+"_") {
			want[name] = labels
		} else if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") && !strings.HasPrefix(name, "promhttp_") {
			t.Errorf("%s is nobody's", name)
		}
	}
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	row := regexp.MustCompile("(?m)^\\| `(extauthz_[a-z_]+)` \\| (?:counter|gauge|histogram) \\|([^|]*)\\|")
	for _, match := range row.FindAllStringSubmatch(string(text), -1) {
		labels := strings.Fields(strings.ReplaceAll(match[2], "`", ""))
		slices.Sort(labels)
		got[match[1]] = append([]string{}, labels...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/metrics.md (-the registry +the document):\n%s", diff)
	}
}

func TestMetricsFollowTheConventions(t *testing.T) {
	m := filled(t)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, namespace+"_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// filled has a series of each metric.
func filled(t *testing.T) *Metrics {
	t.Helper()
	m := NewMetrics("v1")
	m.Buckets(func() int { return 7 })
	m.Limiter(func() ratelimit.Stats { return ratelimit.Stats{Actors: 1, InFlight: 2, Entries: 3, Bytes: 4} })
	m.Limits(func() hierarchy.CacheStats { return hierarchy.CacheStats{Hits: 1, Misses: 2, Polls: 3, Failures: 1} })
	for _, vec := range []*prometheus.CounterVec{m.decisions, m.matches, m.shadows, m.settles, m.unlimited, m.unknown, m.late, m.refused, m.storeOps, m.dynamoCalls, m.throttles} {
		vec.WithLabelValues(make([]string, labelsOf(t, vec))...).Inc()
	}
	m.duration.WithLabelValues(ProtocolRateLimit).Observe(0.001)
	m.storeSeconds.WithLabelValues("get").Observe(0.001)
	m.Reloaded("abc", time.Unix(1, 0))
	m.TLS().Reloaded(time.Unix(1, 0))
	return m
}

func labelsOf(t *testing.T, vec *prometheus.CounterVec) int {
	t.Helper()
	for n := range 10 {
		if _, err := vec.GetMetricWithLabelValues(make([]string, n)...); err == nil {
			return n
		}
	}
	t.Fatal("no number of labels fits")
	return 0
}

func TestHandlerServesBothForms(t *testing.T) {
	server := httptest.NewServer(filled(t).Handler())
	defer server.Close()
	for accept, want := range map[string]string{
		"":                             "extauthz_buckets 7",
		"application/openmetrics-text": "# EOF",
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body := readAll(t, response)
		if response.StatusCode != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("accepting %q: %d, without %q", accept, response.StatusCode, want)
		}
	}
}

func TestReloadsAreCounted(t *testing.T) {
	m := NewMetrics("v1")
	m.Loaded("a", time.Unix(100, 0))
	m.ReloadFailed()
	if got := testutil.ToFloat64(m.reloadSuccessful); got != 0 {
		t.Errorf("last_reload_successful %v after a failure", got)
	}
	m.Reloaded("b", time.Unix(200, 5e8))
	want := `
# HELP extauthz_config_info The configuration in force, by the hash of its file.
# TYPE extauthz_config_info gauge
extauthz_config_info{sha="b"} 1
# HELP extauthz_config_last_reload_success_timestamp_seconds When the configuration in force was loaded.
# TYPE extauthz_config_last_reload_success_timestamp_seconds gauge
extauthz_config_last_reload_success_timestamp_seconds 200.5
# HELP extauthz_config_last_reload_successful 1 if the file as it is now is in force, 0 if it was refused.
# TYPE extauthz_config_last_reload_successful gauge
extauthz_config_last_reload_successful 1
# HELP extauthz_config_reloads_total Loads of a changed configuration file.
# TYPE extauthz_config_reloads_total counter
extauthz_config_reloads_total{result="failure"} 1
extauthz_config_reloads_total{result="success"} 1
`
	if err := testutil.GatherAndCompare(m.registry, strings.NewReader(want), "extauthz_config_info", "extauthz_config_reloads_total",
		"extauthz_config_last_reload_successful", "extauthz_config_last_reload_success_timestamp_seconds"); err != nil {
		t.Error(err)
	}
}
