package stack

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// Change is what becomes of one resource.
type Change struct {
	Action      string   // Add, Modify, Remove and the like
	Resource    string   // its name in the template
	Type        string   // AWS::DynamoDB::Table and the like
	Replacement string   // of a Modify: True, False, Conditional
	What        []string // of a Modify: the properties that change, or Tags and the like
}

// Holds is what is lost with the resource; empty: nothing that isn't made again.
func (c *Change) Holds() string {
	switch c.Resource {
	case "Table":
		return "all balances, limits, usage and audit"
	case "AuditArchive":
		return "the archive of the audit"
	case "DeadLetters":
		return "records that could not be counted"
	case "AggregatorLogs":
		return "the aggregator's logs"
	}
	return ""
}

// Replaces reports whether the resource makes place for another, or may: that
// depends on what becomes of others, so that of what holds nothing it is not
// worth a question.
func (c *Change) Replaces() bool {
	return c.Replacement == "True" || c.Replacement == "Conditional" && c.Holds() != ""
}

// Asks reports whether somebody is to agree to the change.
func (c *Change) Asks() bool { return c.Action == "Remove" || c.Replaces() }

// The kinds of plans.
const (
	Create = "create" // a stack is made
	Update = "update" // a stack is changed
	Clear  = "clear"  // what a creation or deletion that failed has left is removed, and the stack made anew
)

// Plan is what is about to be done.
type Plan struct {
	Kind    string
	Stack   State
	Changes []Change // in the order of the template's names; of Clear none
}

// Asks reports whether somebody is to agree to it.
func (p *Plan) Asks() bool {
	return p.Kind == Clear || slices.ContainsFunc(p.Changes, func(c Change) bool { return c.Asks() })
}

// careful agrees to what loses nothing. The error matches [ErrLoss].
func careful(p Plan) error {
	what := ""
	switch {
	case p.Kind == Clear && p.Stack.Status != "ROLLBACK_COMPLETE": // of which nothing is left
		what = "what is left of it"
	case p.Kind == Update:
		for _, c := range p.Changes {
			if c.Asks() && c.Holds() != "" {
				what = c.Resource + " (" + c.Holds() + ")"
			}
		}
	}
	if what == "" {
		return nil
	}
	return &Error{
		Class: ErrLoss, What: fmt.Sprintf("the stack %q (%s) would lose %s", p.Stack.Name, p.Stack.Status, what),
		Hint: "extauthz deploy --name " + p.Stack.Name + ", which shows what changes and asks",
	}
}

// changeSet is a change set that was made.
type changeSet struct {
	id, stackID string
	kind        types.ChangeSetType
	changes     []Change
	none        bool // there is nothing to change
}

// prepare makes a change set, and waits until it is known what it changes.
func (s *Stack) prepare(ctx context.Context, kind types.ChangeSetType, version string, values, tags map[string]string) (*changeSet, error) {
	in := &cloudformation.CreateChangeSetInput{
		StackName: &s.name, ChangeSetType: kind, TemplateBody: new(template(version)),
		ChangeSetName: new(fmt.Sprintf("extauthz-%d", time.Now().UnixNano())),
		Capabilities:  []types.Capability{types.CapabilityCapabilityNamedIam},
	}
	known := parameters()
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if values[k] != known[k].Default {
			in.Parameters = append(in.Parameters, types.Parameter{ParameterKey: new(k), ParameterValue: new(values[k])})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: new(k), Value: new(tags[k])})
	}
	made, err := s.formation.CreateChangeSet(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("asking what would change of the stack %q: %w", s.name, err)
	}
	set := &changeSet{id: aws.ToString(made.Id), stackID: aws.ToString(made.StackId), kind: kind}
	for pause := s.pause(); ; {
		out, err := s.formation.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{ChangeSetName: &set.id, StackName: &s.name})
		if err != nil {
			return nil, fmt.Errorf("asking what would change of the stack %q: %w", s.name, err)
		}
		switch out.Status {
		case types.ChangeSetStatusCreateComplete:
			return set, s.readChanges(ctx, set, out)
		case types.ChangeSetStatusFailed:
			reason := aws.ToString(out.StatusReason)
			set.none = strings.Contains(reason, "didn't contain changes") || strings.Contains(reason, "No updates are to be performed")
			if err := s.forget(ctx, set); err != nil || set.none {
				return set, err
			}
			return nil, &Error{Class: ErrFailed, What: fmt.Sprintf("CloudFormation refuses to change the stack %q: %s", s.name, reason), Hint: "put that right and deploy again"}
		}
		if err := pause.wait(ctx); err != nil {
			return nil, fmt.Errorf("waiting to hear what would change of the stack %q: %w", s.name, err)
		}
	}
}

// readChanges reads the changes from the first page of a set and those after.
func (s *Stack) readChanges(ctx context.Context, set *changeSet, page *cloudformation.DescribeChangeSetOutput) (err error) {
	for {
		for _, c := range page.Changes {
			if c.ResourceChange != nil {
				set.changes = append(set.changes, changeOf(c.ResourceChange))
			}
		}
		if page.NextToken == nil {
			slices.SortFunc(set.changes, func(a, b Change) int { return strings.Compare(a.Resource, b.Resource) })
			return nil
		}
		page, err = s.formation.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{
			ChangeSetName: &set.id, StackName: &s.name, NextToken: page.NextToken,
		})
		if err != nil {
			return fmt.Errorf("asking what would change of the stack %q: %w", s.name, err)
		}
	}
}

func changeOf(c *types.ResourceChange) Change {
	is := Change{
		Action: string(c.Action), Resource: aws.ToString(c.LogicalResourceId), Type: aws.ToString(c.ResourceType),
		Replacement: string(c.Replacement),
	}
	for _, d := range c.Details {
		if d.Target == nil {
			continue
		}
		what := aws.ToString(d.Target.Name)
		if what == "" {
			what = string(d.Target.Attribute)
		}
		if !slices.Contains(is.What, what) {
			is.What = append(is.What, what)
		}
	}
	if len(is.What) == 0 {
		for _, a := range c.Scope {
			is.What = append(is.What, string(a))
		}
	}
	return is
}

// forget removes a change set that isn't wanted, and the stack that is there for
// its sake alone.
func (s *Stack) forget(ctx context.Context, set *changeSet) error {
	var err error
	if set.kind == types.ChangeSetTypeCreate {
		_, err = s.formation.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: &set.stackID})
	} else {
		_, err = s.formation.DeleteChangeSet(ctx, &cloudformation.DeleteChangeSetInput{ChangeSetName: &set.id, StackName: &s.name})
	}
	if err != nil {
		return fmt.Errorf("removing the change set of the stack %q: %w", s.name, err)
	}
	return nil
}

// execute makes the changes of a set. It returns the newest event before them,
// for follow.
func (s *Stack) execute(ctx context.Context, set *changeSet) (after string, err error) {
	if after, err = s.lastEvent(ctx, set.stackID); err != nil {
		return "", err
	}
	if after == "" {
		after = "none"
	}
	if _, err := s.formation.ExecuteChangeSet(ctx, &cloudformation.ExecuteChangeSetInput{ChangeSetName: &set.id, StackName: &s.name}); err != nil {
		return "", fmt.Errorf("changing the stack %q: %w", s.name, err)
	}
	return after, nil
}
