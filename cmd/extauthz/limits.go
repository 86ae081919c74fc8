package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/pkg/hierarchy"
)

func newLimits() *cobra.Command {
	return group("limits", "Limits that are kept in a file", `A manifest is what stands under "limits:" in a configuration file, and the name of
its manager. What a manifest has made carries that name: apply changes and removes
these items and no others.

  manager: platform-team
  system: {limits: {rpm: 100/min}}
  entities:
    user-premium: {tier: gold, resources: {gpt-4: {limits: {rpm: 700/min}}}}`,
		newLimitsPlan(), newLimitsApply(), newLimitsExport())
}

// manifestFlags are those of plan and apply.
type manifestFlags struct {
	file  string
	force bool
}

func addManifest(c *cobra.Command) *manifestFlags {
	var f manifestFlags
	c.Flags().StringVarP(&f.file, "file", "f", "", "the manifest, a `file`; - is standard input")
	c.Flags().BoolVar(&f.force, "force-conflicts", false, "take items that another manager has")
	return &f
}

// plan reads the manifest and compares it.
func (f *manifestFlags) plan(w *work) (*hierarchy.Plan, error) {
	if f.file == "" {
		return nil, usage(w.c.CommandPath()+" -f FILE", "no file is named")
	}
	m, report := config.LoadManifest(f.file, w.c.InOrStdin())
	if w.form == asTable {
		printf(w.c.ErrOrStderr(), "%s", report)
	}
	if report.Err() != nil {
		e := invalid(f.file, report)
		if w.form == asJSON {
			e = &failure{code: codeConfiguration, text: report.Err().Error(), hint: "extauthz limits plan -f " + f.file + " shows them all", status: exitFailed}
		}
		return nil, e
	}
	return w.Plan(w.ctx(), m, f.force)
}

func newLimitsPlan() *cobra.Command {
	c := &cobra.Command{
		Use: "plan -f FILE", Short: "What apply would change", Args: noArgs,
		Long: `plan compares a manifest with what the store says, and changes nothing. With
--detailed-exitcode the exit status is 2 where there is something to change.`,
	}
	f := addManifest(c)
	detailed := c.Flags().Bool("detailed-exitcode", false, "exit with 2 when there is something to change")
	return onSession(c, func(w *work, _ []string) error {
		p, err := f.plan(w)
		if err != nil {
			return err
		}
		if err := w.plan(p); err != nil {
			return err
		}
		if err := admin.Conflict(p); err != nil {
			return err
		}
		if *detailed && len(p.Steps) > 0 {
			return &failure{status: exitChanges}
		}
		return nil
	})
}

func newLimitsApply() *cobra.Command {
	c := &cobra.Command{
		Use: "apply -f FILE", Short: "Make the store say what a manifest does", Args: noArgs,
		Long: `apply shows what it would change, asks, and changes it, some items at a time. What
was interrupted is resumed by the same command; a second time nothing is written.`,
	}
	f := addManifest(c)
	addYes(c)
	return onSession(c, func(w *work, _ []string) error {
		p, err := f.plan(w)
		if err == nil {
			err = admin.Conflict(p)
		}
		if err != nil {
			return err
		}
		if w.form == asTable {
			if err := w.plan(p); err != nil {
				return err
			}
		}
		if len(p.Steps) > 0 {
			if err := w.confirm(fmt.Sprintf("make %s?", count(len(p.Steps), "change"))); err != nil {
				return err
			}
		}
		done, err := w.Apply(w.ctx(), p, w.progress(len(p.Steps)))
		if err != nil {
			printf(c.ErrOrStderr(), "%d of %s made; the same command goes on from there\n", done, count(len(p.Steps), "change"))
			return err
		}
		if w.form == asJSON {
			info := admin.InfoOfPlan(p)
			info.Applied = done
			return printJSON(c.OutOrStdout(), info)
		}
		printf(c.OutOrStdout(), "%s made\n", count(done, "change"))
		return nil
	})
}

// tellEvery is how often a log is told that something goes on.
const tellEvery = 2 * time.Second

// progress tells people how far what is long has come.
func (w *work) progress(all int) func(done int) {
	if w.form == asJSON {
		return nil
	}
	stderr := w.c.ErrOrStderr()
	f, ok := stderr.(*os.File)
	terminal := ok && term.IsTerminal(int(f.Fd()))
	last := time.Now()
	return func(done int) {
		switch {
		case terminal:
			printf(stderr, "\r%d of %d", done, all)
			if done == all {
				printf(stderr, "\n")
			}
		case time.Since(last) >= tellEvery:
			last = time.Now()
			printf(stderr, "%d of %d\n", done, all)
		}
	}
}

// plan prints what has to be done.
func (w *work) plan(p *hierarchy.Plan) error {
	info := admin.InfoOfPlan(p)
	if w.form == asJSON {
		return printJSON(w.c.OutOrStdout(), info)
	}
	var rows []string
	for _, s := range info.Changes {
		switch {
		case s.Before == nil:
			rows = append(rows, fmt.Sprintf("  + %s\t%s", s.Target, says(s.After)))
		case s.After == nil:
			rows = append(rows, fmt.Sprintf("  - %s\t%s", s.Target, says(s.Before)))
		case s.Before.Manager != s.After.Manager:
			rows = append(rows, fmt.Sprintf("  ~ %s\t%s -> %s, managed by %s, was by %s",
				s.Target, says(s.Before), says(s.After), shown(s.After.Manager), managedBy(s.Before.Manager)))
		default:
			rows = append(rows, fmt.Sprintf("  ~ %s\t%s -> %s", s.Target, says(s.Before), says(s.After)))
		}
	}
	for _, c := range info.Conflicts {
		rows = append(rows, fmt.Sprintf("  ! %s\tmanaged by %s", c.Target, shown(c.Manager)))
	}
	if len(rows) > 0 {
		if err := printTable(w.c.OutOrStdout(), rows); err != nil {
			return err
		}
	}
	printf(w.c.OutOrStdout(), "%d to create, %d to update, %d to delete, %d unchanged\n", info.Created, info.Updated, info.Deleted, info.Unchanged)
	return nil
}

func managedBy(manager string) string {
	if manager == "" {
		return "nobody"
	}
	return shown(manager)
}

func newLimitsExport() *cobra.Command {
	c := &cobra.Command{
		Use: "export", Short: "Print what the store says as a manifest", Args: noArgs,
		Long: `export prints what apply reads: all that the namespace says, or what one manager
has of it. As JSON it is the same text in an object.`,
	}
	manager := c.Flags().String("manager", "", "what this `manager` has, alone")
	return onSession(c, func(w *work, _ []string) error {
		m, err := w.Export(w.ctx(), *manager)
		if err != nil {
			return err
		}
		return w.manifest(m)
	})
}

// exported is a manifest in JSON.
type exported struct {
	Manager  string   `json:"manager"`
	Manifest string   `json:"manifest"` // the YAML
	LeftOut  []string `json:"left_out"` // names that YAML has no form for
}

// manifest prints a manifest.
func (w *work) manifest(m hierarchy.Manifest) error {
	var text strings.Builder
	leftOut, err := config.WriteManifest(&text, m)
	if err != nil {
		return err
	}
	if w.form == asJSON {
		return printJSON(w.c.OutOrStdout(), exported{m.Manager, text.String(), append([]string{}, leftOut...)})
	}
	for _, name := range leftOut {
		printf(w.c.ErrOrStderr(), "left out, as YAML has no form for it: %q\n", name)
	}
	printf(w.c.OutOrStdout(), "%s", text.String())
	return nil
}
