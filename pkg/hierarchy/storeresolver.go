package hierarchy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// StoreResolver says what a query is charged with, from the configuration in a
// store, and from a [Document] below it: at each level the store's word comes
// first. An entity's profile in the store takes the place of the document's as
// a whole. It is safe for concurrent use.
//
// What it has resolved it remembers until an item that it rests on changes: a
// change is in force within the cache's poll, for entities without any
// configuration too. While the store gives no answer, it serves what it
// remembers.
type StoreResolver struct {
	cache     *Cache
	namespace string
	file      *Resolver // of the document
	nothing   *Resolver // of other namespaces

	resolutions *lru.Cache[queryKey, *resolution]
	loads       singleflight.Group
}

var (
	_ ratelimit.Resolver  = (*StoreResolver)(nil)
	_ ratelimit.Refresher = (*StoreResolver)(nil)
)

// queryKey is what a resolution depends on, beside the configuration.
type queryKey struct{ key, tier string }

// resolution is what was resolved: the answer of the levels, before what a
// query brings along, and the items that it rests on.
type resolution struct {
	space   *space
	uses    []*entry
	own     answer
	parents []ratelimit.Target
	plain   ratelimit.Resolution // for a query that brings nothing along
}

// ErrRestless is matched when the configuration changed each time that it was
// read, so that no reading of it was of one moment.
var ErrRestless = errors.New("the configuration changes faster than it can be read")

// maxReadings is how often a resolution is tried that changes got into.
const maxReadings = 5

// Resolver makes a resolver with a document that speaks for one namespace,
// which must not be changed from now on. Resolvers share what the cache knows:
// a new one, for a document that was loaded anew, reads nothing again.
func (c *Cache) Resolver(namespace string, doc Document) *StoreResolver {
	r := &StoreResolver{cache: c, namespace: namespace, file: NewResolver(namespace, doc), nothing: NewResolver("", Document{})}
	r.resolutions, _ = lru.New[queryKey, *resolution](c.entries) // the only error is a size below 1
	return r
}

// Resolve answers from what is remembered, or reads the store: the items that
// aren't cached, and then the namespace's mark. The error matches
// [ErrUnknownNamespace] for a namespace that is not registered; others mean
// that the store gave no answer: what the document says comes with them.
func (r *StoreResolver) Resolve(ctx context.Context, q ratelimit.Query) (ratelimit.Resolution, error) {
	res, ok := r.resolutions.Get(queryKey{q.Key.ID(), q.Tier})
	if ok && res.holds() {
		r.cache.hits.Add(1)
		return res.answer(&q), nil
	}
	r.cache.misses.Add(1)
	res, err := r.load(ctx, q.Key, q.Tier)
	switch {
	case errors.Is(err, ErrUnknownNamespace):
		return ratelimit.Resolution{}, err
	case err != nil:
		known, _ := r.fileOf(q.Key.Namespace()).Resolve(ctx, q) // it never fails
		return known, err
	}
	return res.answer(&q), nil
}

// Stale tells that a bucket was shaped by a revision, see [Cache.Stale].
func (r *StoreResolver) Stale(k ratelimit.Key, revision int64) {
	r.cache.Stale(k.Namespace(), revision)
}

// holds reports whether nothing that the resolution rests on has changed.
func (r *resolution) holds() bool {
	for _, e := range r.uses {
		if e.gone.Load() {
			return false
		}
	}
	if !r.space.used.Load() {
		r.space.used.Store(true)
	}
	return !r.space.gone.Load()
}

// answer is the resolution for a query.
func (r *resolution) answer(q *ratelimit.Query) ratelimit.Resolution {
	if q.Override == nil && (len(q.DefaultLimits) == 0 || r.own.level != ratelimit.LevelNone) {
		return r.plain
	}
	a, res := r.own, r.plain
	a.fallBackOn(q)
	res.Targets = a.join(q.Key, r.parents)
	return res
}

// join is the target of the query's own bucket and those of its parents.
func (a *answer) join(k ratelimit.Key, parents []ratelimit.Target) []ratelimit.Target {
	if !a.says() && len(parents) == 0 {
		return nil
	}
	return append(append(make([]ratelimit.Target, 0, 1+len(parents)), a.target(k)), parents...)
}

// load resolves what isn't remembered, once for all who ask at once. It goes on
// when the caller's context ends, for those who ask next.
func (r *StoreResolver) load(ctx context.Context, k ratelimit.Key, tier string) (*resolution, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("resolving the limits of %s: %w", k.ID(), err)
	}
	// It is kept, and may be a part of a request.
	tier = strings.Clone(tier)
	loaded := r.loads.DoChan(k.ID()+"\x00"+tier, func() (any, error) { //nolint:contextcheck // said above
		if !r.cache.begin() {
			return nil, errClosed
		}
		defer r.cache.done.Done()
		ctx, cancel := context.WithTimeout(r.cache.ctx, r.cache.timeout)
		defer cancel()
		return r.read(ctx, k, tier)
	})
	select {
	case got := <-loaded:
		if got.Err != nil {
			return nil, fmt.Errorf("resolving the limits of %s: %w", k.ID(), got.Err)
		}
		return got.Val.(*resolution), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("resolving the limits of %s: %w", k.ID(), ctx.Err())
	}
}

// read resolves by a reading of one moment.
func (r *StoreResolver) read(ctx context.Context, k ratelimit.Key, tier string) (*resolution, error) {
	name := k.Namespace()
	if since, ok := r.cache.unknown.Get(name); ok && time.Since(since) < unknownFor {
		return nil, ErrUnknownNamespace
	}
	for range maxReadings {
		l := reading{cache: r.cache, space: r.cache.space(name), uses: map[Ref]*entry{}}
		res, err := l.resolve(ctx, r.fileOf(name), k, tier)
		switch {
		case errors.Is(err, ErrUnknownNamespace):
			r.cache.unknown.Add(name, time.Now())
			r.cache.retire(l.space)
			return nil, err
		case err != nil:
			return nil, err
		case res != nil:
			r.resolutions.Add(queryKey{k.ID(), tier}, res)
			return res, nil
		}
	}
	return nil, ErrRestless
}

func (r *StoreResolver) fileOf(namespace string) *Resolver {
	if namespace == r.namespace {
		return r.file
	}
	return r.nothing
}
