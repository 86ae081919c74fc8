package recent

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// maxLimits is of how many names of limits the consumption is counted. Names
// come from configuration, the store's too, so that there could be any number.
const maxLimits = 16

// Recorder remembers. It is safe for concurrent use.
type Recorder struct {
	now  func() time.Time
	seed maphash.Seed

	ring    ring
	denials *tally

	// consumption has a tally for each name of a limit: tokens of different ones
	// don't compare. It is replaced whole when a name is new.
	consumption atomic.Pointer[map[string]*tally]
	naming      sync.Mutex

	windows struct {
		sync.Mutex
		before, now time.Time // when the windows began
	}
}

var _ decision.Observer = (*Recorder)(nil)

// New makes a Recorder. What now says is when a denial was.
func New(now func() time.Time) *Recorder {
	r := &Recorder{now: now, seed: maphash.MakeSeed()}
	r.denials = newTally(r.seed)
	r.consumption.Store(&map[string]*tally{})
	r.windows.before = now()
	r.windows.now = r.windows.before
	return r
}

// Decided remembers what a call was denied, or what it took.
func (r *Recorder) Decided(_ *decision.Policy, reqs []*descriptors.Request, a *decision.Answer, _ time.Duration) {
	switch a.Verdict {
	case decision.Allow:
		r.consumed(a)
	case decision.Deny, decision.Invalid:
		r.denied(reqs, a)
		r.consumed(a)
	case decision.Unavailable: // nothing was decided
	}
}

// Shadowed remembers what a rule that isn't enforced would have denied.
func (r *Recorder) Shadowed(_ *decision.Policy, rule *descriptors.Rule, d *ratelimit.Decision, err error) {
	if err != nil || d.Allowed {
		return
	}
	bucket, limit := d.Primary()
	r.ring.seen.Add(1)
	now := r.now()
	if !r.ring.pass(maphash.String(r.seed, bucket.Key.ID()), now) {
		return
	}
	denial := Denial{
		At: now, Shadow: true, Rule: nameOf(rule), Reason: d.Reason.String(), Source: d.Source.String(),
		RetryAfter: d.RetryAfter,
	}
	denial.about(ownKey(d, &bucket), &bucket, limit)
	r.ring.add(&denial)
}

// denied remembers a denial.
func (r *Recorder) denied(reqs []*descriptors.Request, a *decision.Answer) {
	bucket, limit := a.Decision.Primary()
	key := chargeOf(a, bucket.Charge).Query.Key
	if !key.IsZero() {
		r.denials.add(key, 1)
	}
	r.ring.seen.Add(1)
	now := r.now()
	if !r.ring.pass(maphash.String(r.seed, key.ID())^maphash.String(r.seed, nameOf(a.Rule)), now) {
		return
	}
	denial := Denial{At: now, Rule: nameOf(a.Rule), Reason: a.Reason, RetryAfter: a.RetryAfter}
	if len(reqs) > 0 {
		denial.Protocol = reqs[0].Protocol.String()
	}
	if len(a.Decision.Buckets) > 0 || a.Source == ratelimit.SourceFallback {
		denial.Source = a.Source.String()
	}
	if a.Err != nil {
		denial.Err = a.Err.Error()
	}
	denial.about(key, &bucket, limit)
	r.ring.add(&denial)
}

// chargeOf is the charge with an index among all of a call's, if the answer is
// about it: what a rule denies by itself concerns no bucket.
func chargeOf(a *decision.Answer, index int) *descriptors.RuleCharge {
	if c := a.Charge(index); c != nil && c.Rule == a.Rule {
		return c
	}
	return &descriptors.RuleCharge{}
}

// ownKey is the key of the charge that a bucket, maybe a parent's, belongs to.
func ownKey(d *ratelimit.Decision, of *ratelimit.BucketStatus) ratelimit.Key {
	for i := range d.Buckets {
		if b := &d.Buckets[i]; b.Charge == of.Charge && b.Parent == 0 {
			return b.Key
		}
	}
	return of.Key
}

// consumed counts the tokens that a call has taken: those of an admission, and
// of a denial what was booked all the same.
func (r *Recorder) consumed(a *decision.Answer) {
	for i := range a.Decision.Buckets {
		b := &a.Decision.Buckets[i]
		if !a.Decision.Allowed && !booked(a, b.Charge) {
			continue
		}
		for j := range b.Limits {
			l := &b.Limits[j]
			if l.Cost <= 0 {
				continue
			}
			if t := r.tallyOf(l.Limit.Name); t != nil {
				t.add(b.Key, l.Cost)
			}
		}
	}
}

// booked reports whether a charge was taken though the call was denied: one that
// settles is, and one that is independent where it has enough.
func booked(a *decision.Answer, charge int) bool {
	c := a.Charge(charge)
	return c != nil && (c.Settle || c.Independent && passes(&a.Decision, charge))
}

// passes reports whether nothing refuses a charge by itself.
func passes(d *ratelimit.Decision, charge int) bool {
	for i := range d.Buckets {
		b := &d.Buckets[i]
		if b.Charge != charge {
			continue
		}
		short := slices.ContainsFunc(b.Limits, func(l ratelimit.LimitStatus) bool { return l.Violated })
		if short || b.Mode == ratelimit.ModeDisabled {
			return false
		}
	}
	return true
}

// tallyOf is the tally of a limit's name; nil when there are too many names.
func (r *Recorder) tallyOf(limit string) *tally {
	if t := (*r.consumption.Load())[limit]; t != nil {
		return t
	}
	r.naming.Lock()
	defer r.naming.Unlock()
	old := *r.consumption.Load()
	if t := old[limit]; t != nil || len(old) >= maxLimits {
		return t
	}
	all := make(map[string]*tally, len(old)+1)
	for name, t := range old {
		all[name] = t
	}
	t := newTally(r.seed)
	all[limit] = t
	r.consumption.Store(&all)
	return t
}

// Window is how often Turn is to be called.
const Window = 10 * time.Minute

// Turn begins a new window: what Top tells reaches back over the one before it
// too, and no further.
func (r *Recorder) Turn(now time.Time) {
	r.windows.Lock()
	defer r.windows.Unlock()
	r.windows.before, r.windows.now = r.windows.now, now
	r.denials.turn()
	for _, t := range *r.consumption.Load() {
		t.turn()
	}
}

// By is what entities are ranked by.
type By string

// The rankings.
const (
	ByDenials     By = "denials"
	ByConsumption By = "consumption"
)

// Top are the entities with the most of something since a time, the first first.
type Top struct {
	Since time.Time
	Ranks []Rank
}

// Rank is what one entity has of something: no less than AtLeast and no more
// than AtMost, which are equal as long as few entities have any.
type Rank struct {
	Limit             string // whose tokens were consumed; empty for denials
	Namespace, Entity string
	AtLeast, AtMost   int64
}

// Top ranks entities, of one namespace or, where it is empty, of all; at most n,
// and so many for each limit.
func (r *Recorder) Top(by By, namespace string, n int) Top {
	r.windows.Lock()
	defer r.windows.Unlock()
	top := Top{Since: r.windows.before}
	if by == ByDenials {
		top.Ranks = r.denials.top("", namespace, n)
		return top
	}
	all := *r.consumption.Load()
	for _, limit := range sortedKeys(all) {
		top.Ranks = append(top.Ranks, all[limit].top(limit, namespace, n)...)
	}
	return top
}

// Denials are those that the ring holds, newest first, see [Selection]; and how
// many there were since the process began, shadows among them.
func (r *Recorder) Denials(s Selection) (found []Denial, seen uint64) {
	return r.ring.list(s), r.ring.seen.Load()
}

func nameOf(r *descriptors.Rule) string {
	if r == nil {
		return ""
	}
	return r.Name()
}

// compareRanks puts the one with the most first.
func compareRanks(a, b Rank) int {
	return cmp.Or(
		cmp.Compare(b.AtLeast, a.AtLeast), cmp.Compare(b.AtMost, a.AtMost),
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Entity, b.Entity),
	)
}
