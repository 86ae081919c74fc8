package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/cost"
)

func newCost() *cobra.Command {
	c := &cobra.Command{
		Use: "cost", Short: "What a stack would cost in a month", Args: noArgs,
		Long: `cost says what a stack on DynamoDB costs in a month of 730 hours, line by line, from
what it is asked to do. It asks nobody: the prices are those of us-east-1, of the day
that is shown. Not in it: the processes of the service, logs, the archive of the
audit, and the first look at each entity, some cents together as a rule.`,
		Example: "  extauthz cost --requests 100 --keys 500 --overload 1.5",
	}
	var l cost.Load
	fs := c.Flags()
	fs.Float64Var(&l.Requests, "requests", 100, "how many come in a `second`, on the average of the month")
	fs.IntVar(&l.Keys, "keys", 500, "how many buckets are charged at a time: a `number` of entities times their resources")
	fs.Float64Var(&l.Overload, "overload", 1, "how many `times` what the limits admit is asked for; at 2 half is refused")
	fs.IntVar(&l.Processes, "processes", 4, "a `number` of processes that serve")
	fs.IntVar(&l.Buckets, "buckets", 1, "how many a request charges: a `number`, 2 with a parent")
	window := fs.Int("batch-window", 60, "the aggregator's, in `seconds`")
	days := fs.Int("usage-days", 90, "how many `days` usage is kept")
	none := fs.Bool("no-aggregator", false, "usage isn't counted")
	form := addOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		l.Aggregator = !*none
		l.Window, l.Keep = time.Duration(*window)*time.Second, time.Duration(*days)*24*time.Hour
		prices := cost.USEast1()
		b, err := cost.Of(&l, &prices)
		if err != nil {
			return usage("see extauthz cost --help", "%s", err)
		}
		if *form == asJSON {
			return printJSON(c.OutOrStdout(), b)
		}
		return printBill(c, b)
	}
	return c
}

func printBill(c *cobra.Command, b *cost.Bill) error {
	rows := []string{"LINE\tQUANTITY\tUNIT\tPRICE\tDOLLARS"}
	for _, l := range b.Lines {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%.2f", l.What, decimal(l.Quantity, 3), l.Unit, decimal(l.Price, 4), l.Dollars))
	}
	rows = append(rows, fmt.Sprintf("all\t\t\t\t%.2f", b.Dollars), fmt.Sprintf("a million requests\t\t\t\t%.2f", b.PerMillion))
	if err := printTable(c.OutOrStdout(), rows); err != nil {
		return err
	}
	printf(c.OutOrStdout(), "Prices of %s, %s: check them before you rely on it.\n", b.Region, b.PricesOf)
	return nil
}

// decimal is a number with so many digits behind the point, less the zeros at its
// end.
func decimal(v float64, digits int) string {
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.*f", digits, v), "0"), ".")
}
