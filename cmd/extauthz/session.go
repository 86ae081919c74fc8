package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// defaultServer is asked where nothing names a table or a service.
const defaultServer = "127.0.0.1:6070"

// work is one command at work.
type work struct {
	*admin.Session
	target admin.Target

	c    *cobra.Command
	form output
}

// ctx is the command's.
func (w *work) ctx() context.Context { return w.c.Context() }

// onSession makes a command of what works on a namespace's configuration; more are
// forms that it prints beside tables and JSON.
func onSession(c *cobra.Command, run func(w *work, args []string) error, more ...output) *cobra.Command {
	t := addTarget(c)
	c.Flags().StringVarP(&t.Namespace, "namespace", "n", "", "`name` of the namespace (also EXTAUTHZ_NAMESPACE; default "+ratelimit.DefaultNamespace+")")
	return onTarget(c, t, run, more...)
}

// onStore makes a command of what works on namespaces themselves, which its
// arguments name: it has no --namespace, which might name another.
func onStore(c *cobra.Command, run func(w *work, args []string) error) *cobra.Command {
	return onTarget(c, addTarget(c), run)
}

func onTarget(c *cobra.Command, t *admin.Target, run func(w *work, args []string) error, more ...output) *cobra.Command {
	form := addOutput(c, more...)
	c.RunE = func(c *cobra.Command, args []string) error {
		target, err := resolve(*t, c.Flags().Changed)
		if err != nil {
			return err
		}
		s, err := admin.Open(c.Context(), target, slog.New(slog.DiscardHandler))
		if err != nil {
			return told(err, "")
		}
		w := &work{Session: s, target: target, c: c, form: *form}
		return told(errors.Join(run(w, args), s.Close()), target.Namespace)
	}
	return c
}

// told is an error as a failure that says what to do; namespace is the one that
// was worked on.
func told(err error, namespace string) error {
	var f *failure
	if err == nil || errors.As(err, &f) {
		return err
	}
	p := admin.Describe(err)
	if p.Code == admin.CodeUnknownNamespace && p.Hint == "" {
		p.Hint = "extauthz namespace register " + namespace + ", or see extauthz namespace list"
	}
	return &failure{code: p.Code, text: p.Message, hint: p.Hint, status: exitFailed}
}

// addTarget adds the flags that say where the configuration is.
func addTarget(c *cobra.Command) *admin.Target {
	var t admin.Target
	fs := c.Flags()
	fs.StringVar(&t.Server, "server", "", "admin `address` of a running service: host:port or unix:/path (also EXTAUTHZ_SERVER; default "+defaultServer+")")
	fs.StringVar(&t.Stack, "stack", "", "work on the table of this `name`; --name says it too (also EXTAUTHZ_STACK)")
	fs.StringVar(&t.Region, "region", "", "AWS `region` of the table (also EXTAUTHZ_STORE_REGION)")
	fs.StringVar(&t.EndpointURL, "endpoint-url", "", "`URL` of a DynamoDB elsewhere (also EXTAUTHZ_ENDPOINT_URL)")
	fs.StringVar(&t.As, "as", "", "whom you act for: a `name` that the audit has beside yours")
	fs.SetNormalizeFunc(nameIsStack)
	return &t
}

// nameIsStack takes --name, as a stack's name is called elsewhere, for --stack.
func nameIsStack(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if name == "name" {
		name = "stack"
	}
	return pflag.NormalizedName(name)
}

// resolve completes a target from the environment. What a flag names wins.
func resolve(t admin.Target, given func(flag string) bool) (admin.Target, error) {
	if given("server") && given("stack") {
		return t, usage("leave one out", "--server works on what a service has, --stack on a table")
	}
	if !given("server") {
		t.Stack = cmp.Or(t.Stack, os.Getenv("EXTAUTHZ_STACK"))
	}
	if t.Stack == "" {
		if given("region") || given("endpoint-url") {
			return t, usage("name the table with --stack", "--region and --endpoint-url are of a table")
		}
		t.Server = cmp.Or(t.Server, os.Getenv("EXTAUTHZ_SERVER"), defaultServer)
	}
	t.Region = cmp.Or(t.Region, os.Getenv("EXTAUTHZ_STORE_REGION"))
	t.EndpointURL = cmp.Or(t.EndpointURL, os.Getenv("EXTAUTHZ_ENDPOINT_URL"), os.Getenv("EXTAUTHZ_STORE_ENDPOINT_URL"))
	t.Namespace = cmp.Or(t.Namespace, os.Getenv("EXTAUTHZ_NAMESPACE"), ratelimit.DefaultNamespace)
	if err := ratelimit.CheckNamespace(t.Namespace); err != nil {
		return t, usage("see extauthz namespace list", "--namespace: %s", err)
	}
	if err := (hierarchy.Actor{As: t.As}).Check(); err != nil {
		return t, usage("name whom you act for in fewer letters", "--as: %s", err)
	}
	return t, nil
}

// group makes a command of commands.
func group(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args:                       noSuchCommand,
		RunE:                       func(c *cobra.Command, _ []string) error { return c.Help() },
		SuggestionsMinimumDistance: 2,
	}
	c.AddCommand(commands...)
	return c
}

// exactly takes as many arguments as it has names.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage("extauthz "+strings.TrimPrefix(c.UseLine(), "extauthz "), "no %s is named", names[len(args)])
		case len(args) > len(names):
			return usage("see "+c.CommandPath()+" --help", "%s takes no argument %q", strings.TrimPrefix(c.CommandPath(), "extauthz "), args[len(names)])
		}
		for i, a := range args {
			if a == "" {
				return usage("see "+c.CommandPath()+" --help", "the %s is empty", names[i])
			}
		}
		return nil
	}
}

// limitsFlag is the value of -l.
type limitsFlag []ratelimit.Limit

// String is what help shows as the default.
func (l *limitsFlag) String() string { return "" }

// Type is what help calls the value.
func (l *limitsFlag) Type() string { return "NAME:RATE[/PERIOD][:BURST]" }

// Set takes one limit.
func (l *limitsFlag) Set(s string) error {
	limit, err := ratelimit.ParseLimit(s)
	if err != nil {
		return err
	}
	for _, other := range *l {
		if other.Name == limit.Name {
			return fmt.Errorf("the limit %q is there twice", limit.Name)
		}
	}
	*l = append(*l, limit)
	return nil
}

func addLimits(c *cobra.Command) *limitsFlag {
	l := new(limitsFlag)
	c.Flags().VarP(l, "limit", "l", "a limit, as in rpm:100/min:150; a minute where no period is given; again for more of them")
	return l
}

// addResource adds the flag that names a resource; empty or _default_: any.
func addResource(c *cobra.Command, usage string) func() string {
	r := c.Flags().StringP("resource", "r", "", usage)
	return func() string {
		if *r == ratelimit.ReservedResource {
			return ""
		}
		return *r
	}
}

// addPage adds the flags of lists.
func addPage(c *cobra.Command) *hierarchy.Page {
	var p hierarchy.Page
	c.Flags().IntVar(&p.Limit, "limit", hierarchy.DefaultPage, "how many at most: a `number` from 1 to 1000")
	c.Flags().StringVar(&p.After, "after", "", "go on after this `mark`, which the part before has named")
	return &p
}

// checkPage refuses pages that can't be.
func checkPage(p *hierarchy.Page) error {
	if p.Limit < 1 || p.Limit > hierarchy.MaxPage {
		return usage("a number from 1 to 1000", "--limit %d is none that can be asked for", p.Limit)
	}
	return nil
}
