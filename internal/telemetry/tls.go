package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TLS counts what becomes of changed certificates.
type TLS struct {
	reloads    *prometheus.CounterVec // :: result
	successful prometheus.Gauge
	expires    prometheus.Gauge
}

// TLS adds the metrics of a service that has a certificate. It is called once.
func (m *Metrics) TLS() *TLS {
	t := &TLS{
		reloads:    m.counters("tls_reloads_total", "Loads of changed certificates and keys.", "result"),
		successful: m.gauge("tls_last_reload_successful", "1 if certificates and keys as their files are now are in use, 0 if they were refused."),
		expires:    m.gauge("tls_certificate_expiry_timestamp_seconds", "When the certificate in use expires."),
	}
	t.reloads.WithLabelValues(resultSuccess)
	t.reloads.WithLabelValues(resultFailure)
	return t
}

// Loaded notes that what the files hold is in use, with a certificate that
// expires then.
func (t *TLS) Loaded(expires time.Time) {
	t.expires.Set(float64(expires.Unix()))
	t.successful.Set(1)
}

// Reloaded notes that what changed files hold is in use.
func (t *TLS) Reloaded(expires time.Time) {
	t.Loaded(expires)
	t.reloads.WithLabelValues(resultSuccess).Inc()
}

// ReloadFailed notes that changed files were refused.
func (t *TLS) ReloadFailed() {
	t.successful.Set(0)
	t.reloads.WithLabelValues(resultFailure).Inc()
}
