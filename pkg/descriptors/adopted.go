package descriptors

import "github.com/extauthz/extauthz/pkg/ratelimit"

// Adopted is what a rule of another format says beside what it is charged: see
// [Adopt]. It isn't changed once a rule has it.
type Adopted struct {
	// Lenience is when the rule's limit doesn't deny though it is exceeded.
	Lenience Lenience
	// Limit is the one that the rule charges where no level has limits; zero for
	// a rule that charges nothing.
	Limit ratelimit.Limit
	// Name is what answers call the rule's limit, and what other rules name in
	// Replaces; empty for none.
	Name string
	// Replaces are names of limits. Where one call is about a rule and about one
	// that replaces it, only the other counts.
	Replaces []string
	// Unit is the limit's unit of time as RLS names it: SECOND, MONTH, ...; empty
	// where the rule has no limit to speak of.
	Unit string
	// Unlimited has RLS answer that all that can be said is left.
	Unlimited bool
	// Counted are the entries of a descriptor as metrics tell those apart that the
	// rule takes: one for each, and where it is empty the descriptor's own. Nil:
	// they are counted by the rule alone.
	Counted []Entry
	// Metadata go with the answer to what isn't denied: values as of JSON. Nil for
	// none.
	Metadata map[string]any
}

// Lenience is when a limit that is exceeded doesn't deny.
type Lenience uint8

// The ways to be lenient.
const (
	Strict Lenience = iota // never
	Shadow                 // always: it is charged, counted and told of alone
	Quota                  // while another of the call's quotas isn't exceeded
)

// Adopt makes a rule of another format: one that nothing evaluates but the
// package that adopted it, so that outcomes can name it. The name tells rules
// apart, in metrics and explain, and says where the rule stands. Each descriptor
// that it takes is decided by itself.
func Adopt(name Text, action Action, a Adopted) *Rule {
	return &Rule{name: name.Value, source: name, action: action, protocols: ProtocolRateLimit, enforce: enforceWhole, adopted: &a}
}

// Adopted is what another format says of the rule; nil for one of our own. It is
// not to be changed.
func (r *Rule) Adopted() *Adopted {
	if r == nil {
		return nil
	}
	return r.adopted
}
