package embedstore

import (
	"errors"
	"strings"
	"sync"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// minSweep is the number of buckets below which a shard isn't worth a sweep.
const minSweep = 64

// shard is a part of the buckets with a lock of its own.
type shard struct {
	mu      sync.Mutex
	buckets map[bucketKey]*ratelimit.State
	changed map[bucketKey]struct{} // since the last save; nil where nothing is saved
	most    int                    // how many buckets there may be
	left    int                    // how many the last sweep left
	peak    int                    // the most that buckets ever held
	swept   ratelimit.Stamp        // of the last sweep that was made for want of room
}

// errGone says that a namespace was purged since it was looked up.
var errGone = errors.New("the namespace was purged")

// roomEvery is how often, in milliseconds, a part that is as large as it may be
// looks for buckets to forget: a flood of new ones pays for one look, not each
// for its own.
const roomEvery = 1000

func (s *shard) get(id bucketKey) ratelimit.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[id]; b != nil {
		return *b
	}
	return ratelimit.State{}
}

func (s *shard) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.buckets)
}

func (s *shard) apply(id bucketKey, w *ratelimit.Write, keep ratelimit.Stamp) (ratelimit.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id.space.gone.Load() {
		return ratelimit.State{}, errGone
	}
	b := s.buckets[id]
	if b != nil {
		next, ok := w.Execute(*b)
		if !ok {
			return ratelimit.State{}, &ratelimit.RefusedError{State: *b}
		}
		*b = next
		s.touch(id)
		return next, nil
	}
	next, ok := w.Execute(ratelimit.State{})
	if !ok {
		return ratelimit.State{}, &ratelimit.RefusedError{}
	}
	if !s.room(w.Stamp, keep) {
		return ratelimit.State{}, ErrFull
	}
	if s.buckets == nil {
		s.buckets = make(map[bucketKey]*ratelimit.State)
	}
	id.rest = strings.Clone(id.rest) // around it lies all else of the key
	s.buckets[id] = &next
	s.touch(id)
	s.peak = max(s.peak, len(s.buckets))
	return next, nil
}

// room reports whether one more bucket may be kept. It looks for buckets to
// forget when they have become twice as many, or as many as there may be.
func (s *shard) room(now, keep ratelimit.Stamp) bool {
	grown, full := len(s.buckets) >= 2*max(s.left, minSweep/2), len(s.buckets) >= s.most
	if d := now - s.swept; full && !grown && d >= 0 && d < roomEvery {
		return false
	}
	if full {
		s.swept = now
	}
	if grown || full {
		s.drop(now - keep)
	}
	return len(s.buckets) < s.most
}

// touch marks a bucket to be saved.
func (s *shard) touch(id bucketKey) {
	if s.changed != nil {
		s.changed[id] = struct{}{}
	}
}

// mark marks a bucket to be saved.
func (s *shard) mark(id bucketKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touch(id)
}

// put takes up a bucket that was saved.
func (s *shard) put(id bucketKey, b *ratelimit.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets == nil {
		s.buckets = make(map[bucketKey]*ratelimit.State)
	}
	s.buckets[id] = b
	s.peak = max(s.peak, len(s.buckets))
	s.left = len(s.buckets)
}

// takeChanged appends the buckets that have changed since the last time.
func (s *shard) takeChanged(to []bucketKey) []bucketKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.changed) == 0 {
		return to
	}
	for id := range s.changed {
		to = append(to, id)
	}
	s.changed = make(map[bucketKey]struct{}, len(s.changed)/2)
	return to
}

// dropSpace forgets the buckets of a namespace, and returns how many.
func (s *shard) dropSpace(sp *space) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.buckets)
	for id := range s.buckets {
		if id.space == sp {
			delete(s.buckets, id)
			delete(s.changed, id)
		}
	}
	return before - len(s.buckets)
}

func (s *shard) sweep(before ratelimit.Stamp) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drop(before)
}

// drop forgets the buckets that are full at a stamp, and returns how many. It
// looks at every one: a shard that doubles between two of these pays for them
// with a constant share of each write.
func (s *shard) drop(fullAt ratelimit.Stamp) int {
	before := len(s.buckets)
	for id, b := range s.buckets {
		if b.FullAt() <= fullAt {
			delete(s.buckets, id)
			s.touch(id)
		}
	}
	s.left = len(s.buckets)
	if s.peak > minSweep && s.left < s.peak/4 {
		s.shrink()
	}
	return before - s.left
}

// shrink gives back what the map holds for buckets that are gone: a map never
// does so by itself.
func (s *shard) shrink() {
	smaller := make(map[bucketKey]*ratelimit.State, s.left)
	for id, b := range s.buckets {
		smaller[id] = b
	}
	s.buckets, s.peak = smaller, s.left
}
