// Package usage counts what buckets used in each hour, from the changes of
// their states, whatever becomes of the news of these changes on its way: told
// twice, in another order, in parts or after a failure, they come to the same.
//
// A bucket counts what was ever charged and returned, and both only grow. So a
// change says that a counter went from one value to another, and no other
// change of that bucket says so of any amount between them. An hour keeps these
// spans, joined where they meet: usually one for each counter. What was told
// twice adds nothing to a set, and a set has no order. A bucket that expires
// and returns begins its counters again, and is kept apart by its birth.
//
//	09:59  c 0 -> 3000     hour 09:  0-3000
//	10:00  c 3000 -> 5000  hour 10:  3000-5000
//	10:01  c 5000 -> 6000  hour 10:  3000-6000, and so when it is told again
//
// Days and months are sums of hours, made on reading: see [Sum].
//
// The package imports pkg/ratelimit alone. Start reading at [Of] and
// [Account.Merge].
package usage

import (
	"fmt"
	"slices"
	"time"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Hour is an hour of UTC, in hours since 1970.
type Hour int64

// HourOf is the hour that an instant lies in.
func HourOf(t time.Time) Hour {
	const hour = 3600
	s := t.Unix()
	h := s / hour
	if s%hour < 0 {
		h--
	}
	return Hour(h)
}

// Start is when the hour begins, End when the next one does.
func (h Hour) Start() time.Time { return time.Unix(int64(h)*3600, 0).UTC() }

// End is when the hour ends.
func (h Hour) End() time.Time { return (h + 1).Start() }

// hourForm is one that sorts as time does.
const hourForm = "2006-01-02T15"

// String is the hour as 2026-11-25T10. [ParseHour] reads it.
func (h Hour) String() string { return h.Start().Format(hourForm) }

// ParseHour reads what [Hour.String] writes.
func ParseHour(s string) (Hour, error) {
	t, err := time.Parse(hourForm, s)
	if err != nil {
		return 0, fmt.Errorf("reading an hour: %w", err)
	}
	return HourOf(t), nil
}

// ID is one limit of one life of a bucket: its counters are one sequence, and
// its name is always the same.
type ID struct {
	Born ratelimit.Stamp
	Slot int // from 1
}

// Growth is what is known of one limit in an hour. Amounts are millitokens.
type Growth struct {
	Name     string
	Charged  Spans
	Returned Spans
	Debt     ratelimit.Millitokens // the deepest seen after a change
}

// Account is what one bucket used in one hour, by its lives and limits.
type Account map[ID]Growth

// Of is what a change of a bucket says of the hour that it lies in. A bucket
// that there was not before the change has the zero state, and one that is
// gone after it says nothing: what it had counted was told by the changes that
// did.
func Of(before, after ratelimit.State) Account {
	if !after.Exists {
		return nil
	}
	a := Account{}
	for i := range after.Limits {
		now := &after.Limits[i]
		if now.Name == "" { // a slot that nothing is known of
			continue
		}
		var was ratelimit.LimitState
		if before.Exists && before.Born == after.Born && i < len(before.Limits) {
			was = before.Limits[i]
		}
		g := Growth{
			Name:     now.Name,
			Charged:  Spans(nil).With(Span{was.Charged, now.Charged}),
			Returned: Spans(nil).With(Span{was.Returned, now.Returned}),
		}
		if now.On {
			g.Debt = max(0, -now.Available(after.Last))
		}
		if len(g.Charged) > 0 || len(g.Returned) > 0 {
			a[ID{after.Born, i + 1}] = g
		}
	}
	return a
}

// Merge adds what another account of the same bucket and hour knows, and
// reports whether that was anything new. It is the union: its order doesn't
// matter, and what is merged again adds nothing.
func (a Account) Merge(b Account) bool {
	changed := false
	for id, more := range b {
		g, known := a[id]
		if !known {
			a[id] = more
			changed = true
			continue
		}
		charged, returned := g.Charged.With(more.Charged...), g.Returned.With(more.Returned...)
		debt := max(g.Debt, more.Debt)
		if slices.Equal(charged, g.Charged) && slices.Equal(returned, g.Returned) && debt == g.Debt {
			continue
		}
		a[id] = Growth{Name: g.Name, Charged: charged, Returned: returned, Debt: debt}
		changed = true
	}
	return changed
}

// Totals is the use of one limit. Amounts are millitokens.
type Totals struct {
	// Consumed is all that was charged.
	Consumed ratelimit.Millitokens
	// Admitted is what was charged less what was given back: the usage. In an
	// hour that gives back what another one charged it may be below zero.
	Admitted ratelimit.Millitokens
	// Debt is how far below zero the bucket was at the deepest.
	Debt ratelimit.Millitokens
}

// Plus is the use of two times of which neither holds part of the other.
func (t Totals) Plus(u Totals) Totals {
	return Totals{t.Consumed + u.Consumed, t.Admitted + u.Admitted, max(t.Debt, u.Debt)}
}

// Totals are the sums over a bucket's lives, by the names of its limits.
func (a Account) Totals() map[string]Totals {
	sums := make(map[string]Totals, len(a))
	for _, g := range a {
		charged := g.Charged.Sum()
		sums[g.Name] = sums[g.Name].Plus(Totals{charged, charged - g.Returned.Sum(), g.Debt})
	}
	return sums
}
