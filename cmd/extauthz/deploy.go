package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/stack"
)

func newDeploy() *cobra.Command {
	c := &cobra.Command{
		Use: "deploy", Short: "Make or change a deployment in AWS: table, aggregator, policies, alarms", Args: noArgs,
		Long: `deploy makes the stack of a name, or changes it to what the flags and this version
of the program say; what no flag says stays as it is. It shows what changes, and
asks where something would be replaced or removed. It waits for what is under way
and may be repeated after an interruption. extauthz cfn-template prints what it
makes.`,
		Example: `  extauthz deploy --name my-app --region us-east-1
  extauthz deploy --name my-app --alarm-sns-topic arn:aws:sns:us-east-1:123456789012:ops`,
	}
	p := addPlace(c, true)
	form := addOutput(c)
	said := addParameters(c)
	tags := c.Flags().StringArrayP("tag", "t", nil, "a tag of the stack, as in team=edge; again for more of them")
	zip := c.Flags().String("aggregator-zip", "", "`file` with the aggregator's code in place of what this program has")
	wait := c.Flags().Bool("wait", true, "wait until all is done")
	noWait := c.Flags().Bool("no-wait", false, "don't wait for the last step")
	addYes(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		d := stack.Declaration{Keep: true, Version: version, NoWait: *noWait || !*wait}
		var err error
		if d.Parameters, err = said(); err != nil {
			return err
		}
		if d.Tags, err = tagsOf(*tags); err != nil {
			return err
		}
		if d.Code, err = codeOf(*zip); err != nil {
			return toldOfStack(err)
		}
		d.Approve = func(plan stack.Plan) error { return approve(c, *form, plan) }
		return p.onStack(c, *form, func(s *stack.Stack) error {
			r, err := s.Deploy(c.Context(), d)
			if err != nil {
				return err
			}
			return printDeployed(c, *form, r)
		})
	}
	return c
}

// codeOf is the aggregator's code: that of a file, or this program's.
func codeOf(file string) (*stack.Code, error) {
	if file == "" {
		return stack.BuiltIn()
	}
	zipped, err := os.ReadFile(file) //nolint:gosec // the user names the file
	if err != nil {
		return nil, usage("extauthz lambda-export writes one", "--aggregator-zip: %s", err)
	}
	code, err := stack.ReadCode(zipped)
	if err != nil {
		return nil, fmt.Errorf("--aggregator-zip %s: %w", file, err)
	}
	return code, nil
}

func tagsOf(given []string) (map[string]string, error) {
	tags := map[string]string{}
	for _, t := range given {
		key, value, ok := strings.Cut(t, "=")
		if !ok || key == "" || strings.HasPrefix(key, "aws:") || strings.HasPrefix(key, "extauthz:") {
			return nil, usage("as in --tag team=edge", "--tag %q is not a tag of yours", t)
		}
		tags[key] = value
	}
	return tags, nil
}

// approve shows a plan, and asks where something would be lost.
func approve(c *cobra.Command, form output, p stack.Plan) error {
	name := shown(p.Stack.Name)
	if form == asTable {
		printPlan(c, &p)
	}
	switch {
	case p.Kind == stack.Clear:
		return confirm(c, fmt.Sprintf("remove what is left of the stack %s (%s) and make it anew?", name, p.Stack.Status))
	case p.Asks():
		return confirm(c, fmt.Sprintf("replace or remove %s of the stack %s?", strings.Join(asked(&p), ", "), name))
	}
	return nil
}

// asked are the resources that a plan asks about, those that hold something
// first.
func asked(p *stack.Plan) []string {
	var holding, others []string
	for _, change := range p.Changes {
		switch {
		case !change.Asks():
		case change.Holds() != "":
			holding = append(holding, fmt.Sprintf("%s (%s)", change.Resource, change.Holds()))
		default:
			others = append(others, change.Resource)
		}
	}
	return append(holding, others...)
}

func printPlan(c *cobra.Command, p *stack.Plan) {
	w := c.ErrOrStderr()
	switch p.Kind {
	case stack.Create:
		printf(w, "making the stack %s: %s\n", shown(p.Stack.Name), count(len(p.Changes), "resource"))
	case stack.Update:
		printf(w, "changing the stack %s:\n", shown(p.Stack.Name))
		for _, change := range p.Changes {
			printf(w, "  %s\n", changeLine(&change))
		}
	}
}

// changeLine is a change for people.
func changeLine(c *stack.Change) string {
	line := fmt.Sprintf("%-8s %s (%s)", strings.ToLower(c.Action), c.Resource, c.Type)
	if len(c.What) > 0 {
		line += ": " + strings.Join(c.What, ", ")
	}
	switch {
	case c.Action == "Remove" && c.Holds() != "", c.Replaces() && c.Holds() != "":
		line += "; what is lost: " + c.Holds()
	case c.Replacement == "True":
		line += "; it is replaced"
	case c.Replacement == "Conditional":
		line += "; it may be replaced"
	}
	return line
}

// deployed is what became of a deployment, in JSON.
type deployed struct {
	Name    string            `json:"name"`
	Status  string            `json:"status"`
	Created bool              `json:"created"`
	Waited  bool              `json:"waited"`
	Changes []changed         `json:"changes"`
	Outputs map[string]string `json:"outputs"`
}

type changed struct {
	Action      string   `json:"action"`
	Resource    string   `json:"resource"`
	Type        string   `json:"type"`
	Replacement string   `json:"replacement,omitempty"`
	What        []string `json:"what,omitempty"`
}

func printDeployed(c *cobra.Command, form output, r *stack.Result) error {
	w := c.OutOrStdout()
	if form == asJSON {
		d := deployed{Name: r.State.Name, Status: r.State.Status, Created: r.Created, Waited: r.Waited, Changes: []changed{}, Outputs: r.State.Outputs}
		for _, change := range r.Changes {
			d.Changes = append(d.Changes, changed(change))
		}
		return printJSON(w, d)
	}
	what := "deployed"
	switch {
	case !r.Waited:
		what = "is being deployed"
	case !r.Created && len(r.Changes) == 0:
		what = "is as it should be"
	}
	printf(w, "%s %s (%s)\n", shown(r.State.Name), what, r.State.Status)
	for _, k := range slices.Sorted(maps.Keys(r.State.Outputs)) {
		printf(w, "  %-28s %s\n", k, r.State.Outputs[k])
	}
	return nil
}
