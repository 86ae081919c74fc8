package decision

import "github.com/extauthz/extauthz/pkg/descriptors"

// lenient is what a call has of limits that don't always deny.
type lenient struct {
	quotas, exceeded int               // of the call's quotas
	banned           *descriptors.Rule // a quota that admits nothing
	excused          *group            // the first that is exceeded and doesn't deny
}

// replace takes out what rules of a call's other requests replace.
func replace(parts []Part) {
	var replaced map[string]bool
	for i := range parts {
		a := parts[i].Outcome.Rule.Adopted()
		if a == nil || len(a.Replaces) == 0 {
			continue
		}
		if replaced == nil {
			replaced = map[string]bool{}
		}
		for _, name := range a.Replaces {
			replaced[name] = true
		}
	}
	if replaced == nil {
		return
	}
	for i := range parts {
		o := &parts[i].Outcome
		if a := o.Rule.Adopted(); a != nil && a.Name != "" && replaced[a.Name] && !a.Unlimited {
			*o = descriptors.Outcome{Action: descriptors.Allow, Rule: o.Rule}
		}
	}
}

// denied takes in a rule that denies without a charge.
func (c *call) denied(a *Answer, p *Part) {
	rule := p.Outcome.Rule
	switch lenienceOf(rule) {
	case descriptors.Shadow:
		p.Excused = true
		if a.Verdict == Allow {
			a.Reason, a.Rule = ReasonShadow, rule
		}
		return
	case descriptors.Quota:
		p.Verdict = Deny
		c.quotas++
		c.exceeded++
		c.banned = rule
		return
	case descriptors.Strict:
	}
	p.Verdict = Deny
	c.deny(a, Deny, ReasonRule, rule, nil)
}

func lenienceOf(r *descriptors.Rule) descriptors.Lenience {
	if a := r.Adopted(); a != nil {
		return a.Lenience
	}
	return descriptors.Strict
}

// excuse finds the groups whose limits are exceeded and don't deny: all shadows,
// and all quotas where one isn't exceeded.
func (c *call) excuse() {
	for i := range c.groups {
		g := &c.groups[i]
		if g.lenience != descriptors.Quota {
			continue
		}
		c.quotas++
		if g.refuses() {
			c.exceeded++
		}
	}
	for i := range c.groups {
		g := &c.groups[i]
		switch g.lenience {
		case descriptors.Shadow:
			g.excused = g.refuses()
		case descriptors.Quota:
			g.excused = g.refuses() && c.exceeded < c.quotas
		case descriptors.Strict:
		}
		if !g.excused {
			continue
		}
		g.violatesNothing()
		if c.excused == nil {
			c.excused = g
		}
	}
}

// violatesNothing keeps the limits of an excused group from being taken for the
// reason of a denial.
func (g *group) violatesNothing() {
	for i := range g.decision.Buckets {
		limits := g.decision.Buckets[i].Limits
		for j := range limits {
			limits[j].Violated, limits[j].Never = false, false
		}
	}
}

// settleLenient says what leniency makes of an answer in the end.
func (c *call) settleLenient(a *Answer) {
	if c.banned != nil && c.exceeded == c.quotas {
		c.deny(a, Deny, ReasonRule, c.banned, nil)
	}
	if c.policy.Shadow && a.Verdict == Deny {
		a.Verdict, a.Reason, a.RetryAfter = Allow, ReasonShadow, 0
	}
}
