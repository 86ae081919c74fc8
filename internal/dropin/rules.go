package dropin

import (
	"errors"
	"fmt"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Rules are those of a configuration. They are immutable and safe for concurrent
// use.
type Rules struct {
	options Options
	domains map[string]*node
	all     []*descriptors.Rule
}

// All are the rules, each a node with a limit, in the order of their names. The
// slice is not to be changed.
func (r *Rules) All() []*descriptors.Rule { return r.all }

// Limits is how many descriptors have a limit, or are known to have none.
func (r *Rules) Limits() int { return len(r.all) - 2*len(r.domains) } // two each for limits that calls bring

// RoutingHeaders are none: this format sets no headers of requests.
func (r *Rules) RoutingHeaders() []string { return nil }

// Evaluate says what is to be charged for a descriptor: nothing where its domain
// or itself isn't configured. A check of ext_authz has no descriptor, so that
// nothing is for it.
func (r *Rules) Evaluate(req *descriptors.Request) descriptors.Outcome {
	domain := r.domains[req.Domain]
	switch {
	case req.Refund:
		return descriptors.Outcome{Action: descriptors.Allow, Refund: true}
	case domain == nil || req.Protocol != descriptors.ProtocolRateLimit:
		return descriptors.Outcome{}
	case req.Override != nil:
		return r.overridden(domain.override, req)
	}
	found, entity := domain.find(req.Entries)
	switch {
	case found == nil:
		return descriptors.Outcome{}
	case found.limits == nil:
		return descriptors.Outcome{Action: found.rule.Action(), Rule: found.rule}
	}
	return r.charge(found.rule, req, entity, "", ratelimit.Query{DefaultLimits: found.limits})
}

// overridden is the outcome for a descriptor that brings its limit with it: the
// descriptor itself need not be configured.
func (r *Rules) overridden(rules *override, req *descriptors.Request) descriptors.Outcome {
	o := req.Override
	switch {
	case o.Err != nil && o.Limit.Period > 0 && o.Limit.Rate == 0:
		return descriptors.Outcome{Action: descriptors.Deny, Rule: rules.deny} // as 0 in a file
	case o.Err != nil:
		return invalid(rules.charge, "limit", o.Err)
	case len(req.Entries) == 0:
		return descriptors.Outcome{}
	}
	limit := o.Limit
	return r.charge(rules.charge, req, entityOf(req.Entries, nil), o.Variant, ratelimit.Query{Override: &limit})
}

func (r *Rules) charge(rule *descriptors.Rule, req *descriptors.Request, entity, variant string, q ratelimit.Query) descriptors.Outcome {
	if req.Hits > ratelimit.MaxCost {
		return invalid(rule, "hits", errHits)
	}
	key, err := ratelimit.NewKey(r.options.Namespace, entity, req.Domain, variant)
	if err != nil {
		return invalid(rule, "key", err)
	}
	q.Key = key
	c := descriptors.RuleCharge{Rule: rule, Independent: true}
	c.Query, c.Cost = q, ratelimit.EachLimit(int64(req.Hits))
	return descriptors.Outcome{Action: descriptors.Charge, Rule: rule, Charges: []descriptors.RuleCharge{c}}
}

var errHits = errors.New("more than 1e15 hits")

func invalid(rule *descriptors.Rule, part string, err error) descriptors.Outcome {
	return descriptors.Outcome{
		Action: descriptors.Invalid, Rule: rule,
		Err: &descriptors.InvalidError{Rule: rule.Name(), Part: part, Err: err},
	}
}

// Trace is [Rules.Evaluate], and the one rule that took the descriptor, if any:
// the others weren't asked.
func (r *Rules) Trace(req *descriptors.Request) (descriptors.Outcome, []descriptors.Step) {
	out := r.Evaluate(req)
	if out.Rule == nil {
		return out, nil
	}
	step := descriptors.Step{Rule: out.Rule, Verdict: descriptors.VerdictTook}
	if out.Err != nil {
		step.Verdict, step.Detail = descriptors.VerdictInvalid, out.Err.Error()
	}
	if len(out.Charges) > 0 {
		step.Detail = fmt.Sprintf("bucket %q of domain %q", out.Charges[0].Query.Key.Entity(), req.Domain)
	}
	return out, []descriptors.Step{step}
}
