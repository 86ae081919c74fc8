package descriptors

import (
	"fmt"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Action is what the rules make of a request.
type Action uint8

// The actions.
const (
	NoMatch Action = iota // no rule took it
	Allow                 // admitted without a charge
	Deny                  // denied without a charge
	Charge                // what the charges decide
	Invalid               // denied: a rule can't make sense of the request
)

var actionNames = [...]string{"no_match", "allow", "deny", "charge", "invalid"}

// String is the action's name, as metrics and JSON have it.
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return "unknown"
}

// MaxCharges is how many charges one evaluation makes at most; a request that
// would make more is invalid. Callers hold several descriptors of one request to
// it together.
const MaxCharges = 8

// Outcome is what the rules make of one request.
type Outcome struct {
	Action Action
	// Rule is the one that decided: the last that took the request, or of a
	// refund the last that is credited. Nil for NoMatch, and for a refund that
	// credits nothing.
	Rule *Rule
	// Charges are to be taken together, all or none, in the order of the rules.
	//
	// A rule with `action: allow` ends the search: what `continue` rules before
	// it took still decides, so the action is Charge when there is any. One with
	// `action: deny` denies, and nothing is taken but what doesn't depend on the
	// others, because it settles or is independent: with Deny, Charges are those
	// alone.
	Charges []RuleCharge
	// Shadows are the charges of rules that aren't enforced for this entity: to
	// be decided and counted, never answered. There are at most MaxCharges; each
	// is on its own.
	Shadows []RuleCharge
	// InvalidShadows are rules that aren't enforced and would have made the
	// request invalid: to be counted, never answered. At most MaxCharges.
	InvalidShadows []RuleFault
	// Refund is true when the request gives hits back; the action is Allow.
	Refund bool
	// Credits are, of a refund, the charges to be given back: of those that the
	// rules would make, the ones of rules with `refunds: true`.
	Credits []RuleCharge
	// Err is why the action is Invalid, an [*InvalidError].
	Err error
}

// RuleCharge is a charge and the rule that makes it.
type RuleCharge struct {
	Rule *Rule
	ratelimit.Charge
	// Independent has the charge decided by itself: it is taken whatever the
	// request's other charges decide, and denies the request without keeping
	// them from being taken.
	Independent bool
}

// RuleFault is a rule that can't make sense of a request, and why.
type RuleFault struct {
	Rule *Rule
	Err  error // an [*InvalidError]
}

// InvalidError says which part of a rule can't make sense of a request.
type InvalidError struct {
	Rule string
	Part string // the rule's key: match, entity, consume, ...
	Err  error
}

// maxDetail is how much of an error's text is shown, in bytes: it may quote the
// request.
const maxDetail = 200

func (e *InvalidError) Error() string {
	return fmt.Sprintf("%s of rule %q: %s", e.Part, e.Rule, shorten(e.Err.Error()))
}

// Unwrap is the cause.
func (e *InvalidError) Unwrap() error { return e.Err }

func shorten(s string) string {
	if len(s) > maxDetail {
		return s[:maxDetail] + "..."
	}
	return s
}

// Verdict is what became of a rule for one request, as JSON has it.
type Verdict string

// The verdicts.
const (
	VerdictOtherProtocol Verdict = "other_protocol"
	VerdictNotMatched    Verdict = "not_matched"
	VerdictMissing       Verdict = "missing" // something that it needs isn't in the request
	VerdictInvalid       Verdict = "invalid" // it can't make sense of the request
	VerdictShadow        Verdict = "shadow"  // not enforced: charged beside, or passed over when invalid
	VerdictContinued     Verdict = "continued"
	VerdictTook          Verdict = "took"
	VerdictNotReached    Verdict = "not_reached"
)

// Step is what became of one rule in an evaluation, and why.
type Step struct {
	Rule    *Rule
	Verdict Verdict
	Detail  string
}
