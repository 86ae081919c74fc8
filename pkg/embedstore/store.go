package embedstore

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Config says how a Store keeps what it holds. The zero Config is a good one
// for trying things out.
type Config struct {
	// Path is the file that holds it all; empty: nothing outlives the process.
	Path string
	// RegisteredOnly refuses buckets of namespaces that are not registered.
	// Without it a namespace is registered by its first bucket: names that
	// clients choose then fill the memory.
	RegisteredOnly bool
	// KeepAudit is how long audit events are kept; 0 is 90 days.
	KeepAudit time.Duration
	// Shards is how many parts with a lock of their own the buckets are spread
	// over, rounded up to a power of two; 0 is 256.
	Shards int
	// MaxBuckets is how many buckets are held at once, 200 to 300 bytes each, to
	// within what the parts differ by: beyond it a new one gets [ErrFull], and
	// those that are there go on. 0 is 4,000,000.
	MaxBuckets int
	// Keep is how long a bucket is kept after it is full, so that a clock that
	// steps back by less finds it as it was; 0 is 10 seconds, below 0 is none.
	Keep time.Duration
	// OnSaveError, if not nil, is told when balances could not be saved. They
	// are tried again a second later.
	OnSaveError func(error)
}

const (
	defaultShards    = 256
	maxShards        = 1 << 16
	defaultBuckets   = 4_000_000
	defaultKeep      = 10 * time.Second
	defaultKeepAudit = 90 * 24 * time.Hour
)

// ErrFull is matched by the error for a new bucket when there are as many as
// there may be ([Config.MaxBuckets]): clients choose the names of entities, and
// must not choose how much memory the process takes. It matches
// [ratelimit.ErrUnusable], so that the fallback answers at once.
var ErrFull = fmt.Errorf("%w: %w: as many buckets as there may be", ratelimit.ErrNotApplied, ratelimit.ErrUnusable)

// Store keeps buckets in memory, by the identity of their keys, and the
// configuration beside them. It is safe for concurrent use: a write changes its
// bucket under a lock and leaves the slices of earlier States alone, so that
// those that were handed out stay as they are.
//
// A bucket that is full holds nothing that arithmetic doesn't know, whatever
// its limits' level. It is dropped, so that memory follows the buckets in use
// and not the keys ever seen: of each part when it has grown to twice what it
// was, at the stamp of the write that made it grow, and by [Store.Sweep].
type Store struct {
	seed           maphash.Seed
	keep           ratelimit.Stamp // milliseconds
	shards         []shard         // as many as a power of two
	records        records
	keepAudit      time.Duration
	registeredOnly bool

	// names are the namespaces that names lead to; the map is never changed,
	// but replaced.
	names atomic.Pointer[map[string]*space]

	registering sync.Mutex        // held while a namespace itself is changed
	ids         map[string]*space // :: id -> namespace, deleted ones too; under registering

	durable bool // buckets are saved
	saver   saver
}

var _ ratelimit.Store = (*Store)(nil)

// New makes an empty Store in memory. The Config's Path is not used: [Open]
// does.
func New(cfg Config) *Store { return newStore(cfg, newMemory()) }

func newStore(cfg Config, r records) *Store {
	n, keep := cfg.Shards, cfg.Keep
	if n <= 0 {
		n = defaultShards
	}
	n = min(n, maxShards)
	if keep == 0 {
		keep = defaultKeep
	}
	s := &Store{
		seed:           maphash.MakeSeed(),
		keep:           ratelimit.Stamp(max(0, keep).Milliseconds()),
		shards:         make([]shard, 1<<bits.Len(uint(n-1))),
		records:        r,
		keepAudit:      cfg.KeepAudit,
		registeredOnly: cfg.RegisteredOnly,
		ids:            map[string]*space{},
	}
	if s.keepAudit <= 0 {
		s.keepAudit = defaultKeepAudit
	}
	s.names.Store(&map[string]*space{})
	most := cfg.MaxBuckets
	if most <= 0 {
		most = defaultBuckets
	}
	for i := range s.shards {
		s.shards[i].most = (most + len(s.shards) - 1) / len(s.shards)
	}
	return s
}

// bucketKey is the identity of a bucket.
type bucketKey struct {
	space *space
	rest  string // of the key's ID, after the namespace
}

func keyIn(sp *space, k *ratelimit.Key) bucketKey {
	return bucketKey{sp, k.ID()[len(k.Namespace())+1:]}
}

func (s *Store) shard(k bucketKey) *shard {
	return &s.shards[maphash.String(s.seed, k.rest)&uint64(len(s.shards)-1)]
}

// Apply makes one conditional change of one bucket. Where the store has a file,
// the bucket is saved there within about a second. The errors beside
// [*ratelimit.RefusedError] match [ratelimit.ErrNotApplied]: the context's,
// [ErrFull], and one that matches [hierarchy.ErrUnknownNamespace].
func (s *Store) Apply(ctx context.Context, w *ratelimit.Write) (ratelimit.State, error) {
	if err := ctx.Err(); err != nil {
		return ratelimit.State{}, fmt.Errorf("%w: %w", ratelimit.ErrNotApplied, err)
	}
	for {
		sp, err := s.space(ctx, w.Key.Namespace())
		if err != nil {
			return ratelimit.State{}, fmt.Errorf("%w: %w", ratelimit.ErrNotApplied, err)
		}
		k := keyIn(sp, &w.Key)
		state, err := s.shard(k).apply(k, w, s.keep)
		if !errors.Is(err, errGone) {
			return state, err
		}
	}
}

// Get reads a bucket, without allocating. The errors are the context's, and one
// that matches [hierarchy.ErrUnknownNamespace] where such are refused.
func (s *Store) Get(ctx context.Context, k ratelimit.Key) (ratelimit.State, error) {
	if err := ctx.Err(); err != nil {
		return ratelimit.State{}, err
	}
	sp := (*s.names.Load())[k.Namespace()]
	if sp == nil {
		if s.registeredOnly {
			return ratelimit.State{}, unknown(k.Namespace())
		}
		return ratelimit.State{}, nil
	}
	id := keyIn(sp, &k)
	return s.shard(id).get(id), nil
}

func unknown(name string) error {
	return fmt.Errorf("namespace %q: %w", name, hierarchy.ErrUnknownNamespace)
}

// space finds a namespace, or registers it.
func (s *Store) space(ctx context.Context, name string) (*space, error) {
	if sp := (*s.names.Load())[name]; sp != nil {
		return sp, nil
	}
	if s.registeredOnly {
		return nil, unknown(name)
	}
	self := hierarchy.Cause{By: hierarchy.Actor{Caller: "first use"}, At: time.Now()}
	if _, err := s.RegisterNamespace(ctx, name, self); err != nil {
		return nil, err
	}
	if sp := (*s.names.Load())[name]; sp != nil {
		return sp, nil
	}
	return nil, unknown(name) // deleted in the same moment
}

// see lets charges see what became of a namespace; registering is held.
func (s *Store) see(ns hierarchy.Namespace) {
	names := maps.Clone(*s.names.Load())
	if ns.State == hierarchy.NamespaceActive {
		names[ns.Name] = s.spaceOf(ns.ID)
	} else if sp := names[ns.Name]; sp != nil && sp.id == ns.ID {
		delete(names, ns.Name)
	}
	s.names.Store(&names)
}

// spaceOf is the namespace of an id; registering is held.
func (s *Store) spaceOf(id string) *space {
	sp := s.ids[id]
	if sp == nil {
		sp = &space{id: id}
		s.ids[id] = sp
	}
	return sp
}

// dropBuckets forgets the buckets of a namespace for ever, and returns how many.
func (s *Store) dropBuckets(id string) int {
	s.registering.Lock()
	sp := s.spaceOf(id)
	delete(s.ids, id)
	s.registering.Unlock()
	s.saver.mu.Lock() // what was on its way to the file is there before it is removed
	defer s.saver.mu.Unlock()
	sp.gone.Store(true)
	n := 0
	for i := range s.shards {
		n += s.shards[i].dropSpace(sp)
	}
	return n
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

func (s *Store) view(ctx context.Context, f func(reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.records.view(f)
}

func (s *Store) update(ctx context.Context, f func(writer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.records.update(f)
}
