package descriptors

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Evaluate says what is to be charged for a request. It is safe for concurrent
// use.
func (r *Rules) Evaluate(req *Request) Outcome {
	if req.Refund && !r.refunds {
		return Outcome{Action: Allow, Refund: true}
	}
	ev := r.acquire(req, nil)
	defer r.release(ev)
	search := search{ev: ev}
	for _, rule := range r.of(req.Protocol) {
		if _, end := search.try(rule); end {
			break
		}
	}
	return search.outcome()
}

// Trace is [Rules.Evaluate], and what became of every rule on the way.
func (r *Rules) Trace(req *Request) (Outcome, []Step) {
	steps := make([]Step, 0, len(r.all))
	ev := r.acquire(req, nil)
	defer r.release(ev)
	search := search{ev: ev, explain: true}
	ended := false
	for _, rule := range r.all {
		step := Step{Rule: rule, Verdict: VerdictNotReached}
		switch {
		case ended:
		case rule.protocols&req.Protocol == 0:
			step.Verdict, step.Detail = VerdictOtherProtocol, "it is for "+rule.protocols.String()
		default:
			step.Verdict, ended = search.try(rule)
			step.Detail = search.detail
		}
		steps = append(steps, step)
	}
	return search.outcome(), steps
}

func (r *Rules) acquire(req *Request, e *EntityInfo) *evaluation {
	ev := r.pool.Get().(*evaluation)
	ev.begin(req, e)
	return ev
}

func (r *Rules) release(ev *evaluation) {
	ev.begin(nil, nil) // holds on to nothing
	r.pool.Put(ev)
}

// search is the way of one request through the rules.
type search struct {
	ev      *evaluation
	out     Outcome
	explain bool
	detail  string // why the last rule did what it did; only with explain
}

// outcome is what the search came to. Hits that are given back are admitted
// whatever the rules say; of what they would charge, some credit it.
func (s *search) outcome() Outcome {
	if !s.ev.req.Refund {
		return s.out
	}
	out := Outcome{Action: Allow, Refund: true}
	for _, c := range s.out.Charges {
		if c.Rule.refunds {
			out.Credits, out.Rule = append(out.Credits, c), c.Rule
		}
	}
	return out
}

// try has one rule look at the request; end is true when no other shall.
func (s *search) try(rule *Rule) (v Verdict, end bool) {
	s.detail = ""
	if rule.match != nil {
		switch holds, err := rule.match.holds(s.ev); {
		case errors.Is(err, errMissing):
			s.say("the match needs something that is missing")
			return VerdictMissing, false
		case err != nil:
			return s.invalid(rule, rule.enforce < enforceWhole, "match", err)
		case !holds:
			return VerdictNotMatched, false
		}
	}
	if rule.action != Charge {
		return s.decide(rule)
	}
	return s.charge(rule)
}

// decide ends the search without a charge.
func (s *search) decide(rule *Rule) (Verdict, bool) {
	s.out.Rule = rule
	switch {
	case rule.action == Deny:
		s.out.Action = Deny
		s.out.Charges = slices.DeleteFunc(s.out.Charges, func(c RuleCharge) bool { return !c.Settle && !c.Independent })
	case len(s.out.Charges) > 0:
		s.out.Action = Charge
	default:
		s.out.Action = Allow
	}
	return VerdictTook, true
}

// charge makes the rule's charge.
func (s *search) charge(rule *Rule) (Verdict, bool) {
	shadow := rule.enforce < enforceWhole // until its entity is known
	entity, err := rule.entity.write(s.ev)
	if err != nil {
		return s.failed(rule, shadow, "entity", rule.entity, err)
	}
	variant := ""
	if shadow {
		if shadow = !rule.enforces(entity); shadow {
			variant = rule.shadow
		}
	}
	resource, err := rule.resource.write(s.ev)
	if err != nil {
		return s.failed(rule, shadow, "resource", rule.resource, err)
	}
	namespace, err := rule.namespace.write(s.ev)
	if err != nil {
		return s.failed(rule, shadow, "namespace", rule.namespace, err)
	}
	c := RuleCharge{Rule: rule, Independent: rule.alone}
	c.Settle = rule.settle
	c.Query.DefaultLimits = rule.defaults
	if rule.tier != nil {
		c.Query.Tier, err = rule.tier.write(s.ev)
		if err != nil && !errors.Is(err, errMissing) {
			return s.invalid(rule, shadow, "tier", err)
		}
	}
	if c.Cost, err = rule.consume.cost(s.ev); err != nil {
		return s.failed(rule, shadow, "consume", nil, err)
	}
	if o := s.ev.req.Override; o != nil {
		if o.Err != nil {
			return s.invalid(rule, shadow, "limit", o.Err)
		}
		limit := o.Limit
		c.Query.Override = &limit
		variant = joinVariants(variant, o.Variant)
	}
	if c.Query.Key, err = ratelimit.NewKey(namespace, entity, resource, variant); err != nil {
		return s.invalid(rule, shadow, "key", err)
	}
	return s.add(rule, c, shadow)
}

func joinVariants(shadow, override string) string {
	if shadow == "" {
		return override
	}
	return shadow + "/" + override
}

// enforces reports whether the rule is enforced for an entity: for the same ones
// each time, in every process, and for them still when the share is raised.
func (r *Rule) enforces(entity string) bool {
	return xxhash.Sum64String(entity)%enforceWhole < r.enforce
}

// add adds a charge to the outcome.
func (s *search) add(rule *Rule, c RuleCharge, shadow bool) (Verdict, bool) {
	if shadow {
		if len(s.out.Shadows) == MaxCharges {
			s.say("more shadows than %d are not decided", MaxCharges)
			return VerdictShadow, false
		}
		s.out.Shadows = append(s.out.Shadows, c)
		s.say("not enforced for entity %q: charged beside, on a bucket of its own", c.Query.Key.Entity())
		return VerdictShadow, false
	}
	if len(s.out.Charges) == MaxCharges {
		return s.invalid(rule, false, "continue", errTooMany)
	}
	s.out.Action, s.out.Rule = Charge, rule
	s.out.Charges = append(s.out.Charges, c)
	if rule.goOn {
		return VerdictContinued, false
	}
	return VerdictTook, true
}

var errTooMany = fmt.Errorf("a request makes %d charges at most", MaxCharges)

// failed is a part of the rule that has no value: missing, or invalid.
func (s *search) failed(rule *Rule, shadow bool, part string, t *text, err error) (Verdict, bool) {
	if !errors.Is(err, errMissing) {
		return s.invalid(rule, shadow, part, err)
	}
	if t != nil {
		s.say("%s: %s is missing", part, shorten(t.source.Value))
	} else {
		s.say("%s needs something that is missing", part)
	}
	return VerdictMissing, false
}

// invalid ends the search, unless the rule isn't enforced: what only looks on
// denies nothing.
func (s *search) invalid(rule *Rule, shadow bool, part string, err error) (Verdict, bool) {
	cause := &InvalidError{Rule: rule.name, Part: part, Err: err}
	if s.explain {
		s.detail = cause.Error()
	}
	if shadow {
		if len(s.out.InvalidShadows) < MaxCharges {
			s.out.InvalidShadows = append(s.out.InvalidShadows, RuleFault{rule, cause})
		}
		return VerdictShadow, false
	}
	s.out.Action, s.out.Rule, s.out.Err = Invalid, rule, cause
	s.out.Charges = nil
	return VerdictInvalid, true
}

func (s *search) say(format string, args ...any) {
	if s.explain {
		s.detail = fmt.Sprintf(format, args...)
	}
}
