package decision

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Limiter is what the Decider needs of a ratelimit.Limiter.
type Limiter interface {
	Now() time.Time
	Decide(ctx context.Context, a ratelimit.Ask) (ratelimit.Decision, error)
	Look(ctx context.Context, a ratelimit.Ask) (ratelimit.Decision, error)
	Credit(ctx context.Context, a ratelimit.Ask) (ratelimit.Decision, error)
}

var _ Limiter = (*ratelimit.Limiter)(nil)

// MaxCharges is how many charges a call makes at most: each bucket is a write.
// One with more is invalid, and charges nothing; of what settles, so many are
// booked.
const MaxCharges = 64

var (
	errTooMany = fmt.Errorf("the request makes more than %d charges", MaxCharges)
	errBusy    = errors.New("too many shadows are being decided")
)

// maxBehind is of how many calls the shadows are decided at once, after the
// calls themselves; those of more are counted as undecided. A store that has
// become slow would else make them pile up, since nobody waits for them.
const maxBehind = 1024

// Decider decides. It is safe for concurrent use.
type Decider struct {
	limiter  Limiter
	observer Observer
	behind   sync.WaitGroup // of shadows
	slots    chan struct{}  // one taken for each of behind
	once     *once
	calls    sync.Pool // of *call
}

// New makes a Decider; a nil observer counts nothing.
func New(l Limiter, o Observer) *Decider {
	return &Decider{limiter: l, observer: o, slots: make(chan struct{}, maxBehind), once: newOnce(maxAttempts)}
}

// Decide answers a call: one request for each descriptor of RLS, one in all for
// ext_authz. All charges of a call are one decision. What rules that aren't
// enforced would decide is decided after it, without keeping the caller.
func (d *Decider) Decide(ctx context.Context, p *Policy, reqs []*descriptors.Request) Answer {
	start := d.limiter.Now()
	if timeout := p.timeout(ctx, start); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	c, ok := d.calls.Get().(*call)
	if !ok {
		c = new(call)
	}
	c.limiter, c.policy, c.now = d.limiter, p, start
	if c.from = originOf(reqs); c.from.id != "" {
		c.once = d.once
	}
	a := c.answer(ctx, reqs)
	d.shadows(ctx, p, start, a.Parts)
	if d.observer != nil {
		d.observer.Decided(p, reqs, a, d.limiter.Now().Sub(start))
	}
	a.call = c
	return *a
}

// Free gives back what an answer of Decide lies in, to be used for another: of it,
// its parts above all, nothing may be used any more. One that isn't freed is
// garbage.
func (d *Decider) Free(a *Answer) {
	c := a.call
	if c == nil {
		return
	}
	*a, *c = Answer{}, call{}
	d.calls.Put(c)
}

// Look is what Decide would answer, without charging and without counting.
func (d *Decider) Look(ctx context.Context, p *Policy, reqs []*descriptors.Request) Answer {
	c := &call{limiter: d.limiter, looks: true, policy: p, now: d.limiter.Now()}
	return *c.answer(ctx, reqs)
}

// Wait waits until everything that was begun is decided. Decide must not be
// called any more.
func (d *Decider) Wait() { d.behind.Wait() }

// shadowTimeout bounds the decision of a shadow, which nobody waits for.
const shadowTimeout = autoMost

// shadows charges the rules that aren't enforced, each on a bucket of its own:
// MaxCharges of a call at most, as of those that are. Where that takes a store's
// answer, the call doesn't wait for it.
func (d *Decider) shadows(ctx context.Context, p *Policy, now time.Time, parts []Part) {
	var all []descriptors.RuleCharge
	for i := range parts {
		all = append(all, parts[i].Outcome.Shadows...)
	}
	if len(all) == 0 {
		return
	}
	all = all[:min(len(all), MaxCharges)]
	if p.InProcess {
		d.shadow(ctx, p, now, all)
		return
	}
	select {
	case d.slots <- struct{}{}:
	default:
		for i := range all {
			d.shadowed(p, all[i].Rule, &ratelimit.Decision{}, errBusy)
		}
		return
	}
	for i := range all { // of the request nothing else is in a charge
		all[i].Query.Tier = strings.Clone(all[i].Query.Tier)
	}
	ctx = context.WithoutCancel(ctx)
	d.behind.Go(func() {
		defer func() { <-d.slots }()
		ctx, cancel := context.WithTimeout(ctx, shadowTimeout)
		defer cancel()
		d.shadow(ctx, p, now, all)
	})
}

func (d *Decider) shadow(ctx context.Context, p *Policy, now time.Time, all []descriptors.RuleCharge) {
	for _, s := range all {
		dec, err := d.limiter.Decide(ctx, ratelimit.Ask{Now: now, Resolver: p.Resolver, Charges: []ratelimit.Charge{s.Charge}})
		d.shadowed(p, s.Rule, &dec, err)
	}
}

func (d *Decider) shadowed(p *Policy, r *descriptors.Rule, dec *ratelimit.Decision, err error) {
	if d.observer != nil {
		d.observer.Shadowed(p, r, dec, err)
	}
}

// decider is what a Limiter does with an ask.
type decider func(context.Context, ratelimit.Ask) (ratelimit.Decision, error)

// call is one decision being made.
type call struct {
	policy  *Policy
	limiter Limiter
	looks   bool // charges and credits nothing
	now     time.Time
	once    *once // nil: there is no other attempt
	from    origin

	charges []ratelimit.Charge
	rules   []*descriptors.Rule // :: index of charge -> its rule
	first   []int               // :: index of request -> index of its first charge

	refunds bool // any request is credited

	alone  []bool  // :: index of charge -> whether it is independent; nil: none is
	groups []group // where any is
	denier *group  // the one that answers

	lenient

	answered Answer
	one      one
}

// one is what most calls need: a request, a charge. It is allocated with them.
type one struct {
	parts   [1]Part
	first   [2]int
	charges [1]ratelimit.Charge
	rules   [1]*descriptors.Rule
}

// answer makes the answer, which is the call's own.
func (c *call) answer(ctx context.Context, reqs []*descriptors.Request) *Answer {
	a := &c.answered
	a.Reason, a.Parts, c.first = ReasonNoMatch, c.one.parts[:], c.one.first[:]
	c.charges, c.rules = c.one.charges[:0], c.one.rules[:0]
	if len(reqs) != 1 {
		a.Parts, c.first = make([]Part, len(reqs)), make([]int, len(reqs)+1)
	}
	for i, r := range reqs {
		a.Parts[i].Outcome = c.policy.Rules.Evaluate(r)
	}
	replace(a.Parts)
	for i := range a.Parts {
		c.part(a, &a.Parts[i])
		c.first[i+1] = len(c.charges)
	}
	tooMany := len(c.charges) > MaxCharges
	if tooMany {
		c.deny(a, Invalid, ReasonInvalid, nil, errTooMany)
		c.tell(a)
	}
	if a.Verdict != Allow { // what doesn't depend on it is charged all the same
		c.keepApart(tooMany)
	}
	if len(c.charges) > 0 {
		c.charge(ctx, a)
	}
	c.settleLenient(a)
	if c.refunds {
		c.giveBack(ctx, a)
	}
	return a
}

// part takes in what the rules say about one request.
func (c *call) part(a *Answer, p *Part) {
	o := &p.Outcome
	c.refunds = c.refunds || len(o.Credits) > 0
	switch o.Action {
	case descriptors.NoMatch:
		if c.policy.DenyNoMatch {
			p.Verdict = Deny
			c.deny(a, Deny, ReasonNoMatch, nil, nil)
		}
	case descriptors.Allow:
		if a.Verdict == Allow {
			a.Reason, a.Rule = ReasonRule, o.Rule
		}
	case descriptors.Deny:
		c.denied(a, p)
	case descriptors.Invalid:
		p.Verdict = Invalid
		c.deny(a, Invalid, ReasonInvalid, o.Rule, o.Err)
	case descriptors.Charge:
	}
	for i := range o.Charges {
		ch := &o.Charges[i]
		if ch.Independent && c.alone == nil {
			c.alone = make([]bool, len(c.charges), MaxCharges)
		}
		if c.alone != nil {
			c.alone = append(c.alone, ch.Independent)
		}
		c.charges = append(c.charges, ch.Charge)
		c.charges[len(c.charges)-1].Required = c.policy.DenyNoMatch
		c.rules = append(c.rules, ch.Rule)
	}
}

// deny notes the first denial; one that is invalid comes before others.
func (c *call) deny(a *Answer, v Verdict, reason string, r *descriptors.Rule, err error) {
	if a.Verdict >= v {
		return
	}
	a.Verdict, a.Reason, a.Rule, a.Err = v, reason, r, err
}

// keepApart drops the charges that a denial forbids. Of a call with too many
// these are all but the first that settle: what a request has cost is booked
// though it can't be answered, as far as there is room.
func (c *call) keepApart(tooMany bool) {
	n := 0
	for i := range c.charges {
		alone := c.alone != nil && c.alone[i]
		if n < MaxCharges && (c.charges[i].Settle || alone && !tooMany) {
			c.charges[n], c.rules[n] = c.charges[i], c.rules[i]
			if c.alone != nil {
				c.alone[n] = alone
			}
			n++
		}
	}
	if n < len(c.charges) {
		c.first = nil // no request's limits are told
	}
	c.charges, c.rules = c.charges[:n], c.rules[:n]
}

// ask has the limiter decide charges as one, the first of which has an index.
func (c *call) ask(ctx context.Context, first int, charges []ratelimit.Charge) (ratelimit.Decision, error) {
	if c.once != nil {
		from := c.from
		from.charge = first
		return c.once.decide(ctx, from, c.askFor(charges), c.decide)
	}
	return c.decide(ctx, c.askFor(charges))
}

// decide has the limiter decide an ask, or say what it would.
func (c *call) decide(ctx context.Context, a ratelimit.Ask) (ratelimit.Decision, error) {
	if c.looks {
		return c.limiter.Look(ctx, a)
	}
	return c.limiter.Decide(ctx, a)
}

func (c *call) askFor(charges []ratelimit.Charge) ratelimit.Ask {
	return ratelimit.Ask{
		Now: c.now, Resolver: c.policy.Resolver, Charges: charges,
		OnUnavailable: c.policy.OnUnavailable, LocalShare: c.policy.LocalShare,
	}
}

func (c *call) charge(ctx context.Context, a *Answer) {
	var d ratelimit.Decision
	var err error
	if c.alone == nil {
		d, err = c.ask(ctx, 0, c.charges)
	} else {
		d, err = c.apart(ctx)
	}
	if a.Verdict != Allow {
		if c.groups != nil && c.first != nil { // what was charged all the same
			a.Decision = d
			c.limits(a)
			c.tellApart(a)
		}
		return
	}
	if errors.Is(err, ratelimit.ErrUnknownNamespace) {
		a.Verdict, a.Reason, a.Err, a.Rule = Invalid, ReasonInvalid, err, c.rules[0]
		c.tell(a)
		return
	}
	if err != nil {
		a.Verdict, a.Reason, a.Source, a.Err, a.Rule = Unavailable, ReasonUnavailable, ratelimit.SourceFallback, err, c.rules[0]
		return
	}
	a.Decision, a.Reason, a.Source, a.RetryAfter = d, d.Reason.String(), d.Source, d.RetryAfter
	deciding := c.deciding(&d)
	a.Rule = c.rules[deciding]
	a.Entity = entityOf(&d, deciding)
	switch {
	case !d.Allowed:
		a.Verdict = Deny
	case c.excused != nil:
		a.Reason = ReasonShadow
	}
	switch {
	case c.groups != nil:
		c.limits(a)
		c.tellApart(a)
	case d.Source == ratelimit.SourceFallback && len(d.Buckets) == 0: // nothing is known of any limit
		c.tell(a)
	default:
		c.limits(a)
	}
}

// tell gives the answer's verdict to each request's part that has charges.
func (c *call) tell(a *Answer) {
	for i := range a.Parts {
		if c.first[i+1] > c.first[i] {
			a.Parts[i].Verdict = a.Verdict
		}
	}
}

// deciding is the index of the charge whose rule answers: of a denial the one
// that was refused, else the last one of the first request that has any.
func (c *call) deciding(d *ratelimit.Decision) int {
	switch {
	case d.Allowed && c.excused != nil:
		return c.excused.charges[0]
	case d.Allowed:
	case c.denier != nil && len(c.denier.decision.Buckets) == 0:
		return c.denier.charges[0]
	default:
		b, _ := d.Primary()
		return b.Charge
	}
	for i := range len(c.first) - 1 {
		if c.first[i+1] > c.first[i] {
			return c.first[i+1] - 1
		}
	}
	return 0
}

func entityOf(d *ratelimit.Decision, charge int) descriptors.EntityInfo {
	for i := range d.Buckets {
		if b := &d.Buckets[i]; b.Charge == charge && b.Parent == 0 {
			return descriptors.EntityInfo{ID: b.Key.Entity(), Tier: b.Tier, Metadata: b.Metadata}
		}
	}
	return descriptors.EntityInfo{}
}

// limits tells each request's part which limit decided about it.
func (c *call) limits(a *Answer) {
	buckets := a.Decision.Buckets
	for i := range a.Parts {
		sub := ratelimit.Decision{Reason: a.Decision.Reason, Buckets: ofCharges(buckets, c.first[i], c.first[i+1])}
		bucket, limit := sub.Primary()
		a.Parts[i].Limit = limit
		if !a.Decision.Allowed && len(sub.Buckets) > 0 && refused(a.Decision.Reason, &bucket, limit) {
			a.Parts[i].Verdict = Deny
		}
	}
}

// ofCharges are the buckets of the charges from one index to before another, of
// buckets in the order of their charges.
func ofCharges(buckets []ratelimit.BucketStatus, from, to int) []ratelimit.BucketStatus {
	first := 0
	for first < len(buckets) && buckets[first].Charge < from {
		first++
	}
	last := first
	for last < len(buckets) && buckets[last].Charge < to {
		last++
	}
	return buckets[first:last]
}

// refused reports whether a request, by what decided about it, is one of those
// that a denial is about.
func refused(reason ratelimit.Reason, b *ratelimit.BucketStatus, l *ratelimit.LimitStatus) bool {
	if l != nil {
		return l.Violated
	}
	return reason == ratelimit.ReasonDisabled && b.Mode == ratelimit.ModeDisabled ||
		reason == ratelimit.ReasonUnlimited && b.NoLimits
}
