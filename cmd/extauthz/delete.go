package main

import (
	"cmp"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/stack"
)

// deleted is what became of a deletion, in JSON.
type deleted struct {
	Name    string   `json:"name"`
	Items   *int64   `json:"items,omitempty"`
	Buckets []string `json:"buckets"`
}

func newDelete() *cobra.Command {
	c := &cobra.Command{
		Use: "delete", Short: "Remove a deployment with all that is in it, for ever", Args: noArgs,
		Long: `delete removes a stack: the table with all balances, limits, usage and audit, and
the archive of the audit, whose bucket it empties. There is no way back. A table
that is protected stops it; extauthz deploy --no-deletion-protection lets go of
that. It may be repeated after an interruption.`,
		Example: `  extauthz delete --name my-app --region us-east-1 --yes`,
	}
	p := addPlace(c, true)
	form := addOutput(c)
	addYes(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if cmp.Or(p.name, os.Getenv("EXTAUTHZ_STACK")) == "" {
			return usage("name it with --name; extauthz list says which there are", "no stack is named")
		}
		result := deleted{Buckets: []string{}}
		return p.onStack(c, *form, func(s *stack.Stack) error {
			err := s.Delete(c.Context(), func(l stack.Loss) error {
				result.Name, result.Buckets = l.State.Name, append(result.Buckets, l.Buckets...)
				if l.Items >= 0 {
					result.Items = &l.Items
				}
				if *form == asTable {
					printLoss(c, &l)
				}
				return confirm(c, fmt.Sprintf("delete the stack %s with all balances, limits, usage and audit, for ever?", shown(l.State.Name)))
			})
			switch {
			case err != nil:
				return err
			case *form == asJSON:
				return printJSON(c.OutOrStdout(), result)
			}
			printf(c.OutOrStdout(), "the stack %s is gone\n", shown(result.Name))
			return nil
		})
	}
	return c
}

func printLoss(c *cobra.Command, l *stack.Loss) {
	w, items := c.ErrOrStderr(), "an unknown number of items"
	if l.Items >= 0 {
		items = count(int(l.Items), "item") + ", as counted some hours ago"
	}
	printf(w, "deleting the stack %s loses, for ever:\n", shown(l.State.Name))
	printf(w, "  the table with all balances, limits, usage and audit (%s)\n", items)
	for _, b := range l.Buckets {
		printf(w, "  all that is in the bucket %s\n", b)
	}
}
