package ratelimit

import (
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// seen is the rejection cache: the last state seen of each bucket, and when.
// It holds states and not verdicts, so that a small charge can pass where a
// large one is refused. What it knows may reject and may shape the next write;
// it never admits. It is bounded in entries and in bytes, and safe for
// concurrent use.
type seen struct {
	mu    sync.Mutex
	lru   *lru.Cache[string, sight]
	bytes int64
	most  int64
}

// sight is a state that the store told: when, and the stamp of the request
// that it answers, by which the balances are to be read.
type sight struct {
	state State
	at    time.Time
	by    Stamp
	next  time.Time // no write before this, by the steady clock: see pace
}

// newSeen makes a cache of at most so many entries and bytes.
func newSeen(entries int, bytes int64) *seen {
	s := &seen{most: bytes}
	// The only error is a size below 1.
	s.lru, _ = lru.NewWithEvict(max(entries, 1), func(k string, v sight) { s.bytes -= weight(k, &v) })
	return s
}

// weight is about what an entry takes in memory: the key, the list and map
// cells of the cache, and the state with its limits.
func weight(k string, v *sight) int64 {
	const entry, limit = 344, 112
	return int64(entry + len(k) + limit*len(v.state.Limits))
}

// get is what was seen last of a bucket.
func (s *seen) get(k string) (sight, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lru.Get(k)
}

// put remembers what was seen, unless what is remembered is newer.
func (s *seen) put(k string, v sight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.lru.Peek(k); ok {
		if older(&v.state, &old.state) {
			return
		}
		s.bytes -= weight(k, &old)
	} else {
		k = strings.Clone(k) // behind it lie the key's raw parts
	}
	s.bytes += weight(k, &v)
	s.lru.Add(k, v)
	for s.bytes > s.most && s.lru.Len() > 1 {
		s.lru.RemoveOldest()
	}
}

// older reports whether a is surely an earlier state of the bucket than b:
// answers of a store may overtake each other. Counters only grow.
func older(a, b *State) bool {
	if a.Exists != b.Exists || a.Born != b.Born {
		return a.Exists && b.Exists && a.Born < b.Born
	}
	if a.Revision != b.Revision {
		return a.Revision < b.Revision
	}
	for i := range min(len(a.Limits), len(b.Limits)) {
		x, y := &a.Limits[i], &b.Limits[i]
		if x.Charged < y.Charged || x.Returned < y.Returned {
			return true
		}
	}
	return false
}
