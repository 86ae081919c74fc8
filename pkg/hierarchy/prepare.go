package hierarchy

import (
	"context"
	"fmt"
	"slices"
)

// Prepare checks an edit before a store makes it, and adds to its Reads what it
// relies on. It reads up the line of each parent that is set: an entity has at
// most [MaxParents], and none of them is the entity itself. A line that is
// changed meanwhile makes the edit fail, so that two edits never close a circle
// between them.
//
// Stores call it in Edit, and again when an item has moved that the edit as it
// was given doesn't name: one of the Reads that were added here.
func Prepare(ctx context.Context, src Source, namespace string, e Edit) (Edit, error) {
	if err := e.Check(); err != nil {
		return Edit{}, err
	}
	l := lines{source: src, namespace: namespace, known: map[string]Item{}}
	for i := range e.Puts {
		if p := &e.Puts[i].Item; p.Ref.Kind == KindEntity {
			l.known[p.Ref.Name] = *p
		}
	}
	e.Reads = slices.Clone(e.Reads)
	for i := range e.Puts {
		p := &e.Puts[i].Item
		if p.Ref.Kind != KindEntity || p.Profile.Parent == "" {
			continue
		}
		if err := l.follow(ctx, p); err != nil {
			return Edit{}, err
		}
	}
	for _, read := range l.read {
		if !slices.ContainsFunc(e.Reads, func(x Expectation) bool { return x.Ref == read.Ref }) {
			e.Reads = append(e.Reads, read)
		}
	}
	if len(e.Reads) > MaxReads {
		return Edit{}, &InvalidEditError{Reason: fmt.Sprintf("sets parents that have more than %d entities above them in all: make several of it", MaxReads)}
	}
	return e, nil
}

// lines reads the profiles of entities' parents.
type lines struct {
	source    Source
	namespace string
	known     map[string]Item // :: entity -> its profile, as it will be
	read      []Expectation
}

// follow checks the line of an entity's parents.
func (l *lines) follow(ctx context.Context, i *Item) error {
	line := []string{i.Ref.Name}
	for parent := i.Profile.Parent; parent != ""; {
		line = append(line, parent)
		switch {
		case parent == i.Ref.Name:
			return &InvalidItemError{Ref: i.Ref, Faults: []string{"parents go round in a circle: " + showLine(line)}}
		case len(line) > MaxParents+1:
			return &InvalidItemError{Ref: i.Ref, Faults: []string{fmt.Sprintf("more than %d parents: %s", MaxParents, showLine(line))}}
		}
		p, err := l.profile(ctx, parent)
		if err != nil {
			return err
		}
		parent = p.Profile.Parent
	}
	return nil
}

// profile is an entity's profile as it will be after the edit.
func (l *lines) profile(ctx context.Context, entity string) (Item, error) {
	if p, ok := l.known[entity]; ok {
		return p, nil
	}
	ref := ProfileRef(entity)
	items, err := l.source.Items(ctx, l.namespace, []Ref{ref})
	if err != nil {
		return Item{}, fmt.Errorf("reading %s: %w", ref, err)
	}
	l.known[entity] = items[0]
	l.read = append(l.read, Expectation{Ref: ref, Revision: items[0].Revision})
	return items[0], nil
}

func showLine(names []string) string {
	s := ""
	for i, n := range names {
		if i > 0 {
			s += " -> "
		}
		s += fmt.Sprintf("%q", n)
	}
	return s
}
