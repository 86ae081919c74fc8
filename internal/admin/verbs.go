package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// update changes items of the session's namespace. The default namespace is
// registered by its first change, so that nobody has to know of namespaces.
func (s *Session) update(ctx context.Context, action string, refs []hierarchy.Ref, change func([]hierarchy.Item) error) ([]hierarchy.Item, error) {
	c := s.cause(ctx)
	for _, r := range refs {
		if err := r.Check(); err != nil {
			return nil, err
		}
	}
	items, err := hierarchy.Update(ctx, s, s.namespace, c, action, refs, change)
	if errors.Is(err, hierarchy.ErrUnknownNamespace) && s.namespace == ratelimit.DefaultNamespace {
		if _, err := s.RegisterNamespace(ctx, s.namespace, c); err != nil {
			return nil, err
		}
		items, err = hierarchy.Update(ctx, s, s.namespace, c, action, refs, change)
	}
	return items, err
}

// updateOne changes one item.
func (s *Session) updateOne(ctx context.Context, action string, ref hierarchy.Ref, change func(*hierarchy.Item) error) (hierarchy.Item, error) {
	items, err := s.update(ctx, action, []hierarchy.Ref{ref}, func(items []hierarchy.Item) error { return change(&items[0]) })
	if err != nil {
		return hierarchy.Item{}, err
	}
	return items[0], nil
}

// Get is an item; the problem is [CodeNotFound] where it says nothing, with a
// command that makes it.
func (s *Session) Get(ctx context.Context, ref hierarchy.Ref) (hierarchy.Item, error) {
	if err := ref.Check(); err != nil {
		return hierarchy.Item{}, err
	}
	items, err := s.Items(ctx, s.namespace, []hierarchy.Ref{ref})
	if err != nil {
		return hierarchy.Item{}, err
	}
	if !items[0].Exists() {
		return hierarchy.Item{}, notFound(ref)
	}
	return items[0], nil
}

func notFound(ref hierarchy.Ref) error {
	return &Problem{Code: CodeNotFound, Message: "there is nothing of " + ref.String(), Hint: maker(ref)}
}

// maker is the command that makes an item.
func maker(ref hierarchy.Ref) string {
	name, resource := shellWord(ref.Name), shellWord(ref.Resource)
	switch ref.Kind {
	case hierarchy.KindSystem:
		return "extauthz system set-defaults -l rpm:100"
	case hierarchy.KindResource:
		return "extauthz resource set-defaults " + resource + " -l rpm:100"
	case hierarchy.KindTier:
		return "extauthz tier set-limits " + name + " -l rpm:100"
	case hierarchy.KindTierResource:
		return "extauthz tier set-limits " + name + " --resource " + resource + " -l rpm:100"
	case hierarchy.KindEntity:
		return "extauthz entity create " + name
	case hierarchy.KindEntityDefault:
		return "extauthz entity set-limits " + name + " -l rpm:100"
	case hierarchy.KindEntityResource:
		return "extauthz entity set-limits " + name + " --resource " + resource + " -l rpm:100"
	case hierarchy.KindNamespace:
	}
	return ""
}

// shellWord is a name as it is typed.
func shellWord(name string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || slices.Contains([]rune("._-/:@,+="), r)
	}
	for _, r := range name {
		if !plain(r) {
			return fmt.Sprintf("%q", name)
		}
	}
	return name
}

// LevelChange says what of a level is to be changed.
type LevelChange struct {
	Limits        []ratelimit.Limit  // all that the level has from now on; none: as they are
	OnUnavailable ratelimit.Fallback // FallbackUnset: as it is
}

// SetLevel sets what is said at a level, and keeps what the change leaves out.
func (s *Session) SetLevel(ctx context.Context, action string, ref hierarchy.Ref, l LevelChange) (hierarchy.Item, error) {
	return s.updateOne(ctx, action, ref, func(i *hierarchy.Item) error {
		i.Deleted = false
		if len(l.Limits) > 0 {
			i.Level.Limits = l.Limits
		}
		if l.OnUnavailable != ratelimit.FallbackUnset {
			i.Level.OnUnavailable = l.OnUnavailable
		}
		return nil
	})
}

// Units is how many write units a charge by the limits of an item costs, at
// most; 0 where the session isn't on a table.
func (s *Session) Units(i *hierarchy.Item) int {
	if _, ok := s.balances.(table); !ok {
		return 0
	}
	entity := ""
	if i.Ref.Kind.OfEntity() {
		entity = i.Ref.Name
	}
	return dynamostore.WriteUnits(entity, i.Ref.Resource, i.Level.Limits)
}

// SetMode sets a level's mode; ModeUnset: the next level's from now on. A level
// that says nothing else is deleted then.
func (s *Session) SetMode(ctx context.Context, ref hierarchy.Ref, m ratelimit.Mode) (hierarchy.Item, error) {
	action := map[ratelimit.Mode]string{
		ratelimit.ModeUnset: "inherit-mode", ratelimit.ModeOn: "enable", ratelimit.ModeDisabled: "disable", ratelimit.ModeBypass: "bypass",
	}[m]
	return s.updateOne(ctx, action, ref, func(i *hierarchy.Item) error {
		i.Level.Mode = m
		i.Deleted = i.Level.Empty()
		return nil
	})
}

// Delete deletes an item, which must be there.
func (s *Session) Delete(ctx context.Context, action string, ref hierarchy.Ref) (hierarchy.Item, error) {
	return s.updateOne(ctx, action, ref, func(i *hierarchy.Item) error {
		if i.Deleted {
			return notFound(ref)
		}
		i.Deleted = true
		return nil
	})
}

// Describe is all that is said of an entity or a tier: the items of a name.
func (s *Session) Describe(ctx context.Context, sel hierarchy.Selector) ([]hierarchy.Item, error) {
	ref := hierarchy.Ref{Kind: sel.Kinds[0], Name: sel.Name}
	if err := ref.Check(); err != nil {
		return nil, err
	}
	var all []hierarchy.Item
	err := hierarchy.All(ctx, s, s.namespace, sel, func(items []hierarchy.Item) error {
		all = append(all, items...)
		return nil
	})
	if err == nil && len(all) == 0 {
		err = notFound(ref)
	}
	return all, err
}

// DeleteAll deletes all that is said of an entity or a tier. It may be repeated
// after an interruption.
func (s *Session) DeleteAll(ctx context.Context, action string, sel hierarchy.Selector) ([]hierarchy.Item, error) {
	all, err := s.Describe(ctx, sel)
	if err != nil {
		return nil, err
	}
	var gone []hierarchy.Item
	for part := range slices.Chunk(all, hierarchy.MaxPuts) {
		refs := make([]hierarchy.Ref, len(part))
		for i := range part {
			refs[i] = part[i].Ref
		}
		items, err := s.update(ctx, action, refs, func(items []hierarchy.Item) error {
			for i := range items {
				items[i].Deleted = true
			}
			return nil
		})
		if err != nil {
			return gone, err
		}
		gone = append(gone, items...)
	}
	return gone, nil
}

// CreateEntity makes an entity, which must not be there.
func (s *Session) CreateEntity(ctx context.Context, entity string, p hierarchy.Profile) (hierarchy.Item, error) {
	ref := hierarchy.ProfileRef(entity)
	if p.Cascade && p.Parent == "" {
		return hierarchy.Item{}, &Problem{
			Code: CodeInvalidItem, Message: ref.String() + ": there is no parent to charge", Hint: "name it with --parent, or leave --cascade out",
		}
	}
	return s.updateOne(ctx, "create-entity", ref, func(i *hierarchy.Item) error {
		if !i.Deleted {
			return &Problem{Code: CodeExists, Message: ref.String() + " exists already", Hint: "extauthz entity show " + shellWord(entity)}
		}
		i.Deleted, i.Profile = false, p
		return nil
	})
}

// ChangeEntity changes an entity's profile, which must be there.
func (s *Session) ChangeEntity(ctx context.Context, action, entity string, change func(*hierarchy.Profile)) (hierarchy.Item, error) {
	ref := hierarchy.ProfileRef(entity)
	return s.updateOne(ctx, action, ref, func(i *hierarchy.Item) error {
		if i.Deleted {
			return notFound(ref)
		}
		change(&i.Profile)
		return nil
	})
}

// Select lists items.
func (s *Session) Select(ctx context.Context, sel hierarchy.Selector, p hierarchy.Page) (List[hierarchy.Item], error) {
	l, err := s.List(ctx, s.namespace, sel, p)
	return NewList(l.Items, l.Next), err
}

// Audit lists what was changed, newest first.
func (s *Session) Audit(ctx context.Context, sel hierarchy.Selector, p hierarchy.Page) (List[hierarchy.Event], error) {
	l, err := s.Events(ctx, s.namespace, sel, p)
	return NewList(l.Events, l.Next), err
}

// Register registers namespaces, in order, until one can't be.
func (s *Session) Register(ctx context.Context, names []string) ([]NamespaceInfo, error) {
	var made []NamespaceInfo
	for _, name := range names {
		n, err := s.RegisterNamespace(ctx, name, s.cause(ctx))
		if err != nil {
			return made, err
		}
		made = append(made, InfoOf(n))
	}
	return made, nil
}

// Forget deletes a namespace; it can be recovered by its id.
func (s *Session) Forget(ctx context.Context, name string) (NamespaceInfo, error) {
	n, err := s.DeleteNamespace(ctx, name, s.cause(ctx))
	return InfoOf(n), err
}

// Recover gives a deleted namespace its name back.
func (s *Session) Recover(ctx context.Context, id string) (NamespaceInfo, error) {
	n, err := s.RecoverNamespace(ctx, id, s.cause(ctx))
	return InfoOf(n), err
}

// ListNamespaces lists namespaces: those with a name, or the orphans.
func (s *Session) ListNamespaces(ctx context.Context, orphans bool, p hierarchy.Page) (List[NamespaceInfo], error) {
	list := s.Namespaces
	if orphans {
		list = s.Orphans
	}
	l, err := list(ctx, p)
	return infosOf(l), err
}
