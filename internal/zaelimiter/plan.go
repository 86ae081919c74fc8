package zaelimiter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Store is where a namespace is brought to.
type Store interface {
	hierarchy.Editor
	hierarchy.Namespaces
}

// Planned is what has to be done for one namespace.
type Planned struct {
	From string // the namespace's name there
	Into string // and here
	New  bool   // it has to be registered
	Plan *hierarchy.Plan
}

// NameError says that a namespace isn't there.
type NameError struct{ Table, Name string }

func (e *NameError) Error() string {
	return fmt.Sprintf("the table %q has no namespace %q", e.Table, e.Name)
}

// Options say what is brought where.
type Options struct {
	From  string // the one namespace to bring; empty: all
	Into  string // what it is called here; empty: as there
	Force bool   // take items that another manager has
}

// Plan compares namespaces with what a store says, and changes nothing. What it
// makes is managed by the name of where it came from, so that a later import
// changes and removes that and nothing else. A namespace whose name can't be one
// here becomes one of the Losses. The error is a [*NameError] where a namespace
// isn't there.
func (c *Contents) Plan(ctx context.Context, ed hierarchy.Editor, o Options) ([]Planned, error) {
	if err := c.choose(o.From); err != nil {
		return nil, err
	}
	var all []Planned
	for i := range c.Namespaces {
		n := &c.Namespaces[i]
		into := cmp.Or(o.Into, n.Name)
		if err := ratelimit.CheckNamespace(into); err != nil {
			n.Losses = []Loss{{
				Namespace: n.Name, Feature: featureNamespace,
				Detail: err.Error() + ": it is left out, unless --from-namespace names it and --namespace says what it is called here",
			}}
			continue
		}
		p, err := c.plan(ctx, ed, n, into, o.Force)
		if err != nil {
			return nil, fmt.Errorf("planning the namespace %q: %w", n.Name, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// choose leaves one namespace of the contents.
func (c *Contents) choose(name string) error {
	if name == "" {
		return nil
	}
	for _, n := range c.Namespaces {
		if n.Name == name {
			c.Namespaces, c.Losses = []Namespace{n}, nil
			return nil
		}
	}
	return &NameError{c.Table, name}
}

func (c *Contents) plan(ctx context.Context, ed hierarchy.Editor, n *Namespace, into string, force bool) (Planned, error) {
	p := Planned{From: n.Name, Into: into}
	m := hierarchy.Manifest{Manager: "zae-limiter:" + c.Table + "/" + n.Name, Document: n.Document}
	var err error
	p.Plan, err = hierarchy.MakePlan(ctx, ed, into, m, force)
	if errors.Is(err, hierarchy.ErrUnknownNamespace) {
		p.New = true
		p.Plan, err = hierarchy.MakePlan(ctx, nothing{}, into, m, force)
	}
	return p, err
}

// AllLosses are those of the table and of its namespaces.
func (c *Contents) AllLosses() []Loss {
	all := slices.Clone(c.Losses)
	for i := range c.Namespaces {
		all = append(all, c.Namespaces[i].Losses...)
	}
	return all
}

// nothing is what a namespace says that isn't there yet.
type nothing struct{ hierarchy.Editor }

func (nothing) List(context.Context, string, hierarchy.Selector, hierarchy.Page) (hierarchy.Listing, error) {
	return hierarchy.Listing{}, nil
}

// Apply does what is planned, and returns how many items it wrote; see
// [hierarchy.Apply].
func (p *Planned) Apply(ctx context.Context, s Store, c hierarchy.Cause, progress func(done int)) (int, error) {
	if p.New {
		if _, err := s.RegisterNamespace(ctx, p.Into, c); err != nil {
			return 0, fmt.Errorf("registering the namespace %q: %w", p.Into, err)
		}
	}
	return hierarchy.Apply(ctx, s, p.Into, c, p.Plan, progress)
}
