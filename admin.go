package extauthz

import (
	"context"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// SetSystemDefaults sets the limits of whoever has none of their own, in place
// of those that were set. It is in force in this process when it returns, in
// others within seconds; so are all changes. Without limits it deletes them.
//
// The errors of all changes: an [*InvalidItemError] when it can't be said, a
// [*ConflictError] when others change the same again and again, one that matches
// [ErrUnknownNamespace], the context's and the store's. A change is made whole or
// not at all, and writes an audit event.
func (l *Limiter) SetSystemDefaults(ctx context.Context, limits ...Limit) error {
	return l.setLimits(ctx, "set-defaults", hierarchy.SystemRef(), limits)
}

// SystemDefaults are the limits that SetSystemDefaults has set; nil: none.
func (l *Limiter) SystemDefaults(ctx context.Context) ([]Limit, error) {
	return l.limitsAt(ctx, hierarchy.SystemRef())
}

// SetResourceDefaults sets the limits of a resource for whoever has none of
// their own, in place of the system's.
func (l *Limiter) SetResourceDefaults(ctx context.Context, resource string, limits ...Limit) error {
	return l.setLimits(ctx, "set-defaults", hierarchy.ResourceRef(resource), limits)
}

// ResourceDefaults are the limits that SetResourceDefaults has set; nil: none.
func (l *Limiter) ResourceDefaults(ctx context.Context, resource string) ([]Limit, error) {
	return l.limitsAt(ctx, hierarchy.ResourceRef(resource))
}

// SetTierLimits sets the limits of the entities of a tier for a resource, or,
// where that is empty, for every one.
func (l *Limiter) SetTierLimits(ctx context.Context, tier, resource string, limits ...Limit) error {
	return l.setLimits(ctx, "set-limits", hierarchy.TierRef(tier, resource), limits)
}

// TierLimits are the limits that SetTierLimits has set; nil: none.
func (l *Limiter) TierLimits(ctx context.Context, tier, resource string) ([]Limit, error) {
	return l.limitsAt(ctx, hierarchy.TierRef(tier, resource))
}

// SetLimits sets an entity's own limits for a resource, or, where that is empty,
// for every one.
func (l *Limiter) SetLimits(ctx context.Context, entity, resource string, limits ...Limit) error {
	return l.setLimits(ctx, "set-limits", hierarchy.EntityRef(entity, resource), limits)
}

// Limits are the limits that SetLimits has set; nil: none. Which limits apply is
// what Balance says.
func (l *Limiter) Limits(ctx context.Context, entity, resource string) ([]Limit, error) {
	return l.limitsAt(ctx, hierarchy.EntityRef(entity, resource))
}

// SetTier puts an entity into a tier; empty: into none.
func (l *Limiter) SetTier(ctx context.Context, entity, tier string) error {
	return l.setProfile(ctx, "set-tier", entity, func(p *Profile) { p.Tier = tier })
}

// SetParent gives an entity a parent, which is charged with it where cascade is
// set; an empty one takes it away. One that would make a circle, or more than 8
// parents above each other, is an [*InvalidItemError].
func (l *Limiter) SetParent(ctx context.Context, entity, parent string, cascade bool) error {
	return l.setProfile(ctx, "set-parent", entity, func(p *Profile) { p.Parent, p.Cascade = parent, cascade })
}

// SetProfile says all that there is about an entity beside its limits, in place
// of what was said.
func (l *Limiter) SetProfile(ctx context.Context, entity string, to Profile) error {
	return l.setProfile(ctx, "create", entity, func(p *Profile) { *p = to })
}

// Profile is what is said about an entity beside its limits; the zero value:
// nothing.
func (l *Limiter) Profile(ctx context.Context, entity string) (Profile, error) {
	item, err := l.item(ctx, hierarchy.ProfileRef(entity))
	return item.Profile, err
}

// Editor is the configuration in the store, for whatever else admins do:
// modes, listings, audit events. What it changes is in force in this process
// within seconds, as in others.
func (l *Limiter) Editor() Editor { return l.shared.store }

// Namespaces are those of the store: to list, delete, recover and purge them.
func (l *Limiter) Namespaces() Namespaces { return l.shared.store }

// cause is who changes something, and when.
func (l *Limiter) cause() hierarchy.Cause {
	s := l.shared
	return hierarchy.Cause{By: hierarchy.Actor{Caller: s.who(), As: s.options.As}, At: s.options.Now()}
}

func (l *Limiter) item(ctx context.Context, ref hierarchy.Ref) (hierarchy.Item, error) {
	items, err := l.shared.store.Items(ctx, l.namespace, []hierarchy.Ref{ref})
	if err != nil {
		return hierarchy.Item{}, err
	}
	return items[0], nil
}

func (l *Limiter) limitsAt(ctx context.Context, ref hierarchy.Ref) ([]Limit, error) {
	item, err := l.item(ctx, ref)
	return append([]Limit(nil), item.Level.Limits...), err
}

func (l *Limiter) setLimits(ctx context.Context, action string, ref hierarchy.Ref, limits []Limit) error {
	return l.change(ctx, action, ref, func(i *hierarchy.Item) {
		i.Level.Limits = append([]Limit(nil), limits...)
		i.Deleted = i.Level.Empty()
	})
}

func (l *Limiter) setProfile(ctx context.Context, action, entity string, set func(*Profile)) error {
	return l.change(ctx, action, hierarchy.ProfileRef(entity), func(i *hierarchy.Item) {
		i.Deleted = false
		set(&i.Profile)
	})
}

// change changes one item, and what this process knows of it.
func (l *Limiter) change(ctx context.Context, action string, ref hierarchy.Ref, set func(*hierarchy.Item)) error {
	_, err := hierarchy.Update(ctx, l.shared.store, l.namespace, l.cause(), action, []hierarchy.Ref{ref}, func(items []hierarchy.Item) error {
		set(&items[0])
		return nil
	})
	if err != nil {
		return err
	}
	l.refresh(ctx)
	return nil
}
