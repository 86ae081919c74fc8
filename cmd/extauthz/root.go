package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/server"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitDenied = 3
)

// failure is an error with a line that says what to do. An empty text: it has
// been printed.
type failure struct {
	text, hint string
	status     int
}

func (f *failure) Error() string { return f.text }

// run runs one command line and returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	return complain(stderr, command, err)
}

// complain prints an error and what to do about it.
func complain(stderr io.Writer, command *cobra.Command, err error) int {
	text, hint, exit := err.Error(), "", exitFailed
	var f *failure
	var e *server.Error
	switch {
	case errors.As(err, &f):
		hint, exit = f.hint, f.status
	case errors.As(err, &e):
		hint = e.Hint
	case command != nil:
		hint = "see " + command.CommandPath() + " --help"
	}
	if text != "" {
		printf(stderr, "extauthz: %s\n", text)
	}
	if hint != "" {
		printf(stderr, "hint: %s\n", hint)
	}
	return exit
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
	}
	root.AddCommand(newServe(), newValidate(), newExplain(), newVersion())
	return root
}

// laterCommands come with later work. They are refused by name, so that nobody
// looks for a misspelling.
var laterCommands = []string{
	"audit", "check", "delete", "deploy", "entity", "entities", "import", "limits", "namespace", "namespaces",
	"resource", "status", "system", "tiers", "usage",
}

// noSuchCommand refuses what isn't a command.
func noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	for _, later := range laterCommands {
		if args[0] == later {
			return &failure{text: fmt.Sprintf("the command %q is not supported yet", later), hint: "see extauthz --help for those that are", status: exitFailed}
		}
	}
	hint := "see extauthz --help"
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return &failure{text: fmt.Sprintf("there is no command %q", args[0]), hint: hint, status: exitFailed}
}

// noArgs refuses what isn't a flag.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%s takes no argument %q", c.CommandPath(), args[0])
}

// output is the value of --output.
type output string

const (
	asTable output = "table"
	asJSON  output = "json"
)

// addOutput adds --output to a command.
func addOutput(c *cobra.Command) *output {
	o := asTable
	c.Flags().VarP(&o, "output", "o", "`form` of what is printed: table or json")
	// Only a flag that isn't there can't be given completions.
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{string(asTable), string(asJSON)}, cobra.ShellCompDirectiveNoFileComp))
	return &o
}

// String is the form's name.
func (o *output) String() string { return string(*o) }

// Type is what help calls the value.
func (o *output) Type() string { return "form" }

// Set takes a form by its name.
func (o *output) Set(s string) error {
	if v := output(s); v == asTable || v == asJSON {
		*o = v
		return nil
	}
	return errors.New("it is table or json")
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
