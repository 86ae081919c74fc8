package usage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Window is the length of the times that use is summed over, in UTC.
type Window int

// The windows.
const (
	Hourly Window = iota
	Daily
	Monthly
)

var windowNames = [...]string{"hour", "day", "month"}

// String is hour, day or month. [ParseWindow] reads it.
func (w Window) String() string { return windowNames[w] }

// ParseWindow reads what [Window.String] writes.
func ParseWindow(s string) (Window, error) {
	if i := slices.Index(windowNames[:], s); i >= 0 {
		return Window(i), nil
	}
	return 0, fmt.Errorf("%q is not hour, day or month", s)
}

// Floor is the first hour of the window that an hour lies in.
func (w Window) Floor(h Hour) Hour {
	t := h.Start()
	switch w {
	case Daily:
		return HourOf(time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC))
	case Monthly:
		return HourOf(time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC))
	default:
		return h
	}
}

// Add is the first hour of the window that is n after the one that an hour
// lies in; n may be below zero.
func (w Window) Add(h Hour, n int) Hour {
	t := w.Floor(h).Start()
	switch w {
	case Daily:
		return HourOf(t.AddDate(0, 0, n))
	case Monthly:
		return HourOf(t.AddDate(0, n, 0))
	default:
		return h + Hour(n)
	}
}

// Bucket says whose use it is. Names are raw; one that is kept as a hash alone
// is that hash, with a ~ before it.
type Bucket struct {
	Entity   string
	Resource string
	Variant  string // empty for the usual bucket: see [ratelimit.NewKey]
}

// Shadow reports whether the bucket is that of a rule which isn't enforced, so
// that nobody was answered by it.
func (b *Bucket) Shadow() bool { return strings.HasPrefix(b.Variant, "shadow:") }

// Item is the use of one limit of a bucket in the window from one hour until
// before another.
type Item struct {
	Bucket
	Limit    string
	From, To Hour
	Totals
}

// Order is how items are listed: by time, then by bucket and limit.
func (i *Item) Order(j *Item) int {
	return cmp.Or(cmp.Compare(i.From, j.From), i.inTime(j))
}

func (i *Item) inTime(j *Item) int {
	return cmp.Or(
		cmp.Compare(i.Entity, j.Entity), cmp.Compare(i.Resource, j.Resource),
		cmp.Compare(i.Variant, j.Variant), cmp.Compare(i.Limit, j.Limit),
	)
}

// Sum sums items, none of which shares an hour with another of the same limit,
// over the windows that they begin in, and puts them in order.
func Sum(items []Item, w Window) []Item {
	type key struct {
		Bucket
		limit string
		from  Hour
	}
	sums := map[key]Totals{}
	for i := range items {
		k := key{items[i].Bucket, items[i].Limit, w.Floor(items[i].From)}
		sums[k] = sums[k].Plus(items[i].Totals)
	}
	all := make([]Item, 0, len(sums))
	for k, t := range sums {
		all = append(all, Item{k.Bucket, k.limit, k.from, w.Add(k.from, 1), t})
	}
	slices.SortFunc(all, func(a, b Item) int { return a.Order(&b) })
	return all
}

// Summary is the use of one limit of a bucket over some windows.
type Summary struct {
	Bucket
	Limit string
	Totals
	Windows int // in which there was a change
	// Peak is the most that was admitted in one window, PeakAt the first of
	// those.
	Peak   ratelimit.Millitokens
	PeakAt Hour
}

// Summarize sums up items of windows, in the order of buckets and limits.
func Summarize(items []Item) []Summary {
	sorted := slices.Clone(items)
	slices.SortFunc(sorted, func(a, b Item) int { return cmp.Or(a.inTime(&b), cmp.Compare(a.From, b.From)) })
	var all []Summary
	for i := range sorted {
		x := &sorted[i]
		if i == 0 || x.inTime(&sorted[i-1]) != 0 {
			all = append(all, Summary{Bucket: x.Bucket, Limit: x.Limit, Peak: x.Admitted, PeakAt: x.From})
		}
		s := &all[len(all)-1]
		s.Windows++
		s.Totals = s.Plus(x.Totals)
		if x.Admitted > s.Peak {
			s.Peak, s.PeakAt = x.Admitted, x.From
		}
	}
	return all
}

// Series is what was admitted of one limit in each of the windows from one hour
// until before another, over all items, in the order of time.
func Series(items []Item, limit string, w Window, from, to Hour) []ratelimit.Millitokens {
	at := map[Hour]int{}
	for h := w.Floor(from); h < to; h = w.Add(h, 1) {
		at[h] = len(at)
	}
	values := make([]ratelimit.Millitokens, len(at))
	for i := range items {
		if n, ok := at[w.Floor(items[i].From)]; ok && items[i].Limit == limit {
			values[n] += items[i].Admitted
		}
	}
	return values
}
