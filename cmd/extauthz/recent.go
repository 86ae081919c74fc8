package main

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/internal/recent"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// memory is what the commands about a running process have in common: what it
// remembers is nowhere but there.
type memory struct {
	server, namespace string
	form              *output
}

func addMemory(c *cobra.Command) *memory {
	m := &memory{form: addOutput(c)}
	fs := c.Flags()
	fs.StringVar(&m.server, "server", "", "admin `address` of a running service: host:port or unix:/path (also EXTAUTHZ_SERVER; default "+defaultServer+")")
	fs.StringVarP(&m.namespace, "namespace", "n", "", "of the namespace of this `name` alone (default: of all)")
	return m
}

// client asks the service; a namespace that can't be is refused.
func (m *memory) client() (*admin.Client, error) {
	if m.namespace != "" {
		if err := ratelimit.CheckNamespace(m.namespace); err != nil {
			return nil, usage("see extauthz namespace list", "--namespace: %s", err)
		}
	}
	return admin.NewClient(cmp.Or(m.server, os.Getenv("EXTAUTHZ_SERVER"), defaultServer)), nil
}

func newDenials() *cobra.Command {
	return group("denials", "Who was denied lately, and why", "", newDenialsList())
}

func newDenialsList() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List the last denials of a running service, newest first", Args: noArgs,
		Long: `list shows the last calls that one running service has denied: by which rule, whom,
and which limit was short. The service remembers 1,024 of them, and of many takes a
sample: of one rule and bucket one a second, of all together 64.`,
		Example: "  extauthz denials list --entity user-123",
	}
	m, page := addMemory(c), addPage(c)
	q := admin.DenialsQuestion{}
	fs := c.Flags()
	fs.StringVarP(&q.Entity, "entity", "e", "", "of this `entity` alone, denied itself or for its children")
	fs.StringVarP(&q.Resource, "resource", "r", "", "of this `resource` alone")
	fs.StringVar(&q.Rule, "rule", "", "by the rule of this `name` alone")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkPage(page); err != nil {
			return err
		}
		client, err := m.client()
		if err != nil {
			return err
		}
		q.Namespace, q.Page = m.namespace, *page
		d, err := client.Denials(c.Context(), q)
		if err != nil {
			return told(err, m.namespace)
		}
		return printDenials(c, *m.form, d)
	}
	return c
}

func printDenials(c *cobra.Command, form output, d *admin.Denials) error {
	if form == asJSON {
		return printJSON(c.OutOrStdout(), d)
	}
	rows := []string{"TIME\tNAMESPACE\tENTITY\tRESOURCE\tLIMIT\tRULE\tREASON\tRETRY AFTER\tSOURCE"}
	for i := range d.Items {
		n := &d.Items[i]
		entity, limit, reason, wait := cell(string(n.Entity)), "-", shown(n.Reason), "-"
		if n.Parent != "" {
			entity += " (by " + shown(string(n.Parent)) + ")"
		}
		if n.Limit != nil {
			limit = n.Limit.Name + " " + n.Limit.Text
		}
		if n.Shadow {
			reason += " (shadow)"
		}
		if n.Error != "" {
			reason += ": " + shown(n.Error)
		}
		if n.RetryAfterSeconds > 0 {
			wait = time.Duration(n.RetryAfterSeconds * float64(time.Second)).Round(time.Millisecond).String()
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", stamp(n.At), cell(n.Namespace), entity,
			cell(string(n.Resource)), limit, cell(n.Rule), reason, wait, cell(n.Source)))
	}
	return printPart(c, rows, d.Next)
}

func newTop() *cobra.Command {
	c := &cobra.Command{
		Use: "top [--by denials|consumption]", Short: "The entities that a running service denies most, or that take most", Args: noArgs,
		Long: `top ranks entities by what one running service has decided in the last ten to
twenty minutes: by denials, or by the tokens that they have taken of each limit.
Where there are many entities the counts are bounds: at least and at most so much.`,
		Example: "  extauthz top --by consumption --limit 5",
	}
	m := addMemory(c)
	by := recent.ByDenials
	fs := c.Flags()
	fs.Var((*ranking)(&by), "by", "what to rank by: `denials` or consumption")
	n := fs.Int("limit", defaultTop, "how many at most, of each limit: a `number` from 1 to 1000")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkPage(&hierarchy.Page{Limit: *n}); err != nil {
			return err
		}
		client, err := m.client()
		if err != nil {
			return err
		}
		t, err := client.Top(c.Context(), admin.TopQuestion{By: by, Namespace: m.namespace, Limit: *n})
		if err != nil {
			return told(err, m.namespace)
		}
		return printTop(c, *m.form, t)
	}
	return c
}

// defaultTop is how many entities are ranked where nothing says.
const defaultTop = 10

func printTop(c *cobra.Command, form output, t *admin.Top) error {
	if form == asJSON {
		return printJSON(c.OutOrStdout(), t)
	}
	header := "NAMESPACE\tENTITY\tDENIALS"
	if t.By == string(recent.ByConsumption) {
		header = "LIMIT\tNAMESPACE\tENTITY\tTOKENS"
	}
	rows := []string{header}
	for i := range t.Items {
		r := &t.Items[i]
		row := fmt.Sprintf("%s\t%s\t%d", cell(r.Namespace), cell(string(r.Entity)), r.AtLeast)
		if r.AtMost > r.AtLeast {
			row += fmt.Sprintf(" to %d", r.AtMost)
		}
		if r.Limit != "" {
			row = shown(r.Limit) + "\t" + row
		}
		rows = append(rows, row)
	}
	if err := printTable(c.OutOrStdout(), rows); err != nil {
		return err
	}
	printf(c.ErrOrStderr(), "since %s\n", stamp(t.Since))
	return nil
}

// ranking is the value of --by.
type ranking recent.By

// String is the ranking's name.
func (r *ranking) String() string { return string(*r) }

// Type is what help calls the value.
func (r *ranking) Type() string { return "ranking" }

// Set takes a ranking by its name.
func (r *ranking) Set(s string) error {
	if by := recent.By(s); by == recent.ByDenials || by == recent.ByConsumption {
		*r = ranking(by)
		return nil
	}
	return fmt.Errorf("it is %s or %s", recent.ByDenials, recent.ByConsumption)
}
