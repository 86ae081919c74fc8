package telemetry

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/extauthz/extauthz/pkg/dynamostore"
)

// DynamoDB counts calls to DynamoDB. It is safe for concurrent use.
type DynamoDB struct {
	metrics *Metrics
	calls   [dynamostore.Requests][dynamostore.KindUnknown + 1]prometheus.Counter
	reasons sync.Map // :: DynamoDB's reason for throttling -> its prometheus.Counter
}

var _ dynamostore.Observer = (*DynamoDB)(nil)

// otherReason stands for the reasons beyond the most that are counted apart:
// they are the other side's to name.
const (
	mostReasons = 32
	otherReason = "other"
	noReason    = "none"
)

// DynamoDB makes an observer of a store's calls.
func (m *Metrics) DynamoDB() *DynamoDB {
	d := &DynamoDB{metrics: m}
	for request := range d.calls {
		for kind := range d.calls[request] {
			d.calls[request][kind] = m.dynamoCalls.WithLabelValues(
				dynamostore.Request(request).String(), dynamostore.Kind(kind).String())
		}
	}
	return d
}

// Called counts a call.
func (d *DynamoDB) Called(c dynamostore.Call) {
	d.calls[c.Request][c.Kind].Inc()
	if c.Kind != dynamostore.KindThrottled {
		return
	}
	if len(c.Reasons) == 0 {
		d.throttled(noReason).Inc()
	}
	for _, r := range c.Reasons {
		d.throttled(r).Inc()
	}
}

func (d *DynamoDB) throttled(reason string) prometheus.Counter {
	if c, ok := d.reasons.Load(reason); ok {
		return c.(prometheus.Counter)
	}
	n := 0
	d.reasons.Range(func(any, any) bool { n++; return n < mostReasons })
	if n >= mostReasons {
		reason = otherReason
	}
	c, _ := d.reasons.LoadOrStore(reason, d.metrics.throttles.WithLabelValues(reason))
	return c.(prometheus.Counter)
}
