package hierarchy

import (
	"context"
	"slices"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// reading is one resolution on its way.
type reading struct {
	cache *Cache
	space *space
	uses  map[Ref]*entry // all that was consulted
	fresh []Ref          // of those, what was read from the store
}

// resolve reads what isn't cached and goes through the levels. Without a
// resolution and without an error something was changed meanwhile: it must be
// read again.
//
// What is cached is as it was at the mark that is known, or later. So when none
// of the items has been changed from there to a mark that is read after the
// last of them, they are all of that one moment.
func (l *reading) resolve(ctx context.Context, file *Resolver, k ratelimit.Key, tier string) (*resolution, error) {
	begin, begun := l.space.position()
	if !begun {
		if err := l.catchUp(ctx); err != nil {
			return nil, err
		}
		begin, _ = l.space.position()
	}
	res, err := l.walk(ctx, file, k, tier)
	if err != nil {
		return nil, err
	}
	if len(l.fresh) > 0 {
		if err := l.catchUp(ctx); err != nil {
			return nil, err
		}
	}
	if !l.keep(begin) {
		return nil, nil
	}
	for _, e := range l.uses {
		res.uses = append(res.uses, e)
	}
	return res, nil
}

// catchUp reads the namespace's mark, and what changed up to it.
func (l *reading) catchUp(ctx context.Context) error {
	m, err := l.cache.source.Mark(ctx, l.space.name)
	if err != nil {
		return err
	}
	return l.cache.catchUp(ctx, l.space, &m)
}

// keep puts what was read into the cache, if all that was consulted is as it
// was at one moment: the mark.
func (l *reading) keep(begin Mark) bool {
	sp := l.space
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if sp.gone.Load() || sp.touched(begin.Revision, l.uses) {
		return false
	}
	for _, ref := range l.fresh {
		// Another reading may have brought the same: only one of the two is told
		// of changes.
		key := itemKey{sp, ref}
		if other, ok := l.cache.items.Peek(key); ok {
			l.uses[ref] = other
		} else {
			l.cache.items.Add(key, l.uses[ref])
		}
	}
	return true
}

// need sees to it that items can be looked at.
func (l *reading) need(ctx context.Context, refs ...Ref) error {
	var missing []Ref
	for _, ref := range refs {
		if _, ok := l.uses[ref]; ok {
			continue
		}
		if e, ok := l.cache.items.Get(itemKey{l.space, ref}); ok {
			l.uses[ref] = e
		} else if !slices.Contains(missing, ref) {
			missing = append(missing, ref)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	items, err := l.cache.source.Items(ctx, l.space.name, missing)
	if err != nil {
		return err
	}
	for i, ref := range missing {
		e := &entry{}
		if items[i].Revision > 0 {
			e.item = &items[i]
		}
		l.uses[ref] = e
		l.fresh = append(l.fresh, ref)
	}
	return nil
}

// item is an item that was needed before, nil where it was never written.
func (l *reading) item(ref Ref) *Item {
	if e := l.uses[ref]; e != nil {
		return e.item
	}
	return nil
}

// walk goes through the levels of a bucket and of each parent that is charged
// with it.
func (l *reading) walk(ctx context.Context, file *Resolver, k ratelimit.Key, tier string) (*resolution, error) {
	w := walker{reading: l, file: file, resource: name(k.Resource(), k.ResourceID(), ratelimit.ResourceID), resourceID: k.ResourceID()}
	shared := []Ref{SystemRef()}
	if w.resource != "" {
		shared = append(shared, ResourceRef(w.resource))
	}
	entity := name(k.Entity(), k.EntityID(), ratelimit.EntityID)
	if err := l.need(ctx, append(w.refs(entity), shared...)...); err != nil {
		return nil, err
	}
	own := w.profile(entity, k.EntityID())
	res := &resolution{space: l.space}
	res.plain.Metadata, res.plain.Tier = own.Metadata, tier
	if own.Tier != "" {
		res.plain.Tier = own.Tier
	}
	parents, err := w.parents(ctx, entity, own, res.plain.Tier)
	if err != nil {
		return nil, err
	}
	w.levels(&res.own, entity, k.EntityID(), res.plain.Tier)
	w.shared(res)
	for _, p := range parents {
		var a answer
		id := ratelimit.EntityID(p.name)
		w.levels(&a, p.name, id, p.profile.Tier)
		if a.level != ratelimit.LevelNone || a.mode == ratelimit.ModeDisabled {
			res.parents = append(res.parents, a.target(k.WithEntity(p.name)))
		}
	}
	res.plain.Targets = res.own.join(k, res.parents)
	return res, nil
}

// name is the raw value of a part of a key, or empty where the key doesn't hold
// all of it: a store can say nothing about so long a name.
func name(raw, id string, encode func(string) string) string {
	if len(raw) > MaxName || id[0] == '~' && encode(raw) != id {
		return ""
	}
	return raw
}
