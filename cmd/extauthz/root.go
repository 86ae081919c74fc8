package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// run runs one command line and returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot() //nolint:contextcheck // a command has the context that it is executed with
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	return complain(stderr, command, args, err)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "extauthz",
		Short: "Exact rate limits for Envoy, Istio and API gateways",
		Long: `extauthz answers Envoy's rate limit service and ext_authz: it maps each request
to an entity and a resource, charges the token bucket of that pair, and says
allowed, or 429 with an exact Retry-After.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		Version:       versionLine(),

		SuggestionsMinimumDistance: 2,
	}
	root.SetVersionTemplate("{{.Version}}")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if !c.HasSubCommands() {
			return err
		}
		// Of `valdiate -c FILE` it is the command that isn't known.
		return cmp.Or(c.Args(c, c.Flags().Args()), err)
	})
	root.AddCommand(newServe(), newValidate(), newExplain(), newVersion(),
		newSystem(), newResource(), newTier(), newEntity(), newNamespace(), newLimits(), newBalance(), newAudit(), newDenials(), newTop(), newUsage(), newImport(),
		newDeploy(), newStatus(), newList(), newDelete(), newCfnTemplate(), newLambdaExport(), newCost())
	// Cobra's own commands print their help for what they don't know, as if that
	// were done.
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = noSuchTopic
		case "completion":
			c.Args, c.RunE = noArgs, func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
	return root
}

// noSuchTopic refuses help about what isn't a command.
func noSuchTopic(c *cobra.Command, args []string) error {
	if found, rest, err := c.Root().Find(args); err == nil && found != c.Root() && len(rest) == 0 || len(args) == 0 {
		return nil
	}
	return noSuchCommand(c.Root(), []string{strings.Join(args, " ")})
}

// laterCommands come with later work. They are refused by name, so that nobody
// looks for a misspelling.
var laterCommands = []string{
	"check",
}

// noSuchCommand refuses what isn't a command of the program, or of a group.
func noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !c.HasParent() && slices.Contains(laterCommands, args[0]) {
		return usage("see extauthz --help for those that are", "the command %q is not supported yet", args[0])
	}
	path := c.CommandPath()
	hint := "see " + path + " --help"
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean " + path + " " + strings.Join(near, " or "+path+" ") + "?"
	}
	return usage(hint, "there is no command %q", strings.TrimPrefix(path+" "+args[0], "extauthz "))
}

// noArgs refuses what isn't a flag.
func noArgs(c *cobra.Command, args []string) error { return exactly()(c, args) }

// output is a form of what is printed.
type output string

const (
	asTable output = "table"
	asJSON  output = "json"
	asCSV   output = "csv"
)

// addOutput adds --output to a command: table, json, and what other forms it has.
func addOutput(c *cobra.Command, more ...output) *output {
	f := &formFlag{form: asTable, forms: append([]output{asTable, asJSON}, more...)}
	c.Flags().VarP(f, "output", "o", "`form` of what is printed: "+f.choice())
	names := make([]cobra.Completion, len(f.forms))
	for i, o := range f.forms {
		names[i] = string(o)
	}
	// Only a flag that isn't there can't be given completions.
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	return &f.form
}

// formFlag is the value of --output.
type formFlag struct {
	form  output
	forms []output
}

// choice is what it may be, in words.
func (f *formFlag) choice() string {
	last := len(f.forms) - 1
	s := string(f.forms[0])
	for _, o := range f.forms[1:last] {
		s += ", " + string(o)
	}
	return s + " or " + string(f.forms[last])
}

// String is the form's name.
func (f *formFlag) String() string { return string(f.form) }

// Type is what help calls the value.
func (f *formFlag) Type() string { return "form" }

// Set takes a form by its name.
func (f *formFlag) Set(s string) error {
	if !slices.Contains(f.forms, output(s)) {
		return errors.New("it is " + f.choice())
	}
	f.form = output(s)
	return nil
}

// printJSON prints a value as JSON.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// printf prints. That nobody reads it is no reason to fail.
func printf(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}
