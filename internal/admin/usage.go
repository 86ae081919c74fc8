package admin

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
	"github.com/extauthz/extauthz/pkg/usage"
)

// UsageQuestion asks what was used.
type UsageQuestion struct {
	Entity   string // empty: every entity
	Resource string // empty: every resource
	Window   usage.Window
	From, To usage.Hour // To isn't part of it
}

// Usage is what was used of each limit in each window of a question, in the
// order of time. Only a table counts it: see infra/aggregator.
func (s *Session) Usage(ctx context.Context, q *UsageQuestion) ([]usage.Item, error) {
	of, ok := s.balances.(table)
	if !ok {
		return nil, &Problem{
			Code: CodeNotCounted, Message: "usage is counted on a table, by its stack's aggregator; a service, and an embedded store, count none",
			Hint: "name the table: extauthz usage list --stack NAME",
		}
	}
	var items []usage.Item
	resourceID := ""
	if q.Resource != "" {
		resourceID = ratelimit.ResourceID(q.Resource)
	}
	found := func(all []dynamostore.Used) {
		for i := range all {
			if resourceID == "" || all[i].ResourceID == resourceID {
				items = append(items, all[i].Items()...)
			}
		}
	}
	if q.Entity == "" {
		err := of.UsageOfAll(ctx, s.namespace, q.From, q.To, found)
		return usage.Sum(items, q.Window), err
	}
	all, err := of.Usage(ctx, s.namespace, q.Entity, q.From, q.To)
	found(all)
	return usage.Sum(items, q.Window), err
}

// UsageInfo is an item of usage. Tokens are whole.
type UsageInfo struct {
	Start    time.Time      `json:"start"`
	End      time.Time      `json:"end"`
	Entity   hierarchy.Text `json:"entity"`
	Resource hierarchy.Text `json:"resource"`
	Variant  hierarchy.Text `json:"variant,omitempty"`
	Limit    string         `json:"limit"`
	UsageTotals
}

// UsageTotals are how many tokens were charged, and how many of these weren't
// given back; and how far below zero the bucket was.
type UsageTotals struct {
	Consumed int64 `json:"consumed"`
	Admitted int64 `json:"admitted"`
	Debt     int64 `json:"debt"`
}

func totalsOf(t usage.Totals) UsageTotals {
	return UsageTotals{t.Consumed.Tokens(), t.Admitted.Tokens(), t.Debt.Tokens()}
}

// UsageSummary is what was used over some windows.
type UsageSummary struct {
	Entity   hierarchy.Text `json:"entity"`
	Resource hierarchy.Text `json:"resource"`
	Variant  hierarchy.Text `json:"variant,omitempty"`
	Limit    string         `json:"limit"`
	UsageTotals
	Windows   int       `json:"windows"` // in which there was a change
	Peak      int64     `json:"peak"`    // the most that was admitted in one
	PeakStart time.Time `json:"peak_start"`
}

// UsageSeries is what was admitted of one limit in each window.
type UsageSeries struct {
	Limit    string  `json:"limit"`
	Admitted []int64 `json:"admitted"`
}

// UsageReport is usage in windows from a time until before another.
type UsageReport[T any] struct {
	Window string    `json:"window"`
	Start  time.Time `json:"start"`
	End    time.Time `json:"end"`
	Items  []T       `json:"items"`
	Next   string    `json:"next"` // always empty: nothing is left out
}

func reportOf[T any](q *UsageQuestion, items []T) *UsageReport[T] {
	return &UsageReport[T]{Window: q.Window.String(), Start: q.From.Start(), End: q.To.Start(), Items: items}
}

// ListUsage is a report of items.
func ListUsage(q *UsageQuestion, items []usage.Item) *UsageReport[UsageInfo] {
	list := make([]UsageInfo, len(items))
	for i := range items {
		x := &items[i]
		list[i] = UsageInfo{
			Start: x.From.Start(), End: x.To.Start(), Entity: hierarchy.Text(x.Entity), Resource: hierarchy.Text(x.Resource),
			Variant: hierarchy.Text(x.Variant), Limit: x.Limit, UsageTotals: totalsOf(x.Totals),
		}
	}
	return reportOf(q, list)
}

// SummarizeUsage is a report of each limit of each bucket.
func SummarizeUsage(q *UsageQuestion, items []usage.Item) *UsageReport[UsageSummary] {
	sums := usage.Summarize(items)
	list := make([]UsageSummary, len(sums))
	for i := range sums {
		x := &sums[i]
		list[i] = UsageSummary{
			Entity: hierarchy.Text(x.Entity), Resource: hierarchy.Text(x.Resource), Variant: hierarchy.Text(x.Variant), Limit: x.Limit,
			UsageTotals: totalsOf(x.Totals), Windows: x.Windows, Peak: x.Peak.Tokens(), PeakStart: x.PeakAt.Start(),
		}
	}
	return reportOf(q, list)
}

// PlotUsage is a report of each limit by its name, over all buckets but those of
// shadows, which nobody was answered by.
func PlotUsage(q *UsageQuestion, items []usage.Item) *UsageReport[UsageSeries] {
	answered := slices.DeleteFunc(slices.Clone(items), func(i usage.Item) bool { return i.Shadow() })
	list := []UsageSeries{}
	for i := range answered {
		limit := answered[i].Limit
		if slices.ContainsFunc(list, func(s UsageSeries) bool { return s.Limit == limit }) {
			continue
		}
		s := UsageSeries{Limit: limit}
		for _, v := range usage.Series(answered, limit, q.Window, q.From, q.To) {
			s.Admitted = append(s.Admitted, v.Tokens())
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b UsageSeries) int { return cmp.Compare(a.Limit, b.Limit) })
	return reportOf(q, list)
}
