package embedstore

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/bits"
	"time"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Config says how a Store keeps buckets. The zero Config is a good one.
type Config struct {
	// Shards is how many parts with a lock of their own the buckets are spread
	// over, rounded up to a power of two; 0 is 256.
	Shards int
	// Keep is how long a bucket is kept after it is full, so that a clock that
	// steps back by less finds it as it was; 0 is 10 seconds, below 0 is none.
	Keep time.Duration
}

const (
	defaultShards = 256
	maxShards     = 1 << 16
	defaultKeep   = 10 * time.Second
)

// Store keeps buckets in memory, by the identity of their keys. It is safe for
// concurrent use: a write changes its bucket under a lock and leaves the
// slices of earlier States alone, so that those that were handed out stay as
// they are.
//
// A bucket that is full holds nothing that arithmetic doesn't know, whatever
// its limits' level. It is dropped, so that memory follows the buckets in use
// and not the keys ever seen: of each part when it has grown to twice what it
// was, at the stamp of the write that made it grow, and by [Store.Sweep].
type Store struct {
	seed   maphash.Seed
	keep   ratelimit.Stamp // milliseconds
	shards []shard         // as many as a power of two
}

var _ ratelimit.Store = (*Store)(nil)

// New makes an empty Store.
func New(cfg Config) *Store {
	n, keep := cfg.Shards, cfg.Keep
	if n <= 0 {
		n = defaultShards
	}
	n = min(n, maxShards)
	if keep == 0 {
		keep = defaultKeep
	}
	return &Store{
		seed:   maphash.MakeSeed(),
		keep:   ratelimit.Stamp(max(0, keep).Milliseconds()),
		shards: make([]shard, 1<<bits.Len(uint(n-1))),
	}
}

func (s *Store) shard(id string) *shard {
	return &s.shards[maphash.String(s.seed, id)&uint64(len(s.shards)-1)]
}

// Apply makes one conditional change of one bucket. The only error beside
// [*ratelimit.RefusedError] is the context's, before anything was changed; it
// matches [ratelimit.ErrNotApplied].
func (s *Store) Apply(ctx context.Context, w *ratelimit.Write) (ratelimit.State, error) {
	if err := ctx.Err(); err != nil {
		return ratelimit.State{}, fmt.Errorf("%w: %w", ratelimit.ErrNotApplied, err)
	}
	id := w.Key.ID()
	return s.shard(id).apply(id, w, s.keep)
}

// Get reads a bucket, without allocating. The only error is the context's.
func (s *Store) Get(ctx context.Context, k ratelimit.Key) (ratelimit.State, error) {
	if err := ctx.Err(); err != nil {
		return ratelimit.State{}, err
	}
	id := k.ID()
	return s.shard(id).get(id), nil
}

// Len is how many buckets are held.
func (s *Store) Len() int {
	n := 0
	for i := range s.shards {
		n += s.shards[i].len()
	}
	return n
}

// Sweep drops the buckets that have been full for long enough at a moment, and
// returns how many. Writes drop them too, but only while new buckets come: call
// it now and then to give back the memory after a burst. It holds the lock of
// one part at a time.
func (s *Store) Sweep(now ratelimit.Stamp) int {
	n := 0
	for i := range s.shards {
		n += s.shards[i].sweep(now - s.keep)
	}
	return n
}
