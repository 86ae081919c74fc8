package descriptors

import (
	"fmt"
	"maps"
	"slices"
)

// warnings notes what the rules as a whole are hardly meant to do.
func (r *Rules) warnings(into *faults, opts Options) {
	takers := map[Protocol]*Rule{} // the first that takes every request
	for _, rule := range r.all {
		if rule.match == always(false) {
			into.warn(rule.fault("never matches", ""))
		}
		var before *Rule
		reached := false
		for _, protocol := range rule.protocols.each() {
			if before = takers[protocol]; before == nil {
				reached = true
				if rule.takesEvery() {
					takers[protocol] = rule
				}
			}
		}
		if !reached {
			into.warn(rule.fault(fmt.Sprintf("is never reached: rule %q takes every request before it", before.name), ""))
		}
	}
	if opts.DenyNoMatch {
		return
	}
	for _, protocol := range bothProtocols.each() {
		if takers[protocol] == nil {
			r.missWarnings(protocol, into)
		}
	}
}

// each are the protocols that a set of them holds.
func (p Protocol) each() []Protocol {
	return slices.DeleteFunc([]Protocol{ProtocolRateLimit, ProtocolExtAuthz}, func(one Protocol) bool { return p&one == 0 })
}

// takesEvery reports whether no request goes past the rule.
func (r *Rule) takesEvery() bool {
	return (r.match == nil || r.match == always(true)) && !r.goOn && r.enforce == enforceWhole && len(r.needs) == 0
}

// missWarnings notes requests that rules are about and that go uncharged because
// something is missing from them: once for each such thing, at the last rule
// that needs it.
func (r *Rules) missWarnings(protocol Protocol, into *faults) {
	warned := map[string]bool{}
	for _, rule := range slices.Backward(r.of(protocol)) {
		for _, path := range slices.Sorted(maps.Keys(rule.needs)) {
			if warned[path] {
				continue
			}
			warned[path] = true
			at := *rule.needs[path]
			at.Message = fmt.Sprintf("rule %q: %s: a request without %s passes it by, and nothing after it takes every request of %s", rule.name, at.Message, path, protocol)
			at.Hint = "a last rule without a match takes the rest, no_match: deny refuses it"
			into.warn(&at)
		}
	}
}

// of are the rules that requests of a protocol meet.
func (r *Rules) of(protocol Protocol) []*Rule {
	if protocol == ProtocolRateLimit {
		return r.rateLimit
	}
	return r.extAuthz
}

func (r *Rule) fault(message, hint string) *Fault {
	return whole(r.source, fmt.Sprintf("rule %q %s", r.name, message), hint)
}
