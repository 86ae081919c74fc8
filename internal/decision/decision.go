// Package decision turns neutral requests into an answer: it asks the rules
// what to charge, has the limiter charge it, and says what the answer rests on.
// Both Envoy services, the admin API and explain decide through it, so that
// they can't differ.
//
// It may import pkg/descriptors and pkg/ratelimit; it knows no protocol. Start
// at Decider.Decide.
package decision

import (
	"context"
	"time"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Rules say what is to be charged for a request: *descriptors.Rules, or what
// reads rules of another format. They are immutable and safe for concurrent use.
type Rules interface {
	// Evaluate is what one request makes of the rules.
	Evaluate(req *descriptors.Request) descriptors.Outcome
	// Trace is Evaluate, and what became of each rule on the way.
	Trace(req *descriptors.Request) (descriptors.Outcome, []descriptors.Step)
	// All are the rules that an outcome can name, in their order. The slice is
	// not to be changed.
	All() []*descriptors.Rule
	// RoutingHeaders are the headers that any rule may set on what is allowed, in
	// lower case.
	RoutingHeaders() []string
}

var _ Rules = (*descriptors.Rules)(nil)

// Policy is one configuration in force. It is immutable: a reload replaces it
// whole.
type Policy struct {
	ID       string // names the configuration, for logs and metrics
	Rules    Rules
	Resolver ratelimit.Resolver
	// DenyNoMatch denies what no rule takes, and what has no limits.
	DenyNoMatch bool
	// OnUnavailable answers where neither system nor resource say how;
	// FallbackUnset is FallbackError.
	OnUnavailable ratelimit.Fallback
	// LocalShare is the share of FallbackLocal; 0 is the limiter's default.
	LocalShare float64
	// Timeout bounds a decision; 0 is auto: the caller's deadline less 10 % (2 ms
	// at least), at most 1 s; 250 ms when it has none.
	Timeout time.Duration
	// InProcess says that the store is, so that no decision waits for anything:
	// then none needs a deadline.
	InProcess bool
	// ResponseHeaders are the names of the headers that answers have where there
	// is something to say, in their order; each is one that internal/envoy knows.
	ResponseHeaders []string
	// DynamicMetadata says that answers tell Envoy what they rest on.
	DynamicMetadata bool
	// HeaderNames are what response headers are called where not by their names.
	HeaderNames map[string]string
	// Shadow admits what is denied: the answer's parts alone say what was decided.
	Shadow bool
}

const (
	autoMost    = time.Second
	autoNone    = 250 * time.Millisecond
	autoReserve = 2 * time.Millisecond
)

// timeout is how long a decision may take from now on; 0 for any time.
func (p *Policy) timeout(ctx context.Context, now time.Time) time.Duration {
	if p.InProcess || p.Timeout > 0 {
		return p.Timeout
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return autoNone
	}
	left := deadline.Sub(now)
	return max(time.Nanosecond, min(autoMost, left-max(autoReserve, left/10)))
}

// Verdict is what the answer is.
type Verdict uint8

// The verdicts.
const (
	Allow       Verdict = iota
	Deny                // too many requests, or forbidden by a rule
	Invalid             // denied: the request can't be mapped, see Answer.Err
	Unavailable         // no decision: the caller's failure mode decides
)

// String is the verdict's name, as metrics and JSON have it.
func (v Verdict) String() string {
	return [...]string{"allow", "deny", "invalid", "unavailable"}[v]
}

// Reasons beside those of ratelimit.Reason.
const (
	ReasonNoMatch     = "no_match"    // no rule took the request
	ReasonRule        = "rule"        // a rule's action says so
	ReasonInvalid     = "invalid"     // the request can't be mapped
	ReasonUnavailable = "unavailable" // the store gave no answer in time
	ReasonShadow      = "shadow"      // allowed, though a limit that doesn't deny is exceeded
)

// Answer is what was decided about one call.
type Answer struct {
	Verdict    Verdict
	Reason     string // of ratelimit.Reason, or one of the above
	Source     ratelimit.Source
	RetryAfter time.Duration // 0: unknown, or no waiting helps
	// Parts say what became of each request, in order.
	Parts []Part
	// Decision is the limiter's; zero when nothing was charged.
	Decision ratelimit.Decision
	// Rule is the one whose on_allow or on_deny applies; nil when there's none.
	Rule *descriptors.Rule
	// Entity is whom the rule's charge is about.
	Entity descriptors.EntityInfo
	Err    error // why it is Invalid or Unavailable, or a fallback

	call *call // what it lies in, see Decider.Free
}

// Charge is the charge that has an index in the decision; nil: there is none.
func (a *Answer) Charge(index int) *descriptors.RuleCharge {
	for i := range a.Parts {
		charges := a.Parts[i].Outcome.Charges
		if index < len(charges) {
			return &charges[index]
		}
		index -= len(charges)
	}
	return nil
}

// Part is what became of one request, a descriptor or an HTTP request.
type Part struct {
	Outcome descriptors.Outcome
	Verdict Verdict
	// Excused says that a limit is exceeded which never denies.
	Excused bool
	// Limit is the one that decided, or the one nearest its end; nil when no
	// limit was asked.
	Limit *ratelimit.LimitStatus
}

// Observer counts what is decided. Its methods are called on the path of every
// request, from many goroutines.
type Observer interface {
	// Decided is called once for each call. Neither the requests nor the answer
	// may be kept.
	Decided(p *Policy, reqs []*descriptors.Request, a *Answer, took time.Duration)
	// Shadowed is called for each charge of a rule that isn't enforced: d is
	// what would have been decided.
	Shadowed(p *Policy, r *descriptors.Rule, d *ratelimit.Decision, err error)
}
