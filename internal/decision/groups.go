package decision

import (
	"context"
	"errors"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// group are charges that are decided together: those of a call that belong
// together, all or none, or one that is independent of the others.
type group struct {
	charges  []int // indexes of the call's
	alone    bool
	decision ratelimit.Decision
	err      error

	lenience descriptors.Lenience
	excused  bool // it refuses, and doesn't deny
}

// refuses reports whether a limit of the group is exceeded, or as good as that.
func (g *group) refuses() bool { return g.err == nil && !g.decision.Allowed }

// denies reports whether the group keeps the call from being admitted.
func (g *group) denies() bool { return g.err != nil || g.refuses() && !g.excused }

// grouped are the charges by who is decided with whom; one group where none is
// independent.
func (c *call) grouped() []group {
	together := group{}
	var all []group
	for i := range c.charges {
		if c.alone[i] {
			all = append(all, group{charges: []int{i}, alone: true, lenience: lenienceOf(c.rules[i])})
		} else {
			together.charges = append(together.charges, i)
		}
	}
	if len(together.charges) > 0 {
		all = append(all, together)
	}
	return all
}

// apart decides each group by itself: at once where a store has to be asked, so
// that the call takes no longer than the slowest.
func (c *call) apart(ctx context.Context) (ratelimit.Decision, error) {
	c.groups = c.grouped()
	var all sync.WaitGroup
	for i := range c.groups {
		g := &c.groups[i]
		charges := make([]ratelimit.Charge, len(g.charges))
		for j, index := range g.charges {
			charges[j] = c.charges[index]
		}
		ask := func() {
			g.decision, g.err = c.ask(ctx, g.charges[0], charges)
			for j := range g.decision.Buckets {
				b := &g.decision.Buckets[j]
				b.Charge = g.charges[b.Charge]
			}
		}
		if c.policy.InProcess {
			ask()
		} else {
			all.Go(ask)
		}
	}
	all.Wait()
	return c.merged()
}

// merged is what the groups decided as one: denied when any is, and by the one
// for which a wait helps least. A group without a decision leaves the call
// without one unless another denies it.
func (c *call) merged() (ratelimit.Decision, error) {
	var d ratelimit.Decision
	var worst *group
	var failed error
	c.excuse()
	for i := range c.groups {
		g := &c.groups[i]
		switch {
		case errors.Is(g.err, ratelimit.ErrUnknownNamespace):
			return d, g.err
		case g.err != nil:
			failed = g.err
			continue
		case g.denies() && (worst == nil || hopeless(g) > hopeless(worst)):
			worst = g
		}
		d.Buckets = append(d.Buckets, g.decision.Buckets...)
		d.Source = max(d.Source, g.decision.Source)
	}
	slices.SortStableFunc(d.Buckets, func(a, b ratelimit.BucketStatus) int { return a.Charge - b.Charge })
	if worst != nil {
		c.denier = worst
		d.Reason, d.Source = worst.decision.Reason, worst.decision.Source
		d.RetryAfter = c.wait()
		return d, nil
	}
	d.Allowed, d.Reason = true, c.reason()
	return d, failed
}

// hopeless orders denials by how little a wait helps.
func hopeless(g *group) int {
	return slices.Index([]ratelimit.Reason{
		ratelimit.ReasonUnavailable, ratelimit.ReasonExceeded, ratelimit.ReasonNever, ratelimit.ReasonUnlimited, ratelimit.ReasonDisabled,
	}, g.decision.Reason)
}

// wait is how long until all of the groups that deny would admit; 0 when no
// waiting helps.
func (c *call) wait() (longest time.Duration) {
	for i := range c.groups {
		g := &c.groups[i]
		switch {
		case !g.denies():
		case g.decision.RetryAfter == 0:
			return 0
		default:
			longest = max(longest, g.decision.RetryAfter)
		}
	}
	return longest
}

// reason is why a call is allowed whose groups all are: a fallback is told of
// first, then what was charged.
func (c *call) reason() ratelimit.Reason {
	var seen [ratelimit.ReasonUnavailable + 1]bool
	for i := range c.groups {
		seen[c.groups[i].decision.Reason] = true
	}
	for _, r := range []ratelimit.Reason{ratelimit.ReasonUnavailable, ratelimit.ReasonAllowed, ratelimit.ReasonBypass} {
		if seen[r] {
			return r
		}
	}
	return ratelimit.ReasonNoLimits
}

// tellApart denies each request's part that has a charge which was denied by
// itself, or about whose limits nothing is known. A quota that is exceeded is
// told of also where it doesn't deny.
func (c *call) tellApart(a *Answer) {
	for i := range c.groups {
		g := &c.groups[i]
		shadow := g.excused && g.lenience == descriptors.Shadow
		if !g.denies() && !g.excused || !g.alone && len(g.decision.Buckets) > 0 {
			continue
		}
		for _, charge := range g.charges {
			if p := &a.Parts[sort.SearchInts(c.first[1:], charge+1)]; shadow {
				p.Excused = true
			} else {
				p.Verdict = Deny
			}
		}
	}
}
