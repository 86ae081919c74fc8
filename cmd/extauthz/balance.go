package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/admin"
)

func newBalance() *cobra.Command {
	c := &cobra.Command{
		Use: "balance ENTITY RESOURCE", Short: "What is left of an entity's limits", Args: exactly("ENTITY", "RESOURCE"),
		Long: `balance shows what is left of each limit that an entity has for a resource, when it
is full again, and at which level the limit is said. Nothing is charged.

On a table the limits of a service's file aren't known: ask the service for them,
by --server.`,
		Example: "  extauthz balance user-123 gpt-4",
	}
	q := &admin.BalanceQuestion{}
	c.Flags().StringVar(&q.Tier, "tier", "", "the `tier` to use where the entity has none")
	return onSession(c, func(w *work, args []string) error {
		q.Entity, q.Resource = args[0], args[1]
		b, err := w.Balance(w.ctx(), q)
		if err != nil || w.form == asJSON {
			return orJSON(w, b, err)
		}
		return w.balance(b)
	})
}

// balance prints what is left.
func (w *work) balance(b *admin.Balance) error {
	rows := []string{"ENTITY\tLIMIT\tLEFT\tOF\tFULL\tLEVEL"}
	for _, bucket := range b.Buckets {
		switch {
		case len(bucket.Limits) > 0:
		case bucket.Mode == "disabled" || bucket.Mode == "bypass":
			rows = append(rows, fmt.Sprintf("%s\t-\t-\t-\t-\tmode %s", cell(bucket.Entity), bucket.Mode))
		default:
			rows = append(rows, fmt.Sprintf("%s\t-\t-\t-\t-\tno limits apply", cell(bucket.Entity)))
		}
		for _, l := range bucket.Limits {
			full := "now"
			if l.FullAfterSeconds > 0 {
				d := time.Duration(l.FullAfterSeconds * float64(time.Second))
				full = "in " + max(d.Round(time.Second), time.Second).String()
			}
			rows = append(rows, fmt.Sprintf("%s\t%s %s\t%d\t%d\t%s\t%s", cell(bucket.Entity), l.Name, l.Text, l.Balance, l.Burst, full, bucket.Level))
		}
	}
	if len(b.Buckets) == 0 {
		rows = append(rows, cell(b.Entity)+"\t-\t-\t-\t-\tno limits apply")
	}
	return printTable(w.c.OutOrStdout(), rows)
}
