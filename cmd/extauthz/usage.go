package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/admin"
	used "github.com/extauthz/extauthz/pkg/usage"
)

func newUsage() *cobra.Command {
	return group("usage", "What was used", `usage shows how many tokens were charged, by hour, day or month of UTC, as the
aggregator of a stack has counted them. It is behind by a minute or so. There is
none on an embedded store.`,
		newUsageList(), newUsageSummary(), newUsagePlot())
}

// usageCommand makes a command of what shows usage.
func usageCommand(c *cobra.Command, show func(w *work, q *admin.UsageQuestion, items []used.Item) error, more ...output) *cobra.Command {
	q := &admin.UsageQuestion{}
	fs := c.Flags()
	fs.StringVarP(&q.Entity, "entity", "e", "", "of this `entity` alone, which is read faster")
	fs.StringVarP(&q.Resource, "resource", "r", "", "of this `resource` alone")
	window := fs.StringP("window", "w", used.Hourly.String(), "sums over each `hour`, day or month")
	start := fs.String("start", "", "from this `time` on, as in 2026-11-25, 2026-11-25T10, 2026-11 or 2026-11-25T10:00:00Z (default 24 windows before the end)")
	end := fs.String("end", "", "until before this `time` (default now, this window's too)")
	return onSession(c, func(w *work, _ []string) error {
		if err := askUsage(q, *window, *start, *end, time.Now()); err != nil {
			return err
		}
		items, err := w.Usage(w.ctx(), q)
		if err != nil {
			return err
		}
		if len(items) == 0 && w.form != asJSON {
			printf(w.c.ErrOrStderr(), "nothing was counted from %s until %s; the stack's aggregator counts, a minute or so behind\n", stamp(q.From.Start()), stamp(q.To.Start()))
		}
		return show(w, q, items)
	}, more...)
}

const (
	// usageWindows are shown where no start is given.
	usageWindows = 24
	// mostUsage bounds what one command reads: each day is looked at.
	mostUsage = 5 * 366 * 24
)

// askUsage completes a question from the words of flags. It covers whole windows.
func askUsage(q *admin.UsageQuestion, window, start, end string, now time.Time) (err error) {
	if q.Window, err = used.ParseWindow(window); err != nil {
		return usageFault("window", err)
	}
	until, err := usageTime(end, now)
	if err != nil {
		return usageFault("end", err)
	}
	q.To = q.Window.Add(used.HourOf(until.Add(-1)), 1)
	from, err := usageTime(start, q.Window.Add(q.To, -usageWindows).Start())
	if err != nil {
		return usageFault("start", err)
	}
	q.From = q.Window.Floor(used.HourOf(from))
	switch {
	case q.From >= q.To:
		return usageFault("start", fmt.Errorf("%s is not before the end, %s", stamp(q.From.Start()), stamp(q.To.Start())))
	case q.To-q.From > mostUsage:
		return usageFault("start", fmt.Errorf("%s is more than five years before the end", stamp(q.From.Start())))
	}
	return nil
}

func usageFault(flag string, err error) error {
	return usage("see extauthz usage --help", "--%s: %s", flag, err)
}

// usageTime is a time in one of the forms of --start and --end.
func usageTime(text string, otherwise time.Time) (time.Time, error) {
	if text == "" {
		return otherwise, nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15", time.DateOnly, "2006-01"} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	return otherwise, fmt.Errorf("%q is no time as in 2026-11-25, 2026-11-25T10, 2026-11 or 2026-11-25T10:00:00Z", text)
}

func newUsageList() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List what was used of each limit, by time", Args: noArgs,
		Example: "  extauthz usage list --stack prod --entity user-123 --window day\n" +
			"  extauthz usage list --stack prod --start 2026-11 --window month -o csv > november.csv",
	}
	return usageCommand(c, func(w *work, q *admin.UsageQuestion, items []used.Item) error {
		report := admin.ListUsage(q, items)
		rows := [][]string{{"START", "ENTITY", "RESOURCE", "VARIANT", "LIMIT", "CONSUMED", "ADMITTED", "DEBT"}}
		for i := range report.Items {
			x := &report.Items[i]
			rows = append(rows, append([]string{stamp(x.Start)}, usageRow(string(x.Entity), string(x.Resource), string(x.Variant), x.Limit, x.UsageTotals)...))
		}
		return w.rows(report, rows)
	}, asCSV)
}

func newUsageSummary() *cobra.Command {
	c := &cobra.Command{
		Use: "summary", Short: "Sum up what was used of each limit", Args: noArgs,
		Long: `summary adds up what each entity used of each limit in all windows together, and
shows the one in which most was admitted.`,
		Example: "  extauthz usage summary --stack prod --resource gpt-4 --window day --start 2026-11-01 --end 2026-12-01",
	}
	return usageCommand(c, func(w *work, q *admin.UsageQuestion, items []used.Item) error {
		report := admin.SummarizeUsage(q, items)
		rows := [][]string{{"ENTITY", "RESOURCE", "VARIANT", "LIMIT", "CONSUMED", "ADMITTED", "DEBT", "WINDOWS", "PEAK", "PEAK START"}}
		for i := range report.Items {
			x := &report.Items[i]
			rows = append(rows, append(usageRow(string(x.Entity), string(x.Resource), string(x.Variant), x.Limit, x.UsageTotals),
				fmt.Sprint(x.Windows), fmt.Sprint(x.Peak), stamp(x.PeakStart)))
		}
		return w.rows(report, rows)
	}, asCSV)
}

func usageRow(entity, resource, variant, limit string, t admin.UsageTotals) []string {
	return []string{entity, resource, variant, limit, fmt.Sprint(t.Consumed), fmt.Sprint(t.Admitted), fmt.Sprint(t.Debt)}
}
