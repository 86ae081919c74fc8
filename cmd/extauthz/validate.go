package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/dropin"
)

func newValidate() *cobra.Command {
	c := &cobra.Command{
		Use:   "validate -c FILE | --ratelimit-config FOLDER",
		Short: "Every error and warning in a configuration file",
		Long: `validate checks a configuration file as serve does, and prints everything that
is wrong or doubtful, each with its line and a caret. The exit status is 1 where
there are errors, 0 where there are warnings alone.

With --ratelimit-config it checks the files of a folder of envoyproxy/ratelimit's.`,
		Example: `  extauthz validate -c extauthz.yaml
  extauthz validate --ratelimit-config ./config`,
		Args: noArgs,
	}
	path := c.Flags().StringP("config", "c", "", "configuration `file`")
	folder := c.Flags().String("ratelimit-config", "", "`folder` of envoyproxy/ratelimit's files")
	merge := addMerge(c)
	form := addOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		switch {
		case *path != "" && *folder != "":
			return usage("validate one after the other", "--config and --ratelimit-config are both given")
		case *folder != "":
			rules, report := config.LoadRatelimit(*folder, dropin.Options{Namespace: "default", MergeDomains: *merge})
			return validated(c, *form, *folder, report, func() string { return count(rules.Limits(), "limit") })
		case *path == "":
			return usage("extauthz validate -c FILE", "no file is named")
		}
		loaded, report := config.Load(*path, config.Options{})
		return validated(c, *form, *path, report, func() string { return count(len(loaded.Rules.All()), "rule") })
	}
	return c
}

// validated prints what was found in a configuration, and what it has
// where it can be used.
func validated(c *cobra.Command, form output, path string, report *config.Report, has func() string) error {
	if form == asJSON {
		if err := printJSON(c.OutOrStdout(), problemsOf(report)); err != nil {
			return err
		}
	} else {
		printf(c.OutOrStdout(), "%s", report)
	}
	if report.Err() != nil {
		return invalid(path, report)
	}
	if form == asTable {
		printf(c.OutOrStdout(), "%s is valid: %s, %s\n", path, has(), count(report.Warnings(), "warning"))
	}
	return nil
}

// invalid is the error for a configuration whose problems have been printed.
func invalid(path string, report *config.Report) error {
	what := path
	if what == "" {
		what = "the configuration"
	}
	return &failure{
		code:   codeConfiguration,
		text:   fmt.Sprintf("%s can't be used: %s, %s", what, count(report.Errors(), "error"), count(report.Warnings(), "warning")),
		hint:   "put right what is said above, and repeat the command",
		status: exitFailed,
	}
}

// count is a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// problems are those of a report as JSON.
type problems struct {
	Items    []problem `json:"items"`
	Errors   int       `json:"errors"`
	Warnings int       `json:"warnings"`
}

type problem struct {
	Severity string `json:"severity"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	Origin   string `json:"origin,omitempty"` // where it is when it isn't in the file
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"`
}

func problemsOf(report *config.Report) problems {
	all := problems{Items: make([]problem, len(report.Problems)), Errors: report.Errors(), Warnings: report.Warnings()}
	for i := range report.Problems {
		p := &report.Problems[i]
		all.Items[i] = problem{
			Severity: "error", File: p.Pos.File, Line: p.Pos.Line, Column: p.Pos.Column,
			Origin: p.Origin, Message: p.Message, Hint: p.Hint,
		}
		if p.Warning {
			all.Items[i].Severity = "warning"
		}
	}
	return all
}
