package telemetry

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// Limits has what is known of the limits in the store read whenever the metrics
// are.
func (m *Metrics) Limits(stats func() hierarchy.CacheStats) {
	const resolutions, polls = "limits_resolutions_total", "limits_polls_total"
	m.counterOf(resolutions, "Look-ups of the limits of a bucket, by what answered.", prometheus.Labels{"source": "cache"},
		func() int64 { return stats().Hits })
	m.counterOf(resolutions, "Look-ups of the limits of a bucket, by what answered.", prometheus.Labels{"source": "store"},
		func() int64 { return stats().Misses })
	m.counterOf(polls, "Readings of the changes of a namespace's limits.", prometheus.Labels{"result": resultSuccess},
		func() int64 { s := stats(); return s.Polls - s.Failures })
	m.counterOf(polls, "Readings of the changes of a namespace's limits.", prometheus.Labels{"result": resultFailure},
		func() int64 { return stats().Failures })
	m.gaugeOf("limits_age_seconds", "How long changes of limits in the store may have gone unnoticed, at most.",
		func() float64 { return stats().Age.Seconds() })
	m.gaugeOf("limits_namespaces", "Namespaces whose limits are in use.",
		func() float64 { return float64(stats().Namespaces) })
}

// counterOf makes a counter that is read when it is asked for.
func (m *Metrics) counterOf(name, help string, labels prometheus.Labels, read func() int64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels},
		func() float64 { return float64(read()) },
	))
}

// PollFailed makes a function that logs, now and then, that the changes of a
// namespace's limits couldn't be read.
func PollFailed(log *slog.Logger) func(namespace string, err error) {
	g := &gate{every: failuresEvery}
	return func(namespace string, err error) {
		if held, ok := g.pass(time.Now()); ok {
			log.Warn("changes of limits can't be read, those that are known stay in force",
				"namespace", namespace, "more_before", held, "err", err)
		}
	}
}
