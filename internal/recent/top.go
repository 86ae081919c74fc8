package recent

import (
	"cmp"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// A tally counts for shards*perShard entities at once, in each of two windows.
const (
	shards   = 8
	perShard = 64
)

// tally counts something of entities in bounded memory, over the window that
// runs and the one before it. It is split, so that callers rarely wait for each
// other; an entity is always in the same part.
type tally struct {
	seed  maphash.Seed
	parts [shards]part
}

type part struct {
	mu          sync.Mutex
	now, before sketch
}

func newTally(seed maphash.Seed) *tally {
	t := &tally{seed: seed}
	for i := range t.parts {
		t.parts[i].now, t.parts[i].before = newSketch(), newSketch()
	}
	return t
}

// add counts n of the entity of a key.
func (t *tally) add(key ratelimit.Key, n int64) {
	id := owner{key.Namespace(), key.EntityID()}
	p := &t.parts[maphash.String(t.seed, id.entity)%shards]
	p.mu.Lock()
	p.now.add(id, key, n)
	p.mu.Unlock()
}

// turn begins a new window.
func (t *tally) turn() {
	for i := range t.parts {
		p := &t.parts[i]
		p.mu.Lock()
		p.before, p.now = p.now, newSketch()
		p.mu.Unlock()
	}
}

// top ranks the entities of a namespace, or of all.
func (t *tally) top(limit, namespace string, n int) []Rank {
	var ranks []Rank
	for i := range t.parts {
		t.parts[i].collect(func(r Rank) {
			if namespace == "" || namespace == r.Namespace {
				r.Limit = limit
				ranks = append(ranks, r)
			}
		})
	}
	slices.SortFunc(ranks, compareRanks)
	return ranks[:min(n, len(ranks))]
}

// collect tells what is known of each entity.
func (p *part) collect(tell func(Rank)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rank := func(c, other *counter, floor int64) {
		r := Rank{Namespace: c.owner.namespace, Entity: c.entity, AtLeast: c.n - c.over, AtMost: c.n}
		if other != nil {
			r.AtLeast, r.AtMost = plus(r.AtLeast, other.n-other.over), plus(r.AtMost, other.n)
		} else {
			r.AtMost = plus(r.AtMost, floor)
		}
		tell(r)
	}
	for id, c := range p.now.of {
		rank(c, p.before.of[id], p.before.floor())
	}
	for id, c := range p.before.of {
		if p.now.of[id] == nil {
			rank(c, nil, p.now.floor())
		}
	}
}

// owner is an entity, as keys have it.
type owner struct{ namespace, entity string }

// counter counts for one entity: what it has is n, or up to over less.
type counter struct {
	owner   owner
	entity  string // as it is shown
	n, over int64
}

// sketch is Space-Saving (Metwally, Agrawal, El Abbadi, 2005) with weights: where
// there is no counter left, the one with the least becomes the new entity's, and
// keeps what it has, so that it counts too much rather than too little. Of N
// counted in all, none is off by more than N/perShard, and an entity with more
// than that is there.
type sketch struct {
	of  map[owner]*counter
	all []*counter
}

func newSketch() sketch { return sketch{of: map[owner]*counter{}} }

// floor is the most that an entity which isn't there can have.
func (s *sketch) floor() int64 {
	if len(s.all) < perShard {
		return 0
	}
	return s.least().n
}

func (s *sketch) least() *counter {
	return slices.MinFunc(s.all, func(a, b *counter) int { return cmp.Compare(a.n, b.n) })
}

func (s *sketch) add(id owner, key ratelimit.Key, n int64) {
	c := s.of[id]
	if c == nil {
		c = s.counter()
		// Copied, so that no request is kept for its name.
		c.owner = owner{strings.Clone(id.namespace), strings.Clone(id.entity)}
		c.entity = strings.Clone(key.Entity())
		s.of[c.owner] = c
	}
	c.n = plus(c.n, n)
}

// counter is one that is free.
func (s *sketch) counter() *counter {
	if len(s.all) < perShard {
		c := new(counter)
		s.all = append(s.all, c)
		return c
	}
	c := s.least()
	delete(s.of, c.owner)
	c.over = c.n
	return c
}

// plus adds two counts, and stays at the most that there is.
func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func sortedKeys(m map[string]*tally) []string { return slices.Sorted(maps.Keys(m)) }
