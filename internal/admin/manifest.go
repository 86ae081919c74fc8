package admin

import (
	"context"
	"fmt"
	"strings"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// PlanInfo is what has to be done for a manifest, in JSON.
type PlanInfo struct {
	Manager   string         `json:"manager"`
	Changes   []StepInfo     `json:"changes"`
	Conflicts []ConflictInfo `json:"conflicts"`
	Created   int            `json:"created"`
	Updated   int            `json:"updated"`
	Deleted   int            `json:"deleted"`
	Unchanged int            `json:"unchanged"`
	// Applied is how many of the changes were made.
	Applied int `json:"applied"`
}

// StepInfo is the change of one item.
type StepInfo struct {
	Action string          `json:"action"` // create, update or delete
	Target hierarchy.Ref   `json:"target"`
	Before *hierarchy.Item `json:"before,omitempty"`
	After  *hierarchy.Item `json:"after,omitempty"`
}

// ConflictInfo is an item that another manager has.
type ConflictInfo struct {
	Target  hierarchy.Ref `json:"target"`
	Manager string        `json:"manager"`
}

// InfoOfPlan is a plan as it is shown.
func InfoOfPlan(p *hierarchy.Plan) *PlanInfo {
	info := &PlanInfo{Manager: p.Manager, Changes: []StepInfo{}, Conflicts: []ConflictInfo{}, Unchanged: p.Unchanged}
	for i := range p.Steps {
		s := &p.Steps[i]
		step := StepInfo{Action: s.Action(), Target: s.After.Ref}
		if s.Before.Exists() {
			step.Before = &s.Before
		}
		if !s.After.Deleted {
			step.After = &s.After
		}
		switch {
		case step.After == nil:
			info.Deleted++
		case step.Before == nil:
			info.Created++
		default:
			info.Updated++
		}
		info.Changes = append(info.Changes, step)
	}
	for i := range p.Conflicts {
		info.Conflicts = append(info.Conflicts, ConflictInfo{p.Conflicts[i].Ref, p.Conflicts[i].Manager})
	}
	return info
}

// Plan compares a manifest with what the namespace says.
func (s *Session) Plan(ctx context.Context, m hierarchy.Manifest, force bool) (*hierarchy.Plan, error) {
	return hierarchy.MakePlan(ctx, s, s.namespace, m, force)
}

// Conflict is the problem that another manager has what a manifest speaks of,
// or nil.
func Conflict(p *hierarchy.Plan) error {
	const most = 3
	if len(p.Conflicts) == 0 {
		return nil
	}
	var named []string
	for i := range p.Conflicts {
		if i == most {
			named = append(named, fmt.Sprintf("and %d more", len(p.Conflicts)-most))
			break
		}
		named = append(named, fmt.Sprintf("%s is managed by %q", p.Conflicts[i].Ref, p.Conflicts[i].Manager))
	}
	return &Problem{
		Code: CodeManaged, Message: strings.Join(named, ", "),
		Hint: "leave it out of the manifest, or take it with --force-conflicts",
	}
}

// Apply takes the steps of a plan; see [hierarchy.Apply].
func (s *Session) Apply(ctx context.Context, p *hierarchy.Plan, progress func(done int)) (int, error) {
	return hierarchy.Apply(ctx, s, s.namespace, s.cause(ctx), p, progress)
}

// Export is what the namespace says, or what one manager has of it.
func (s *Session) Export(ctx context.Context, manager string) (hierarchy.Manifest, error) {
	d, err := hierarchy.Export(ctx, s, s.namespace, manager)
	return hierarchy.Manifest{Manager: manager, Document: d}, err
}
