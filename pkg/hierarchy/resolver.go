package hierarchy

import (
	"context"
	"slices"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// MaxParents is how many parents one charge can cascade to, the nearest first.
const MaxParents = 8

// Resolver says what a query is charged with, from one [Document] alone. It
// does no I/O, never changes, and is safe for concurrent use.
type Resolver struct {
	namespace string
	system    Level
	resources map[string]Level   // :: ratelimit.ResourceID -> its limits
	tiers     map[string]*tier   // :: raw name -> tier
	entities  map[string]*entity // :: ratelimit.EntityID -> entity
}

var _ ratelimit.Resolver = (*Resolver)(nil)

// tier is a Tier, made ready for look-ups.
type tier struct {
	own       Level
	resources map[string]Level // :: ratelimit.ResourceID -> its limits
}

// entity is an Entity, made ready for look-ups.
type entity struct {
	name      string // raw
	own       Level
	resources map[string]Level // :: ratelimit.ResourceID -> its limits
	tierName  string
	tier      *tier // nil: none, or one that the document doesn't know
	metadata  map[string]string
	parent    string // raw
	cascade   bool
	parents   []*entity // those that a charge cascades to, the nearest first
}

// NewResolver makes a Resolver of a document that speaks for one namespace. To
// queries in other namespaces, only their own limits apply. The document must
// not be changed from now on.
//
// What [Document.Check] finds fault with does no harm: an unknown tier has no
// limits, an unknown parent isn't charged, and a cascade ends where it would
// charge an entity for the second time or more than [MaxParents].
func NewResolver(namespace string, doc Document) *Resolver {
	r := &Resolver{
		namespace: namespace,
		system:    doc.System,
		resources: byID(doc.Resources),
		tiers:     make(map[string]*tier, len(doc.Tiers)),
		entities:  make(map[string]*entity, len(doc.Entities)),
	}
	for name, t := range doc.Tiers {
		r.tiers[name] = &tier{own: t.Level, resources: byID(t.Resources)}
	}
	for name, e := range doc.Entities {
		r.entities[ratelimit.EntityID(name)] = &entity{
			name: name, own: e.Level, resources: byID(e.Resources),
			tierName: e.Tier, tier: r.tiers[e.Tier], metadata: e.Metadata,
			parent: e.Parent, cascade: e.Cascade,
		}
	}
	for name := range doc.Entities {
		r.entities[ratelimit.EntityID(name)].parents = r.parents(doc.Entities, name)
	}
	return r
}

// byID makes names of any length and any bytes match those in keys.
func byID(levels map[string]Level) map[string]Level {
	if len(levels) == 0 {
		return nil
	}
	ids := make(map[string]Level, len(levels))
	for name, l := range levels {
		ids[ratelimit.ResourceID(name)] = l
	}
	return ids
}

// parents are those that a charge of an entity cascades to.
func (r *Resolver) parents(entities map[string]Entity, name string) []*entity {
	var parents []*entity
	for e := entities[name]; e.Cascade && len(parents) < MaxParents; e = entities[e.Parent] {
		p, known := r.entities[ratelimit.EntityID(e.Parent)]
		if !known || e.Parent == name || slices.Contains(parents, p) {
			break
		}
		parents = append(parents, p)
	}
	return parents
}

// Resolve goes through the levels for the query's bucket, and through an
// entity's own levels for each parent of a cascade. It never fails.
//
// An override takes the place of the limits alone: mode, parents and fallback
// are those of the document. Where only parents have limits, the first target
// is the query's own without any, so that parents follow it as they always do.
func (r *Resolver) Resolve(_ context.Context, q ratelimit.Query) (ratelimit.Resolution, error) {
	if q.Key.Namespace() != r.namespace {
		a := answer{}
		a.fallBackOn(&q)
		return ratelimit.Resolution{Tier: q.Tier, Targets: a.targets(&q, nil)}, nil
	}
	resourceID := q.Key.ResourceID()
	resource := r.resources[resourceID]
	e := r.entities[q.Key.EntityID()]
	res := ratelimit.Resolution{Tier: q.Tier, OnUnavailable: resource.OnUnavailable}
	if res.OnUnavailable == ratelimit.FallbackUnset {
		res.OnUnavailable = r.system.OnUnavailable
	}

	var a answer
	var t *tier
	var parents []*entity
	if e != nil {
		res.Metadata, parents = e.metadata, e.parents
		a.entity(e, resourceID)
		t = e.tier
	}
	if e != nil && e.tierName != "" {
		res.Tier = e.tierName
	} else if q.Tier != "" {
		t = r.tiers[q.Tier]
	}
	a.tier(t, resourceID)
	a.ask(&resource, ratelimit.LevelResource)
	a.ask(&r.system, ratelimit.LevelSystem)
	a.fallBackOn(&q)
	res.Targets = a.targets(&q, parents)
	return res, nil
}

// answer is what the levels that were asked so far have said.
type answer struct {
	limits []ratelimit.Limit
	level  ratelimit.Level // that of the limits
	mode   ratelimit.Mode
	// revision is the largest among the items that were asked until the limits
	// were found; a document has none.
	revision int64
}

// ask takes the limits and the mode of a level, unless one before it said them.
func (a *answer) ask(l *Level, name ratelimit.Level) {
	if a.level == ratelimit.LevelNone && len(l.Limits) > 0 {
		a.limits, a.level = l.Limits, name
	}
	if a.mode == ratelimit.ModeUnset {
		a.mode = l.Mode
	}
}

// entity asks an entity's own levels.
func (a *answer) entity(e *entity, resourceID string) {
	if l, ok := e.resources[resourceID]; ok {
		a.ask(&l, ratelimit.LevelEntityResource)
	}
	a.ask(&e.own, ratelimit.LevelEntity)
}

// tier asks a tier's levels; t may be nil.
func (a *answer) tier(t *tier, resourceID string) {
	if t == nil {
		return
	}
	if l, ok := t.resources[resourceID]; ok {
		a.ask(&l, ratelimit.LevelTierResource)
	}
	a.ask(&t.own, ratelimit.LevelTier)
}

// fallBackOn takes what the query brings along.
func (a *answer) fallBackOn(q *ratelimit.Query) {
	switch {
	case q.Override != nil:
		a.limits, a.level, a.revision = []ratelimit.Limit{*q.Override}, ratelimit.LevelOverride, 0
	case a.level == ratelimit.LevelNone && len(q.DefaultLimits) > 0:
		a.limits, a.level = q.DefaultLimits, ratelimit.LevelDefault
	}
}

// says reports whether there is anything to charge or to deny by.
func (a *answer) says() bool {
	return a.level != ratelimit.LevelNone || a.mode == ratelimit.ModeDisabled || a.mode == ratelimit.ModeBypass
}

func (a *answer) target(k ratelimit.Key) ratelimit.Target {
	mode := a.mode
	if mode == ratelimit.ModeUnset {
		mode = ratelimit.ModeOn
	}
	own := a.level == ratelimit.LevelEntityResource || a.level == ratelimit.LevelEntity
	return ratelimit.Target{Key: k, Limits: a.limits, Level: a.level, Revision: a.revision, Mode: mode, Expires: !own}
}

// targets are the query's own and those of its parents that are charged: a
// parent is charged by what is said of itself and of its tier alone, and one
// that has no limits there only hands on to its own parent. A parent that is
// disabled denies, with limits or without.
func (a *answer) targets(q *ratelimit.Query, parents []*entity) []ratelimit.Target {
	var targets []ratelimit.Target
	if a.says() {
		targets = append(make([]ratelimit.Target, 0, 1+len(parents)), a.target(q.Key))
	}
	for _, p := range parents {
		var pa answer
		pa.entity(p, q.Key.ResourceID())
		pa.tier(p.tier, q.Key.ResourceID())
		if pa.level == ratelimit.LevelNone && pa.mode != ratelimit.ModeDisabled {
			continue
		}
		if targets == nil {
			targets = append(make([]ratelimit.Target, 0, 1+len(parents)), a.target(q.Key))
		}
		targets = append(targets, pa.target(q.Key.WithEntity(p.name)))
	}
	return targets
}
