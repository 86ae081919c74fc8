package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/admin"
)

// byHand makes a command that changes a bucket by hand.
func byHand(c *cobra.Command, o *admin.Operation, check func() error) *cobra.Command {
	c.Args = exactly("ENTITY")
	fs := c.Flags()
	fs.StringVarP(&o.Resource, "resource", "r", "", "the `resource` of the bucket")
	fs.StringVar(&o.ID, "idempotency-key", "", "a `key`: a second operation with the same is not made")
	return onSession(c, func(w *work, args []string) error {
		if o.Resource == "" {
			return usage("name it with --resource", "nothing says of which resource")
		}
		if err := check(); err != nil {
			return err
		}
		o.Entity = args[0]
		done, err := w.Operate(w.ctx(), o)
		if err != nil || w.form == asJSON {
			return orJSON(w, done, err)
		}
		return w.operated(done)
	})
}

// operated prints what came of an operation.
func (w *work) operated(d *admin.Operated) error {
	switch {
	case d.Repeated:
		printf(w.c.ErrOrStderr(), "it was made before, and not again\n")
	case d.Absent:
		printf(w.c.ErrOrStderr(), "there is no such bucket: what isn't there is full\n")
	}
	return w.balance(d.Balance)
}

func newEntityReset() *cobra.Command {
	c := &cobra.Command{
		Use: "reset ENTITY -r RESOURCE [-l LIMIT ...]", Short: "Fill an entity's bucket",
		Long: `reset fills the limits of an entity's bucket for a resource, and forgives its debt.
What was used stays counted.`,
		Example: "  extauthz entity reset user-123 -r gpt-4 --idempotency-key ticket-4711",
	}
	o := &admin.Operation{Action: admin.ActionReset}
	c.Flags().StringArrayVarP(&o.Limits, "limit", "l", nil, "this `limit` alone; again for more of them")
	return byHand(c, o, func() error { return nil })
}

func newEntityTopUp() *cobra.Command {
	c := &cobra.Command{
		Use: "top-up ENTITY -r RESOURCE --add LIMIT:TOKENS ...", Short: "Add tokens to an entity's bucket",
		Long: `top-up adds tokens to limits of an entity's bucket for a resource. A bucket holds
no more than its burst: what doesn't fit is lost.`,
		Example: "  extauthz entity top-up user-123 -r gpt-4 --add tpm:50000 --idempotency-key order-42",
	}
	o := &admin.Operation{Action: admin.ActionTopUp, Add: map[string]int64{}}
	add := c.Flags().StringArrayP("add", "a", nil, "how much of which limit, `LIMIT:TOKENS`; again for more of them")
	return byHand(c, o, func() error {
		if len(*add) == 0 {
			return usage("add --add, as in --add tpm:50000", "nothing says how much to add")
		}
		for _, text := range *add {
			name, tokens, ok := strings.Cut(text, ":")
			n, err := strconv.ParseInt(tokens, 10, 64)
			if !ok || err != nil || n < 1 {
				return usage("as in --add tpm:50000", "--add %q is not LIMIT:TOKENS", text)
			}
			if o.Add[name] != 0 {
				return usage("leave one out", "--add names the limit %q twice", name)
			}
			o.Add[name] = n
		}
		return nil
	})
}
