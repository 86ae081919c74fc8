package telemetry

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// namespace begins the name of every metric of ours.
const namespace = "extauthz"

// Metrics are the service's metrics, on a registry of their own. They are safe
// for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	decisions *prometheus.CounterVec // :: protocol, rule, verdict, reason, source
	matches   *prometheus.CounterVec // :: protocol, rule, action
	entries   *byEntries
	shadows   *prometheus.CounterVec // :: rule, verdict
	settles   *prometheus.CounterVec // :: rule
	unlimited *prometheus.CounterVec // :: rule
	unknown   *prometheus.CounterVec // :: rule
	duration  *prometheus.HistogramVec

	late    *prometheus.CounterVec // :: protocol
	refused *prometheus.CounterVec // :: protocol, reason
	panics  prometheus.Counter

	storeOps     *prometheus.CounterVec // :: operation, outcome
	storeSeconds *prometheus.HistogramVec
	dynamoCalls  *prometheus.CounterVec // :: request, kind
	throttles    *prometheus.CounterVec // :: reason

	reloads          *prometheus.CounterVec // :: result
	reloadSuccessful prometheus.Gauge
	reloadTime       prometheus.Gauge
	configInfo       *prometheus.GaugeVec // :: sha
}

// NewMetrics makes the metrics of one service. version is the build's.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.newDecisions()
	m.newCalls()
	m.newStore()
	m.newConfig(version)
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

func (m *Metrics) newDecisions() {
	m.decisions = m.counters("decisions_total", "Calls decided, by the rule that decided.",
		"protocol", "rule", "verdict", "reason", "source")
	m.matches = m.counters("rule_matches_total", "Descriptors (ratelimit) and requests (ext_authz), by the rule that took them.",
		"protocol", "rule", "action")
	m.entries = newByEntries(m.counters("detailed_matches_total", "Descriptors by their entries, of rules with detailed_metric or value_to_metric.",
		"rule", "entries", "verdict"))
	m.shadows = m.counters("shadow_decisions_total", "What rules that aren't enforced would have decided.", "rule", "verdict")
	m.settles = m.counters("settled_charges_total", "Charges booked whatever the balance, of settle rules.", "rule")
	m.unlimited = m.counters("unlimited_charges_total", "Charges to which no limits apply.", "rule")
	m.unknown = m.counters("unknown_limits_total", "Limits that a rule's consume names and the bucket lacks.", "rule")
	m.duration = m.histograms("decision_duration_seconds", "Time to a decision, without gRPC.",
		[]float64{1e-6, 5e-6, 25e-6, 1e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.25, 1}, "protocol")
}

func (m *Metrics) newCalls() {
	m.late = m.counters("late_decisions_total", "Decisions made after the caller's deadline.", "protocol")
	m.refused = m.counters("refused_calls_total", "Calls answered with an error without a decision.", "protocol", "reason")
	m.panics = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "panics_total", Help: "Calls that failed by a fault of this program.",
	})
	m.registry.MustRegister(m.panics)
}

func (m *Metrics) newStore() {
	m.storeOps = m.counters("store_operations_total", "Operations of the store.", "operation", "outcome")
	m.storeSeconds = m.histograms("store_operation_duration_seconds", "Time of the store's operations, of a sample.",
		[]float64{1e-6, 1e-5, 1e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.25, 1}, "operation")
	m.dynamoCalls = m.counters("dynamodb_calls_total", "Calls to DynamoDB, by what became of them.", "request", "kind")
	m.throttles = m.counters("dynamodb_throttles_total", "Why DynamoDB throttled calls, in its own words.", "reason")
}

func (m *Metrics) newConfig(version string) {
	m.reloads = m.counters("config_reloads_total", "Loads of a changed configuration file.", "result")
	m.reloads.WithLabelValues(resultSuccess)
	m.reloads.WithLabelValues(resultFailure)
	m.reloadSuccessful = m.gauge("config_last_reload_successful", "1 if the file as it is now is in force, 0 if it was refused.")
	m.reloadTime = m.gauge("config_last_reload_success_timestamp_seconds", "When the configuration in force was loaded.")
	m.configInfo = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "config_info", Help: "The configuration in force, by the hash of its file.",
	}, []string{"sha"})
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "The build that runs.",
	}, []string{"version", "goversion"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(m.configInfo, build)
}

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
	m.registry.MustRegister(g)
	return g
}

// histograms makes a histogram of both kinds: native for servers that scrape
// it, classic buckets for those that don't.
func (m *Metrics) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}, labels)
	m.registry.MustRegister(h)
	return h
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		Registry: m.registry, EnableOpenMetrics: true, MaxRequestsInFlight: 4,
	})
}

// Buckets has the number of live buckets read from the in-process store
// whenever the metrics are.
func (m *Metrics) Buckets(live func() int) {
	m.gaugeOf("buckets", "Buckets held in memory: those that aren't full.", func() float64 { return float64(live()) })
}

// Limiter has what a limiter holds in memory read whenever the metrics are.
func (m *Metrics) Limiter(stats func() ratelimit.Stats) {
	m.gaugeOf("actors", "Buckets that are being charged in the store, or wait for their pace.",
		func() float64 { return float64(stats().Actors) })
	m.gaugeOf("store_requests_in_flight", "Requests to the store that haven't come back.",
		func() float64 { return float64(stats().InFlight) })
	m.gaugeOf("rejection_cache_entries", "Buckets in the rejection cache.",
		func() float64 { return float64(stats().Entries) })
	m.gaugeOf("rejection_cache_bytes", "About what the rejection cache takes in memory.",
		func() float64 { return float64(stats().Bytes) })
}

// gaugeOf makes a gauge that is read when it is asked for.
func (m *Metrics) gaugeOf(name, help string, read func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, read))
}

// The results of a reload.
const (
	resultSuccess = "success"
	resultFailure = "failure"
)

// Loaded notes the configuration that the service starts with.
func (m *Metrics) Loaded(sha string, at time.Time) {
	m.configInfo.Reset()
	m.configInfo.WithLabelValues(sha).Set(1)
	m.reloadTime.Set(float64(at.UnixMilli()) / 1000)
	m.reloadSuccessful.Set(1)
}

// Reloaded notes that a changed file is in force.
func (m *Metrics) Reloaded(sha string, at time.Time) {
	m.reloads.WithLabelValues(resultSuccess).Inc()
	m.Loaded(sha, at)
}

// ReloadFailed notes that a changed file was refused.
func (m *Metrics) ReloadFailed() {
	m.reloads.WithLabelValues(resultFailure).Inc()
	m.reloadSuccessful.Set(0)
}
