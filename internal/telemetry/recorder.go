package telemetry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// The protocols by index.
const protocols = 2

var protocolNames = [protocols]string{ProtocolRateLimit, ProtocolExtAuthz}

func protocolIndex(p descriptors.Protocol) int {
	if p == descriptors.ProtocolExtAuthz {
		return 1
	}
	return 0
}

// recorder has the series of one policy's rules. A series appears when it is
// first counted, and is found by index from then on.
type recorder struct {
	metrics *Metrics
	policy  *decision.Policy
	rules   map[*descriptors.Rule]*ruleSeries
	none    *ruleSeries // of requests that no rule took
	once    bool        // for one call: rules has those that it met
}

func newRecorder(m *Metrics, p *decision.Policy) *recorder {
	all := p.Rules.All()
	r := &recorder{metrics: m, policy: p, rules: make(map[*descriptors.Rule]*ruleSeries, len(all)), none: newRuleSeries(m, "")}
	for _, rule := range all {
		r.add(rule)
	}
	return r
}

// newRecorderOnce is for one call whose policy isn't in force any more, or not
// yet: there may be thousands of rules, and of such calls as many as are decided
// at once.
func newRecorderOnce(m *Metrics, p *decision.Policy) *recorder {
	return &recorder{metrics: m, policy: p, rules: map[*descriptors.Rule]*ruleSeries{}, none: newRuleSeries(m, ""), once: true}
}

func (r *recorder) add(rule *descriptors.Rule) *ruleSeries {
	s := newRuleSeries(r.metrics, rule.Name())
	s.entries = r.metrics.entries.rule(rule)
	r.rules[rule] = s
	return s
}

// rule has the series of a rule; nil stands for no rule.
func (r *recorder) rule(rule *descriptors.Rule) *ruleSeries {
	switch s := r.rules[rule]; {
	case s != nil:
		return s
	case r.once && rule != nil:
		return r.add(rule)
	}
	return r.none
}

func (r *recorder) decided(protocol int, reqs []*descriptors.Request, a *decision.Answer) {
	r.rule(a.Rule).decision(protocol, a).Inc()
	for i := range a.Parts {
		o := &a.Parts[i].Outcome
		taken := r.rule(o.Rule)
		taken.match(protocol, o).Inc()
		if taken.entries != nil {
			taken.entries.count(reqs[i].Entries, verdictOf(a, &a.Parts[i]))
		}
		for j := range o.Charges {
			if o.Charges[j].Settle && a.Source != ratelimit.SourceFallback {
				series(&r.rule(o.Charges[j].Rule).settled, r.metrics.settles, nameOf(o.Charges[j].Rule)).Inc()
			}
		}
		for j := range o.InvalidShadows {
			r.rule(o.InvalidShadows[j].Rule).shadow(decision.Invalid)
		}
	}
	for i := range a.Decision.Buckets {
		b := &a.Decision.Buckets[i]
		if !b.NoLimits && len(b.Unknown) == 0 {
			continue
		}
		name := chargedBy(a, b.Charge)
		if b.NoLimits {
			series(&r.rule(name).unlimited, r.metrics.unlimited, nameOf(name)).Inc()
		}
		if n := len(b.Unknown); n > 0 {
			series(&r.rule(name).unknown, r.metrics.unknown, nameOf(name)).Add(float64(n))
		}
	}
}

// chargedBy is the rule whose charge has an index in the decision.
func chargedBy(a *decision.Answer, charge int) *descriptors.Rule {
	if c := a.Charge(charge); c != nil {
		return c.Rule
	}
	return nil
}

// How many of each label's values there are.
const (
	verdicts = int(decision.Unavailable) + 1
	sources  = int(ratelimit.SourceFallback) + 1
	actions  = int(descriptors.Invalid) + 2 // and the refund
)

// reasons are the values of the label: those of ratelimit.Reason, those of
// internal/decision, and what an older build doesn't know.
var reasons = [...]string{
	ratelimit.ReasonAllowed.String(), ratelimit.ReasonExceeded.String(), ratelimit.ReasonNoLimits.String(),
	ratelimit.ReasonBypass.String(), ratelimit.ReasonNever.String(), ratelimit.ReasonDisabled.String(),
	ratelimit.ReasonUnlimited.String(), ratelimit.ReasonUnavailable.String(),
	decision.ReasonNoMatch, decision.ReasonRule, decision.ReasonInvalid, decision.ReasonShadow,
	"other",
}

func reasonIndex(reason string) int {
	for i, r := range reasons {
		if r == reason {
			return i
		}
	}
	return len(reasons) - 1
}

// counter is a series that is resolved when it is first needed.
type counter = atomic.Pointer[prometheus.Counter]

func series(c *counter, vec *prometheus.CounterVec, labels ...string) prometheus.Counter {
	if p := c.Load(); p != nil {
		return *p
	}
	resolved := vec.WithLabelValues(labels...)
	c.Store(&resolved)
	return resolved
}

// ruleSeries are the series of one rule.
type ruleSeries struct {
	metrics   *Metrics
	name      string
	entries   *entrySeries // nil: it isn't counted by them
	decisions [protocols][verdicts][len(reasons)][sources]counter
	matches   [protocols][actions]counter
	shadows   [verdicts]counter
	settled   counter
	unlimited counter
	unknown   counter
}

func newRuleSeries(m *Metrics, name string) *ruleSeries { return &ruleSeries{metrics: m, name: name} }

func (s *ruleSeries) decision(protocol int, a *decision.Answer) prometheus.Counter {
	reason := reasonIndex(a.Reason)
	c := &s.decisions[protocol][a.Verdict][reason][a.Source]
	if p := c.Load(); p != nil {
		return *p
	}
	return series(c, s.metrics.decisions, protocolNames[protocol], s.name, a.Verdict.String(), reasons[reason], a.Source.String())
}

func (s *ruleSeries) match(protocol int, o *descriptors.Outcome) prometheus.Counter {
	action, name := int(o.Action), ""
	if o.Refund {
		action, name = actions-1, "refund"
	}
	c := &s.matches[protocol][action]
	if p := c.Load(); p != nil {
		return *p
	}
	if name == "" {
		name = o.Action.String()
	}
	return series(c, s.metrics.matches, protocolNames[protocol], s.name, name)
}

func (s *ruleSeries) shadowed(d *ratelimit.Decision, err error) {
	verdict := decision.Allow
	switch {
	case err != nil:
		verdict = decision.Unavailable
	case !d.Allowed:
		verdict = decision.Deny
	}
	s.shadow(verdict)
}

// shadow counts what the rule would have decided.
func (s *ruleSeries) shadow(v decision.Verdict) {
	series(&s.shadows[v], s.metrics.shadows, s.name, v.String()).Inc()
}

// forget ends the series of a rule.
func (m *Metrics) forget(rule string) {
	for _, vec := range []*prometheus.CounterVec{m.decisions, m.matches, m.shadows, m.settles, m.unlimited, m.unknown} {
		vec.DeletePartialMatch(prometheus.Labels{"rule": rule})
	}
}
