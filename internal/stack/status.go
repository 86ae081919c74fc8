package stack

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"

	"github.com/extauthz/extauthz/pkg/dynamostore"
)

// Origin is whether something is of this program's version.
type Origin string

// The origins.
const (
	Same    Origin = "same"    // as this program would make it
	Other   Origin = "other"   // another version's, or somebody's own
	Unknown Origin = "unknown" // it can't be looked at, or there is nothing to compare with
)

// Status is how a deployment is, as far as that can be found out.
type Status struct {
	Name, Region string
	// State is CloudFormation's; nil: there is no stack, or StateErr.
	State    *State
	StateErr error // why it isn't known
	// Table is the table's, unless TableErr says why there is none.
	Table    dynamostore.Info
	TableErr error

	Template Origin
	Version  string // of the program that deployed it last; empty: not known

	// Aggregator is CloudFormation's status of it; empty: there is none.
	Aggregator string
	Code       Origin // of the aggregator's

	// Spent is what the table has consumed in the last day; nil: not known.
	Spent *Spent
}

// Available reports whether the table answers.
func (st *Status) Available() bool { return st.TableErr == nil }

// Look finds out how a deployment is. code is what its aggregator should be;
// nil: not known. It never fails as a whole: what can't be found out says why.
func (s *Stack) Look(ctx context.Context, code *Code) *Status {
	st := &Status{Name: s.name, Region: s.config.AWS.Region, Template: Unknown, Code: Unknown}
	st.Table, st.TableErr = dynamostore.Inspect(ctx, s.table())
	if st.TableErr == nil {
		st.Spent, _ = s.spent(ctx) // who may not ask doesn't know
	}
	st.State, st.StateErr = s.State(ctx)
	if errors.Is(st.StateErr, ErrMissing) {
		st.StateErr = nil
	}
	if st.State == nil {
		return st
	}
	// What these can't say stays unknown; the state above says why.
	out, err := s.formation.GetTemplate(ctx, &cloudformation.GetTemplateInput{StackName: &s.name})
	if err == nil {
		same, version := compare(aws.ToString(out.TemplateBody))
		st.Template, st.Version = originOf(same), version
	}
	resources, err := s.resources(ctx)
	if r, ok := resources["Aggregator"]; err == nil && ok {
		st.Aggregator = string(r.ResourceStatus)
		if code != nil {
			st.Code = originOf(st.State.Parameters[paramKey] == code.key())
		}
	}
	return st
}

func originOf(same bool) Origin {
	if same {
		return Same
	}
	return Other
}

// Problems are what is not as it should be, and what to do about it.
func (st *Status) Problems() []string {
	var all []string
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	deploy := "extauthz deploy --name " + st.Name
	switch {
	case st.State == nil && st.StateErr == nil && st.TableErr != nil:
		say("nothing is deployed: %s", deploy)
	case st.TableErr != nil:
		say("%s", st.TableErr)
	case st.Table.Schema > dynamostore.SchemaVersion:
		say("the table's layout is %d, this program knows %d: upgrade this program", st.Table.Schema, dynamostore.SchemaVersion)
	case st.State == nil && st.StateErr == nil:
		say("the table belongs to no stack: it has no aggregator, no alarms and no policies")
	}
	if st.StateErr != nil {
		say("%s", st.StateErr)
	}
	if st.State == nil {
		return all
	}
	switch {
	case !st.State.ours():
		say("%s", st.State.refuseForeign())
	case st.State.atWork():
		say("CloudFormation is at work: %s waits for it", deploy)
	case st.State.leftover():
		say("making or deleting it failed: %s begins again", deploy)
	case st.State.inReview(), st.State.Tags[tagProtect] != "":
		say("it isn't whole: %s goes on", deploy)
	case st.Template == Other, st.Code == Other:
		say("it is of another version: %s brings it to this program's", deploy)
	}
	return all
}
