package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/internal/zaelimiter"
)

func newImport() *cobra.Command {
	return group("import", "Limits from another system", "", newImportZaeLimiter(), newImportRatelimit())
}

// importFlags say what is imported.
type importFlags struct {
	from   zaelimiter.Source
	name   string // of the one namespace
	dryRun bool
	force  bool
}

func newImportZaeLimiter() *cobra.Command {
	c := &cobra.Command{
		Use: "zae-limiter", Short: "Namespaces, entities and limits from a table of zae-limiter", Args: noArgs,
		Long: `zae-limiter reads a table of the Python system of that name and brings its
namespaces, entities and limits to --stack, or to the service at --server. The
table it comes from is only scanned, never changed.

It shows what it would change and what can't be said here, asks, and changes it. A
second time it writes what has changed there meanwhile, and no more. Balances,
usage and audit events are not imported: every bucket starts full.`,
	}
	f := importFlags{}
	fs := c.Flags()
	fs.StringVar(&f.from.Table, "from", "zae-limiter", "the `table` to read: the name of zae-limiter's stack")
	fs.StringVar(&f.from.Region, "from-region", "", "AWS `region` of the table to read (default that of --region)")
	fs.StringVar(&f.from.EndpointURL, "from-endpoint-url", "", "`URL` of the DynamoDB to read from (default that of --endpoint-url)")
	fs.StringVar(&f.name, "from-namespace", "", "import this namespace alone, by its `name` there; --namespace says what it is called here")
	fs.BoolVar(&f.dryRun, "dry-run", false, "show what would be changed, and change nothing")
	fs.BoolVar(&f.force, "force-conflicts", false, "take items that another manager has")
	addYes(c)
	var o zaelimiter.Options
	c.PreRunE = func(c *cobra.Command, _ []string) (err error) {
		o, err = f.options(c)
		return err
	}
	return onSession(c, func(w *work, _ []string) error { return f.run(w, o) })
}

// options are those that the flags stand for. What is refused here is refused
// before anything is opened: opening a table of this program's marks it.
func (f *importFlags) options(c *cobra.Command) (zaelimiter.Options, error) {
	o := zaelimiter.Options{From: f.name, Force: f.force}
	flag := func(name string) string { return c.Flags().Lookup(name).Value.String() }
	if c.Flags().Changed("namespace") {
		if o.Into = flag("namespace"); f.name == "" {
			return o, usage("name the one to import with --from-namespace", "--namespace is what one namespace is called here")
		}
	}
	stack := cmp.Or(flag("stack"), os.Getenv("EXTAUTHZ_STACK"))
	if stack == f.from.Table && flag("server") == "" && f.from.Region == "" && f.from.EndpointURL == "" {
		return o, usage("--from names zae-limiter's stack, --stack the one here", "%s would be read from and written to", shown(stack))
	}
	return o, nil
}

func (f *importFlags) run(w *work, o zaelimiter.Options) error {
	contents, planned, err := f.plan(w, o)
	if err != nil {
		return err
	}
	info := importInfo{From: f.from.Table, DryRun: f.dryRun, Namespaces: []importedInfo{}, Losses: append([]zaelimiter.Loss{}, contents.AllLosses()...)}
	if err := w.imports(planned, info.Losses); err != nil {
		return err
	}
	changes := 0
	for _, p := range planned {
		if err := admin.Conflict(p.Plan); err != nil {
			return err
		}
		info.Namespaces = append(info.Namespaces, importedInfo{From: p.From, Namespace: p.Into, New: p.New, Plan: admin.InfoOfPlan(p.Plan)})
		if changes += len(p.Plan.Steps); p.New {
			changes++
		}
	}
	if !f.dryRun {
		if err := w.bring(planned, info.Namespaces, changes); err != nil {
			return err
		}
	}
	switch {
	case w.form == asJSON:
		return printJSON(w.c.OutOrStdout(), info)
	case !f.dryRun:
		printf(w.c.OutOrStdout(), "%s made\n", count(changes, "change"))
	}
	return nil
}

// plan reads the table and compares it with what is here.
func (f *importFlags) plan(w *work, o zaelimiter.Options) (*zaelimiter.Contents, []zaelimiter.Planned, error) {
	from := f.from
	if w.target.Stack != "" {
		from.Region = cmp.Or(from.Region, w.target.Region)
		from.EndpointURL = cmp.Or(from.EndpointURL, w.target.EndpointURL)
	}
	table, err := zaelimiter.Open(w.ctx(), from, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, &failure{code: admin.CodeStore, text: err.Error(), status: exitFailed}
	}
	contents, err := zaelimiter.Read(w.ctx(), table, from.Table)
	if bad := new(zaelimiter.TableError); errors.As(err, &bad) {
		return nil, nil, &failure{code: admin.CodeStore, text: err.Error(), hint: bad.Hint, status: exitFailed}
	}
	if err != nil {
		return nil, nil, err
	}
	planned, err := contents.Plan(w.ctx(), w, o)
	if none := new(zaelimiter.NameError); errors.As(err, &none) {
		return nil, nil, &failure{code: admin.CodeNotFound, text: err.Error(), hint: "without --from-namespace all are imported", status: exitFailed}
	}
	return contents, planned, err
}

// bring asks, and makes the changes that are planned.
func (w *work) bring(planned []zaelimiter.Planned, infos []importedInfo, changes int) error {
	if changes == 0 {
		return nil
	}
	if err := w.confirm(fmt.Sprintf("make %s?", count(changes, "change"))); err != nil {
		return err
	}
	for i, p := range planned {
		done, err := p.Apply(w.ctx(), w, w.Cause(w.ctx()), w.progress(len(p.Plan.Steps)))
		if err != nil {
			printf(w.c.ErrOrStderr(), "%d of %s made in the namespace %s; the same command goes on from there\n", done, count(len(p.Plan.Steps), "change"), shown(p.Into))
			return err
		}
		infos[i].Plan.Applied = done
	}
	return nil
}

// imports prints for people what is to be done and what can't be.
func (w *work) imports(planned []zaelimiter.Planned, losses []zaelimiter.Loss) error {
	if w.form == asJSON {
		return nil
	}
	out := w.c.OutOrStdout()
	for i, p := range planned {
		if i > 0 {
			printf(out, "\n")
		}
		note := ""
		if p.New {
			note = ", to be registered"
		}
		printf(out, "namespace %s%s, from %s:\n", shown(p.Into), note, shown(p.From))
		if err := w.plan(p.Plan); err != nil {
			return err
		}
	}
	if len(losses) == 0 {
		return nil
	}
	printf(out, "\nnot as it is there:\n")
	rows := make([]string, len(losses))
	for i, l := range losses {
		feature := l.Feature
		if l.Limit != "" {
			feature += " " + shown(l.Limit)
		}
		rows[i] = fmt.Sprintf("  %s\t%s\t%s\t%s", cell(l.Namespace), l.Target, feature, shown(l.Detail))
	}
	return printTable(out, rows)
}

// importInfo is an import in JSON.
type importInfo struct {
	From       string            `json:"from"` // the table
	DryRun     bool              `json:"dry_run"`
	Namespaces []importedInfo    `json:"namespaces"`
	Losses     []zaelimiter.Loss `json:"losses"`
}

type importedInfo struct {
	From      string          `json:"from"`
	Namespace string          `json:"namespace"`
	New       bool            `json:"new"`
	Plan      *admin.PlanInfo `json:"plan"`
}
