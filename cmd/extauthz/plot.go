package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/guptarohit/asciigraph"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/extauthz/extauthz/internal/admin"
	used "github.com/extauthz/extauthz/pkg/usage"
)

func newUsagePlot() *cobra.Command {
	c := &cobra.Command{
		Use: "plot", Short: "Draw what was admitted, a chart for each limit", Args: noArgs,
		Long: `plot draws how many tokens were admitted in each window, over all entities and
resources that are asked for, in the terminal. Rules that are not enforced are
left out.`,
		Example: "  extauthz usage plot --stack prod --entity user-123\n  extauthz usage plot --stack prod --window day --start 2026-11-01",
	}
	return usageCommand(c, func(w *work, q *admin.UsageQuestion, items []used.Item) error {
		report := admin.PlotUsage(q, items)
		if w.form == asJSON {
			return printJSON(w.c.OutOrStdout(), report)
		}
		for i := range report.Items {
			printf(w.c.OutOrStdout(), "%s\n", chart(&report.Items[i], q, w.columns()))
		}
		return nil
	})
}

const (
	chartHeight  = 10
	usualColumns = 80
	// chartMargin is what stands beside the lines: numbers, and the axis.
	chartMargin = 16
)

// columns are those of the terminal that is printed to.
func (w *work) columns() int {
	if f, ok := w.c.OutOrStdout().(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			return n
		}
	}
	return usualColumns
}

// chart draws a series.
func chart(s *admin.UsageSeries, q *admin.UsageQuestion, columns int) string {
	values := make([]float64, len(s.Admitted))
	for i, v := range s.Admitted {
		values[i] = float64(v)
	}
	if len(values) == 1 {
		values = append(values, values[0]) // a point has no line
	}
	form := map[used.Window]string{used.Hourly: "01-02 15h", used.Daily: "01-02", used.Monthly: "2006-01"}[q.Window]
	first, last := float64(q.From.Start().Unix()), float64((q.To - 1).Start().Unix())
	return asciigraph.Plot(values,
		asciigraph.Height(chartHeight), asciigraph.Width(max(columns-chartMargin, chartMargin)), asciigraph.LowerBound(0),
		asciigraph.YAxisValueFormatter(func(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) }),
		asciigraph.XAxisRange(first, last), asciigraph.XAxisTickCount(min(len(values), 5)),
		asciigraph.XAxisValueFormatter(func(v float64) string { return time.Unix(int64(v), 0).UTC().Format(form) }),
		asciigraph.Caption(fmt.Sprintf("%s admitted each %s, %s until %s", s.Limit, q.Window, stamp(q.From.Start()), stamp(q.To.Start()))),
	)
}
