package hierarchy

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
)

// Manifest is a document that somebody keeps elsewhere, in a file under version
// control as a rule, and brings into a store from time to time. The items that
// it makes carry its manager's name: of these it is the truth, and of no others.
type Manifest struct {
	Manager  string // never empty
	Document Document
}

// Plan is what has to be done so that a store says what a manifest does.
type Plan struct {
	Manager string
	Steps   []Step // in the order in which they are taken
	// Conflicts are items that the manifest says something of and another
	// manager has. They are not among the Steps.
	Conflicts []Item
	Unchanged int // items that are as the manifest says

	parents map[string]string // :: entity of the manifest -> its parent
}

// Step is the change of one item. After is deleted where the manifest has
// nothing of it any more.
type Step struct{ Before, After Item }

// Action is create, update or delete.
func (s *Step) Action() string {
	switch {
	case s.After.Deleted:
		return "delete"
	case s.Before.Exists():
		return "update"
	}
	return "create"
}

// MakePlan compares a manifest with what a store says, and changes nothing. An
// item that nobody manages becomes the manifest's; one that another manager has
// is a conflict, or, with force, becomes the manifest's too. Items that are the
// manifest's and that it doesn't have any more are to be deleted.
//
// The error is an [*InvalidItemError] where the manifest says what can't be.
// The document must be one in which [Document.Check] finds nothing fatal.
func MakePlan(ctx context.Context, ed Editor, namespace string, m Manifest, force bool) (*Plan, error) {
	wanted, err := m.items()
	if err != nil {
		return nil, err
	}
	there := map[Ref]Item{}
	err = All(ctx, ed, namespace, Selector{Deleted: true}, func(items []Item) error {
		for i := range items {
			there[items[i].Ref] = items[i]
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading what the store says: %w", err)
	}
	p := &Plan{Manager: m.Manager, parents: map[string]string{}}
	for name, e := range m.Document.Entities {
		p.parents[name] = e.Parent
	}
	for i := range wanted {
		before := there[wanted[i].Ref]
		delete(there, wanted[i].Ref)
		switch other := before.Exists() && before.Manager != "" && before.Manager != m.Manager; {
		case other && !force:
			p.Conflicts = append(p.Conflicts, before)
		case sameWord(&before, &wanted[i]):
			p.Unchanged++
		default:
			before.Ref = wanted[i].Ref
			p.Steps = append(p.Steps, Step{before, wanted[i]})
		}
	}
	for ref, item := range there {
		if item.Exists() && item.Manager == m.Manager {
			p.Steps = append(p.Steps, Step{item, Item{Ref: ref, Deleted: true}})
		}
	}
	slices.SortStableFunc(p.Steps, p.order)
	return p, nil
}

// order puts steps so that no step needs one that comes after it: profiles that
// go before those that may take their place above an entity, parents before
// their children, and, that nobody is without limits for a moment, new limits
// before old ones go.
func (p *Plan) order(a, b Step) int {
	return cmp.Or(
		cmp.Compare(rank(&a), rank(&b)),
		cmp.Compare(p.depth(&a), p.depth(&b)),
		a.After.Ref.Compare(b.After.Ref),
	)
}

func rank(s *Step) int {
	kind := s.After.Ref.Kind
	switch {
	case kind == KindEntity && s.After.Deleted:
		return int(kind) - 1
	case kind == KindEntity:
		return int(kind)
	case s.After.Deleted:
		return 100 - int(kind)
	case kind > KindEntity:
		return int(kind) + 1
	}
	return int(kind) - 10
}

func (p *Plan) depth(s *Step) int {
	if s.After.Ref.Kind != KindEntity {
		return 0
	}
	n := 0
	for name := s.After.Ref.Name; p.parents[name] != "" && n <= MaxParents; n++ {
		name = p.parents[name]
	}
	return n
}

// items are what the manifest says, item by item.
func (m *Manifest) items() ([]Item, error) {
	items := m.Document.items()
	for i := range items {
		items[i].Manager = m.Manager
		if err := items[i].Check(); err != nil {
			return nil, err
		}
	}
	for name := range m.Document.Entities {
		n := 0
		for at := name; m.Document.Entities[at].Parent != ""; at = m.Document.Entities[at].Parent {
			if n++; n > MaxParents {
				return nil, &InvalidItemError{Ref: ProfileRef(name), Faults: []string{fmt.Sprintf("it has more than %d parents", MaxParents)}}
			}
		}
	}
	return items, nil
}

// items is the document as a store has it. A level that says nothing is no
// item, and an entity of which nothing is said but that it is there has an
// empty profile.
func (d *Document) items() []Item {
	var items []Item
	level := func(ref Ref, l Level) {
		if !l.Empty() {
			items = append(items, Item{Ref: ref, Level: l})
		}
	}
	level(SystemRef(), d.System)
	for _, r := range slices.Sorted(maps.Keys(d.Resources)) {
		level(ResourceRef(r), d.Resources[r])
	}
	for _, name := range slices.Sorted(maps.Keys(d.Tiers)) {
		level(TierRef(name, ""), d.Tiers[name].Level)
		for _, r := range slices.Sorted(maps.Keys(d.Tiers[name].Resources)) {
			level(TierRef(name, r), d.Tiers[name].Resources[r])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Entities)) {
		e := d.Entities[name]
		p := Profile{DisplayName: e.DisplayName, Tier: e.Tier, Parent: e.Parent, Cascade: e.Cascade, Metadata: e.Metadata}
		before := len(items)
		level(EntityRef(name, ""), e.Level)
		for _, r := range slices.Sorted(maps.Keys(e.Resources)) {
			level(EntityRef(name, r), e.Resources[r])
		}
		if !p.isZero() || len(items) == before {
			items = append(items, Item{Ref: ProfileRef(name), Profile: p})
		}
	}
	return items
}

// Export is what a store says, as a document: what one manager has, or, where
// that is empty, all of it.
func Export(ctx context.Context, ed Editor, namespace, manager string) (Document, error) {
	d := Document{Resources: map[string]Level{}, Tiers: map[string]Tier{}, Entities: map[string]Entity{}}
	err := All(ctx, ed, namespace, Selector{}, func(items []Item) error {
		for i := range items {
			if manager == "" || items[i].Manager == manager {
				d.add(&items[i])
			}
		}
		return nil
	})
	return d, err
}

// add adds what an item says.
func (d *Document) add(i *Item) {
	name, resource := i.Ref.Name, i.Ref.Resource
	switch i.Ref.Kind {
	case KindSystem:
		d.System = i.Level
	case KindResource:
		d.Resources[resource] = i.Level
	case KindTier, KindTierResource:
		t := d.Tiers[name]
		add(&t.Level, &t.Resources, resource, i.Level)
		d.Tiers[name] = t
	case KindEntity, KindEntityDefault, KindEntityResource:
		e := d.Entities[name]
		if i.Ref.Kind == KindEntity {
			e.DisplayName, e.Tier, e.Parent = i.Profile.DisplayName, i.Profile.Tier, i.Profile.Parent
			e.Cascade, e.Metadata = i.Profile.Cascade, i.Profile.Metadata
		} else {
			add(&e.Level, &e.Resources, resource, i.Level)
		}
		d.Entities[name] = e
	case KindNamespace:
	}
}

// add sets a level: its own, or that of a resource.
func add(own *Level, resources *map[string]Level, resource string, l Level) {
	if resource == "" {
		*own = l
		return
	}
	if *resources == nil {
		*resources = map[string]Level{}
	}
	(*resources)[resource] = l
}
