package telemetry

import "github.com/prometheus/client_golang/prometheus"

// The protocols, as labels.
const (
	ProtocolRateLimit = "ratelimit"
	ProtocolExtAuthz  = "ext_authz"
)

// Why a call is answered with an error, as labels.
const (
	RefusedNoDomain      = "no_domain"
	RefusedNoDescriptors = "no_descriptors"
	RefusedTooMany       = "too_many_descriptors"
	RefusedUnknownUnit   = "unknown_unit"
	RefusedGone          = "caller_gone"
	RefusedUnavailable   = "unavailable"
	RefusedUntrusted     = "untrusted_proxy"
	RefusedMalformed     = "malformed"
)

var refusals = [...]string{
	RefusedNoDomain, RefusedNoDescriptors, RefusedTooMany, RefusedUnknownUnit, RefusedGone, RefusedUnavailable,
	RefusedUntrusted, RefusedMalformed,
}

// Calls counts what happens to a protocol's calls beside their decisions. It is
// safe for concurrent use; a nil *Calls counts nothing.
type Calls struct {
	late    prometheus.Counter
	refused map[string]prometheus.Counter // :: reason -> its counter
}

// Calls are the counters of a protocol.
func (m *Metrics) Calls(protocol string) *Calls {
	c := &Calls{late: m.late.WithLabelValues(protocol), refused: make(map[string]prometheus.Counter, len(refusals))}
	for _, reason := range refusals {
		c.refused[reason] = m.refused.WithLabelValues(protocol, reason)
	}
	return c
}

// Late counts a decision that was made after the caller's deadline.
func (c *Calls) Late() {
	if c != nil {
		c.late.Inc()
	}
}

// Refused counts a call that is answered with an error. The reason is one of
// the constants.
func (c *Calls) Refused(reason string) {
	if c == nil {
		return
	}
	if counter, ok := c.refused[reason]; ok {
		counter.Inc()
	}
}

// Panicked counts a call that failed by a fault of this program.
func (m *Metrics) Panicked() { m.panics.Inc() }
