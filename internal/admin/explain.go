package admin

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// maxDescriptors is how many descriptors a question may have.
const maxDescriptors = 1000

// lookTimeout bounds what is asked of the store for an explanation.
const lookTimeout = 5 * time.Second

// errQuestion is what is wrong with a question that is neither.
var errQuestion = errors.New("a question has a domain and descriptors, or a path")

// Explainer says how requests would be decided. It is safe for concurrent use.
type Explainer struct {
	Decider *decision.Decider
	Limiter decision.Limiter // the Decider's
	Live    bool             // the balances are a running server's
}

// Explain says how a request would be decided by a policy, and why; it charges
// nothing. An error is about the question.
func (x Explainer) Explain(ctx context.Context, p *decision.Policy, q *Question) (*Explanation, error) {
	reqs, err := q.requests()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	a := x.Decider.Look(ctx, p, reqs)
	e := &Explanation{
		Verdict: a.Verdict.String(), Reason: a.Reason, RetryAfterSeconds: a.RetryAfter.Seconds(),
		Config: p.ID, Live: x.Live, Requests: make([]RequestExplanation, len(reqs)),
	}
	if a.Err != nil {
		e.Error = a.Err.Error()
	}
	for i, r := range reqs {
		e.Requests[i] = x.request(ctx, p, r, &a, i)
	}
	return e, nil
}

func (x Explainer) request(ctx context.Context, p *decision.Policy, r *descriptors.Request, a *decision.Answer, i int) RequestExplanation {
	outcome, steps := p.Rules.Trace(r)
	e := RequestExplanation{
		Protocol: r.Protocol.String(), Action: outcome.Action.String(), Rule: nameOf(outcome.Rule),
		Rules: make([]RuleExplanation, len(steps)), Charges: []ChargeExplanation{},
	}
	if outcome.Err != nil {
		e.Error = outcome.Err.Error()
	}
	for j, s := range steps {
		e.Rules[j] = RuleExplanation{Rule: nameOf(s.Rule), Verdict: string(s.Verdict), Detail: s.Detail}
	}
	first := firstCharge(a, i)
	for j := range outcome.Charges {
		e.Charges = append(e.Charges, explainCharge(&outcome.Charges[j], &a.Decision, first+j))
	}
	for j := range outcome.Shadows {
		s := &outcome.Shadows[j]
		// What can't be looked at has no buckets: the decision's own error says why.
		dec, _ := x.Limiter.Look(ctx, ratelimit.Ask{Now: x.Limiter.Now(), Resolver: p.Resolver, Charges: []ratelimit.Charge{s.Charge}})
		e.Shadows = append(e.Shadows, explainCharge(s, &dec, 0))
	}
	return e
}

// firstCharge is the index in the decision of a request's first charge.
func firstCharge(a *decision.Answer, request int) int {
	n := 0
	for i := range request {
		n += len(a.Parts[i].Outcome.Charges)
	}
	return n
}

func explainCharge(c *descriptors.RuleCharge, d *ratelimit.Decision, index int) ChargeExplanation {
	key := c.Query.Key
	e := ChargeExplanation{
		Rule: nameOf(c.Rule), Namespace: key.Namespace(), Entity: key.Entity(), Resource: key.Resource(),
		Tier: c.Query.Tier, Settle: c.Settle, Buckets: []BucketExplanation{},
	}
	for i := range d.Buckets {
		b := &d.Buckets[i]
		if b.Charge != index {
			continue
		}
		if b.Parent == 0 {
			e.Tier = b.Tier
		}
		e.Buckets = append(e.Buckets, explainBucket(b))
	}
	return e
}

func explainBucket(b *ratelimit.BucketStatus) BucketExplanation {
	e := BucketExplanation{
		Entity: b.Key.Entity(), Level: b.Level.String(), Mode: b.Mode.String(),
		Limits: make([]LimitExplanation, len(b.Limits)), Unknown: b.Unknown,
	}
	for i := range b.Limits {
		l := &b.Limits[i]
		e.Limits[i] = LimitExplanation{
			Name: l.Limit.Name, Rate: l.Limit.Rate, PeriodSeconds: l.Limit.Period.Seconds(), Burst: l.Limit.Burst,
			Cost: l.Cost, Balance: l.Balance.Tokens(), Violated: l.Violated, Never: l.Never,
			RetryAfterSeconds: l.RetryAfter.Seconds(), Text: l.Limit.Text(),
		}
	}
	return e
}

func nameOf(r *descriptors.Rule) string {
	if r == nil {
		return ""
	}
	return r.Name()
}

// requests are the neutral requests of a question.
func (q *Question) requests() ([]*descriptors.Request, error) {
	http := q.Path != "" || q.Method != "" || len(q.Headers) > 0
	switch {
	case http && (q.Domain != "" || len(q.Descriptors) > 0):
		return nil, errors.New("a question is about descriptors or about an HTTP request, not about both")
	case http:
		return []*descriptors.Request{q.check()}, nil
	case q.Domain == "" || len(q.Descriptors) == 0:
		return nil, errQuestion
	case len(q.Descriptors) > maxDescriptors:
		return nil, errors.New("a question has 1,000 descriptors at most")
	}
	reqs := make([]*descriptors.Request, len(q.Descriptors))
	for i, d := range q.Descriptors {
		r := &descriptors.Request{Protocol: descriptors.ProtocolRateLimit, Domain: q.Domain, Hits: 1}
		if d.Hits != nil {
			r.Hits = *d.Hits
		}
		for _, e := range d.Entries {
			r.Entries = append(r.Entries, descriptors.Entry{Key: e.Key, Value: e.Value})
		}
		reqs[i] = r
	}
	return reqs, nil
}

// check is the HTTP request as Envoy would send it to Check.
func (q *Question) check() *descriptors.Request {
	r := &descriptors.Request{
		Protocol: descriptors.ProtocolExtAuthz, Hits: 1, ID: "explain",
		Method: q.Method, Scheme: q.Scheme, Host: q.Host, Path: q.Path,
		Headers:           make(map[string]string, len(q.Headers)),
		Source:            descriptors.Peer{Address: q.SourceAddress, Principal: q.SourcePrincipal, SANs: q.SourceSANs},
		ContextExtensions: q.ContextExtensions,
	}
	for name, value := range q.Headers {
		r.Headers[strings.ToLower(name)] = value
	}
	if r.Method == "" {
		r.Method = "GET"
	}
	if r.Scheme == "" {
		r.Scheme = "http"
	}
	if len(q.Metadata) > 0 {
		r.Metadata = object(q.Metadata)
	}
	if len(q.RouteMetadata) > 0 {
		r.RouteMetadata = object(q.RouteMetadata)
	}
	return r
}

// object is JSON as the rules read metadata.
func object(m map[string]any) descriptors.Object {
	o := make(descriptors.Object, len(m))
	for name, value := range m {
		o[name] = metadataValue(value)
	}
	return o
}

func metadataValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return object(v)
	case []any:
		return list(v)
	}
	return v
}

// list is a list of JSON as the rules read metadata.
type list []any

// Len is how many values there are.
func (l list) Len() int { return len(l) }

// At is one of the values.
func (l list) At(i int) any { return metadataValue(l[i]) }
