//go:build integration

package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

const (
	// A denial may rest on a state this old where that was short already, or on
	// one this old that would still be short: charge.md 2.7.
	mostFloor = 250 * time.Millisecond
	mostAge   = time.Second
	// scheduling is how long an answer of the store may wait in a process on a
	// busy machine between being written down and being taken in.
	scheduling = 250 * time.Millisecond
)

// claims are what is checked of the histories of a fleet.
type claims struct {
	orders
	slack     time.Duration // of refill above the envelope
	histories []*history
	// items are the buckets as they are in the end, with what all of their
	// incarnations counted.
	items map[string]*item
}

// check is everything that is wrong.
func (c *claims) check() []string {
	var faults []string
	for bucket := range c.items {
		faults = append(faults, c.envelope(bucket)...)
		faults = append(faults, c.conserved(bucket)...)
	}
	for _, h := range c.histories {
		faults = append(faults, c.balanced(h)...)
		faults = append(faults, c.proven(h)...)
	}
	return faults
}

// each calls f for every write to a bucket.
func (c *claims) each(bucket string, f func(w *write)) {
	for _, h := range c.histories {
		for _, w := range h.writes {
			if w.bucket == bucket {
				f(w)
			}
		}
	}
}

// charged are the buckets that a request is charged to.
func (c *claims) charged(r *request) []string {
	all := []string{r.bucket}
	for _, p := range c.Parents {
		all = append(all, p.Bucket)
	}
	return all
}

// envelope is invariant 1: over the stamps of the applied charges, in any
// window, not more was taken than capacity, slack and refill. A bucket of that
// size, replayed, never goes below zero, save by what is booked whatever there
// is.
func (c *claims) envelope(bucket string) []string {
	var applied []*write
	var open ratelimit.Millitokens // credits that may have been applied, at any moment
	c.each(bucket, func(w *write) {
		switch w.outcome {
		case "applied":
			applied = append(applied, w)
		case "unknown", "":
			open += w.returned
		}
	})
	// In units of a millitoken in a period's milliseconds: no fraction is lost.
	limit := c.limitOf(bucket)
	capacity, gain, ms := ratelimit.Milli(limit.Burst), int64(ratelimit.Milli(limit.Rate)), limit.Period.Milliseconds()
	r := replay{gain: gain, most: int64(capacity+open+2)*ms + gain*c.slack.Milliseconds()}
	r.have = r.most
	var faults []string
	for _, w := range inOrder(applied) {
		r.pass(w.stamp)
		r.have = min(r.most, r.have+int64(w.returned)*ms) - int64(w.charged)*ms
		booked := w.op == ratelimit.OpSettle || w.op == ratelimit.OpCreate && w.charged > capacity
		if r.have < 0 && w.charged > 0 && !booked {
			faults = append(faults, fmt.Sprintf("envelope: %s is %d millitokens beyond it at stamp %d", bucket, -r.have/ms, w.stamp))
			r.have = 0
		}
	}
	return faults
}

// inOrder sorts the writes that were applied to a bucket. The claim is about
// stamps; a credit has none in its condition, so that with credits the order is
// that in which writes were applied: the counters of the bucket only grow.
func inOrder(applied []*write) []*write {
	charges := !slices.ContainsFunc(applied, func(w *write) bool { return w.op != ratelimit.OpCreate && w.op != ratelimit.OpCharge })
	slices.SortFunc(applied, func(a, b *write) int {
		if charges {
			return cmp.Compare(a.stamp, b.stamp)
		}
		return cmp.Or(cmp.Compare(a.state.Born, b.state.Born), cmp.Compare(a.state.Charged+a.state.Returned, b.state.Charged+b.state.Returned))
	})
	return applied
}

// replay is one exact bucket.
type replay struct {
	gain, most, have int64 // in each millisecond; at most; now
	at               ratelimit.Stamp
}

// pass lets time pass until a stamp.
func (r *replay) pass(until ratelimit.Stamp) {
	switch {
	case r.at == 0:
		r.at = until
	case until <= r.at:
		return
	case float64(r.gain)*float64(until-r.at) >= float64(r.most-r.have): // a long idle time is more than 64 bits
		r.have = r.most
	default:
		r.have += r.gain * int64(until-r.at)
	}
	r.at = until
}

// conserved is invariant 5 of a bucket: it counts what is known to be applied,
// at most that and what may have been; more was applied twice, less was lost.
func (c *claims) conserved(bucket string) []string {
	var charged, returned, openCharged, openReturned ratelimit.Millitokens
	c.each(bucket, func(w *write) {
		switch w.outcome {
		case "applied":
			charged, returned = charged+w.charged, returned+w.returned
		case "unknown", "":
			openCharged, openReturned = openCharged+w.charged, openReturned+w.returned
		}
	})
	var faults []string
	within := func(what string, got, least, open ratelimit.Millitokens) {
		if got < least || got > least+open {
			faults = append(faults, fmt.Sprintf("conservation: %s counts %d millitokens as %s; %d were for certain, %d perhaps", bucket, got, what, least, open))
		}
	}
	i := c.items[bucket]
	within("charged", i.Charged, charged, openCharged)
	within("returned", i.Returned, returned, openReturned)
	return faults
}

// balanced is invariants 3 to 5 of a process, for each bucket: all that it is
// known to have charged admitted somebody or was given back, and nobody was
// admitted uncharged. One that was killed may have charged for nobody what it had
// in flight then, and no more.
func (c *claims) balanced(h *history) []string {
	type account struct{ charged, credited, admitted, back ratelimit.Millitokens }
	accounts := map[string]*account{}
	of := func(bucket string) *account {
		if accounts[bucket] == nil {
			accounts[bucket] = &account{}
		}
		return accounts[bucket]
	}
	for _, w := range h.writes {
		if w.outcome == "applied" {
			of(w.bucket).charged += w.charged
		}
		if w.outcome != "not applied" { // a credit is sent once, and then is what it is
			of(w.bucket).credited += w.returned
		}
	}
	for _, r := range h.requests {
		for _, bucket := range c.charged(r) {
			if r.verdict == "admitted" {
				of(bucket).admitted += r.cost
			}
			if r.back {
				of(bucket).back += r.cost
			}
		}
	}
	var faults []string
	for bucket, a := range accounts {
		lost := a.charged - a.credited - (a.admitted - a.back)
		flying := c.inFlight(h, bucket)
		if a.charged < a.admitted || h.ended && lost != 0 || lost > flying {
			faults = append(faults, fmt.Sprintf("balance: %s, %s: %+v, %d in flight", h.name, bucket, *a, flying))
		}
	}
	return faults
}

// inFlight is what the requests that were in flight in a bucket when their process
// was killed come to; 0 of one that ended in order.
func (c *claims) inFlight(h *history, bucket string) ratelimit.Millitokens {
	var sum ratelimit.Millitokens
	for _, r := range h.requests {
		if !h.ended && slices.Contains(c.charged(r), bucket) && c.flying(h, r, bucket) {
			sum += r.cost
		}
	}
	return sum
}

// flying reports whether a request was in flight in a bucket when its process was
// killed: a write that was under way with it had charged the bucket, and the
// request had no answer yet, or was told no so late that this may not have been
// given back by then.
func (c *claims) flying(h *history, r *request, bucket string) bool {
	if r.verdict == "admitted" || r.verdict != "" && h.last-r.told > int64(2*c.WriteTimeout+scheduling) {
		return false
	}
	return slices.ContainsFunc(h.writes, func(w *write) bool {
		return w.bucket == bucket && w.charged > 0 && w.outcome == "applied" && w.came >= r.asked && (r.verdict == "" || w.sent <= r.told)
	})
}

// proven is invariant 2: each denial had, within the poll floor, a state of the
// store with too few tokens.
func (c *claims) proven(h *history) []string {
	byBucket := map[string][]*write{} // answers with a state, in their order
	for _, w := range h.writes {
		if w.outcome == "applied" || w.outcome == "refused" {
			byBucket[w.bucket] = append(byBucket[w.bucket], w)
		}
	}
	var faults []string
	for _, r := range h.requests {
		if r.verdict != "denied" {
			continue
		}
		if !slices.ContainsFunc(c.charged(r), func(bucket string) bool {
			return slices.ContainsFunc(byBucket[bucket], func(w *write) bool { return c.proves(w, r) })
		}) {
			faults = append(faults, fmt.Sprintf("false reject: %s denied %d millitokens of %s at %s (%s) with no state that was short",
				h.name, r.cost, r.bucket, time.Unix(0, r.told).Format("05.000000"), r.detail))
		}
	}
	return faults
}

// proves reports whether what the store answered to a write shows that it had
// too little for a request that was denied.
func (c *claims) proves(w *write, r *request) bool {
	// The denial was decided between asked and told: the answer's age then was
	// at least this.
	age := max(0, time.Duration(r.asked-w.came))
	if !w.state.Exists || w.came > r.told || !c.short(w, w.stamp, r.cost) {
		return false
	}
	speed := time.Duration(max(1, c.Clock.Speed))
	return age*speed <= mostFloor+scheduling*speed ||
		age*speed <= mostAge+scheduling*speed && c.short(w, w.stamp+ratelimit.Stamp((age*speed).Milliseconds()), r.cost)
}

// short reports whether a bucket, as the store told it, had less than this at a
// stamp.
func (c *claims) short(w *write, at ratelimit.Stamp, cost ratelimit.Millitokens) bool {
	p := ratelimit.ParamsOf(c.limitOf(w.bucket))
	return min(p.Capacity, w.state.Balance+p.Refill.Total(at)) < cost
}
