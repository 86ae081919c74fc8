package hierarchy

import (
	"context"
	"fmt"
)

// ActionApply is the action of a manifest's changes, as audit events have it.
const ActionApply = "apply-limits"

// Apply takes the steps of a plan, some at a time, each edit all or nothing. It
// tells progress, if not nil, how many are done after each, and returns how many
// were. After an error, or when the context ends, the rest is not done: a plan
// that is made anew has what is left.
//
// An item that somebody else changes after the plan was made ends it with a
// [*ConflictError].
func Apply(ctx context.Context, ed Editor, namespace string, c Cause, p *Plan, progress func(done int)) (int, error) {
	done := 0
	for done < len(p.Steps) {
		n := p.together(p.Steps[done:])
		e := Edit{Cause: c, Action: ActionApply, Puts: make([]Put, n)}
		for i, s := range p.Steps[done : done+n] {
			e.Puts[i] = Put{Item: s.After, Expect: s.Before.Revision}
		}
		if _, err := ed.Edit(ctx, namespace, e); err != nil {
			return done, fmt.Errorf("after %d of %d changes: %w", done, len(p.Steps), err)
		}
		done += n
		if progress != nil {
			progress(done)
		}
	}
	return done, nil
}

// together is how many of the next steps fit into one edit: as many as it may
// write, whose parents' lines it may read.
func (p *Plan) together(steps []Step) int {
	lines := map[string]bool{} // :: entity above one of those -> it is in the manifest
	for n := range steps {
		if n == MaxPuts {
			return n
		}
		if s := &steps[n]; s.After.Ref.Kind == KindEntity {
			p.above(s.After.Profile.Parent, lines)
		}
		reads := 0
		for _, known := range lines {
			if reads++; !known { // and whatever is above it
				reads += MaxParents
			}
		}
		if reads > MaxReads && n > 0 {
			return n
		}
	}
	return len(steps)
}

// above adds an entity and what is above it.
func (p *Plan) above(name string, lines map[string]bool) {
	for n := 0; name != "" && n <= MaxParents; n++ {
		parent, known := p.parents[name]
		lines[name] = known
		name = parent
	}
}
