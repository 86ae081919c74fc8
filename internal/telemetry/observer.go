package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Observer counts decisions, and logs what an operator must know of them. It is
// safe for concurrent use.
type Observer struct {
	metrics *Metrics
	log     *slog.Logger
	// current is the recorder of the policy in force. Calls that began under the
	// one before it find theirs there too, or are given a new one.
	current     atomic.Pointer[recorder]
	unavailable gate
	seconds     [protocols]prometheus.Observer
}

var _ decision.Observer = (*Observer)(nil)

// unavailableEvery is how often at most an unavailable store is logged.
const unavailableEvery = time.Second

// NewObserver makes an Observer.
func NewObserver(m *Metrics, log *slog.Logger) *Observer {
	o := &Observer{metrics: m, log: log, unavailable: gate{every: unavailableEvery}}
	for i := range o.seconds {
		o.seconds[i] = m.duration.WithLabelValues(protocolNames[i])
	}
	return o
}

// Use makes ready for a policy that will be in force. Series of rules that it
// doesn't have end; they would only grow in number with every reload.
func (o *Observer) Use(p *decision.Policy) {
	o.metrics.entries.use(p.Rules.All())
	old := o.current.Swap(newRecorder(o.metrics, p))
	if old == nil {
		return
	}
	kept := map[string]bool{}
	for _, r := range p.Rules.All() {
		kept[r.Name()] = true
	}
	for _, r := range old.policy.Rules.All() {
		if !kept[r.Name()] {
			o.metrics.forget(r.Name())
		}
	}
}

// recorder is that of a policy.
func (o *Observer) recorder(p *decision.Policy) *recorder {
	if r := o.current.Load(); r != nil && r.policy == p {
		return r
	}
	return newRecorderOnce(o.metrics, p)
}

// Decided counts a call.
func (o *Observer) Decided(p *decision.Policy, reqs []*descriptors.Request, a *decision.Answer, took time.Duration) {
	protocol := 0
	if len(reqs) > 0 {
		protocol = protocolIndex(reqs[0].Protocol)
	}
	o.seconds[protocol].Observe(took.Seconds())
	o.recorder(p).decided(protocol, reqs, a)
	for i := range a.Parts {
		for _, f := range a.Parts[i].Outcome.InvalidShadows {
			o.log.Debug("a request is invalid to a rule that isn't enforced", "protocol", protocolNames[protocol], "rule", nameOf(f.Rule), "err", f.Err)
		}
	}
	switch {
	case a.Reason == decision.ReasonInvalid:
		o.log.Debug("a request is invalid", "protocol", protocolNames[protocol], "rule", nameOf(a.Rule), "err", a.Err)
	case a.Source == ratelimit.SourceFallback:
		o.unanswered(protocol, a)
	}
}

// unanswered logs that the store gave no answer in time, now and then.
func (o *Observer) unanswered(protocol int, a *decision.Answer) {
	if errors.Is(a.Err, context.Canceled) { // the caller has gone
		return
	}
	held, ok := o.unavailable.pass(time.Now())
	if !ok {
		return
	}
	attrs := []any{
		"protocol", protocolNames[protocol], "rule", nameOf(a.Rule), "answer", a.Verdict.String(), "source", a.Source.String(), "more_before", held,
	}
	if a.Err != nil {
		attrs = append(attrs, "err", a.Err)
	}
	o.log.Warn("the store gave no answer in time", attrs...)
}

// Shadowed counts what a rule that isn't enforced would have decided.
func (o *Observer) Shadowed(p *decision.Policy, r *descriptors.Rule, d *ratelimit.Decision, err error) {
	o.recorder(p).rule(r).shadowed(d, err)
}

func nameOf(r *descriptors.Rule) string {
	if r == nil {
		return ""
	}
	return r.Name()
}
