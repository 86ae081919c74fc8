package hierarchy

import (
	"context"
	"slices"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// walker goes through the levels, each as the store says it and then as the
// document does.
type walker struct {
	*reading
	file       *Resolver
	resource   string // raw; empty: the store can't say anything about it
	resourceID string
}

// parent is one that a charge cascades to.
type parent struct {
	name    string
	profile Profile
}

// refs are an entity's own items.
func (w *walker) refs(entity string) []Ref {
	if entity == "" {
		return nil
	}
	refs := []Ref{ProfileRef(entity), EntityRef(entity, "")}
	if w.resource != "" {
		refs = append(refs, EntityRef(entity, w.resource))
	}
	return refs
}

// tierRefs are a tier's items.
func (w *walker) tierRefs(tier string) []Ref {
	if tier == "" || len(tier) > MaxName {
		return nil
	}
	refs := []Ref{TierRef(tier, "")}
	if w.resource != "" {
		refs = append(refs, TierRef(tier, w.resource))
	}
	return refs
}

// profile is what is said about an entity: by the store, else by the document.
func (w *walker) profile(entity, id string) Profile {
	if i := w.item(ProfileRef(entity)); entity != "" && i != nil && i.Exists() {
		return i.Profile
	}
	if e := w.file.entities[id]; e != nil {
		return Profile{Tier: e.tierName, Parent: e.parent, Cascade: e.cascade, Metadata: e.metadata}
	}
	return Profile{}
}

// parents follows a cascade, the nearest first, and needs what will be looked
// at: with each parent's items those of the tier below it.
func (w *walker) parents(ctx context.Context, entity string, profile Profile, tier string) ([]parent, error) {
	var parents []parent
	for seen := []string{entity}; ; {
		refs := w.tierRefs(tier)
		next := ""
		if profile.Cascade && len(parents) < MaxParents && !slices.Contains(seen, profile.Parent) {
			next = profile.Parent
		}
		if next != "" && len(next) <= MaxName {
			refs = append(refs, w.refs(next)...)
		}
		if err := w.need(ctx, refs...); err != nil {
			return nil, err
		}
		if next == "" {
			return parents, nil
		}
		profile = w.profile(next, ratelimit.EntityID(next))
		tier = profile.Tier
		parents, seen = append(parents, parent{next, profile}), append(seen, next)
	}
}

// levels asks an entity's own levels, and those of a tier.
func (w *walker) levels(a *answer, entity, id, tier string) {
	e := w.file.entities[id]
	if entity != "" && w.resource != "" {
		a.consult(w.item(EntityRef(entity, w.resource)), ratelimit.LevelEntityResource)
	}
	if e != nil {
		if l, ok := e.resources[w.resourceID]; ok {
			a.ask(&l, ratelimit.LevelEntityResource)
		}
	}
	if entity != "" {
		a.consult(w.item(EntityRef(entity, "")), ratelimit.LevelEntity)
	}
	if e != nil {
		a.ask(&e.own, ratelimit.LevelEntity)
	}
	if entity != "" {
		a.note(w.item(ProfileRef(entity))) // which names the tier
	}
	if tier == "" {
		return
	}
	t := w.file.tiers[tier]
	if w.resource != "" {
		a.consult(w.item(TierRef(tier, w.resource)), ratelimit.LevelTierResource)
	}
	if t != nil {
		if l, ok := t.resources[w.resourceID]; ok {
			a.ask(&l, ratelimit.LevelTierResource)
		}
	}
	a.consult(w.item(TierRef(tier, "")), ratelimit.LevelTier)
	if t != nil {
		a.ask(&t.own, ratelimit.LevelTier)
	}
}

// shared asks the levels that entities share, and for the fallback.
func (w *walker) shared(res *resolution) {
	unavailable := &res.plain.OnUnavailable
	at := func(i *Item, l *Level, level ratelimit.Level) {
		res.own.consult(i, level)
		res.own.ask(l, level)
		if *unavailable == ratelimit.FallbackUnset && i != nil {
			*unavailable = i.Level.OnUnavailable
		}
		if *unavailable == ratelimit.FallbackUnset {
			*unavailable = l.OnUnavailable
		}
	}
	var resource *Item
	if w.resource != "" {
		resource = w.item(ResourceRef(w.resource))
	}
	ofFile := w.file.resources[w.resourceID]
	at(resource, &ofFile, ratelimit.LevelResource)
	at(w.item(SystemRef()), &w.file.system, ratelimit.LevelSystem)
}

// consult asks an item; one that was deleted says nothing, and counts by its
// revision.
func (a *answer) consult(i *Item, level ratelimit.Level) {
	a.note(i)
	if i != nil {
		a.ask(&i.Level, level)
	}
}

// note counts an item among those that shaped the limits, unless they are found
// already.
func (a *answer) note(i *Item) {
	if i != nil && a.level == ratelimit.LevelNone {
		a.revision = max(a.revision, i.Revision)
	}
}
