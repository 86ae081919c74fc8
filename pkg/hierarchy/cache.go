package hierarchy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/errgroup"
)

// CacheConfig says how a [Cache] reads a store.
type CacheConfig struct {
	Source Source
	// Poll is how often changes are read, about; 0 is 5 seconds.
	Poll time.Duration
	// Timeout is how long one resolution, or one reading of changes, may take;
	// 0 is a second.
	Timeout time.Duration
	// Entries is how many resolutions each resolver remembers, and four times as
	// many items the cache; 0 is 100,000. An entry takes about 1 KB in all.
	Entries int
	// OnError, if not nil, is told of each reading of changes that failed. What
	// is cached serves on.
	OnError func(namespace string, err error)
}

const (
	defaultPoll    = 5 * time.Second
	defaultTimeout = time.Second
	defaultEntries = 100_000
	itemsPerEntry  = 4

	// idlePolls is after how many polls a namespace that nobody asks for is
	// forgotten, and not polled any more.
	idlePolls = 120
	// minPause is the least that passes between two readings of changes that
	// buckets ask for, and unknownFor how long a namespace stays unknown.
	minPause   = 250 * time.Millisecond
	unknownFor = 5 * time.Second
	maxUnknown = 1024
)

// Cache is what a process knows of the configuration in a store: items that
// were read, absent ones too. It reads the changes of each namespace in use
// every few seconds, and drops what they name; where not all of them are there
// any more, it drops all of the namespace. One goroutine does so until Close.
//
// It is safe for concurrent use. Resolvers made from it share it. It waits by
// the machine's clock, and decides nothing by it.
type Cache struct {
	source  Source
	poll    time.Duration
	timeout time.Duration
	entries int
	onError func(namespace string, err error)

	items   *lru.Cache[itemKey, *entry]
	unknown *lru.Cache[string, time.Time] // :: namespace that is not registered -> when that was learnt

	mu     sync.RWMutex
	spaces map[string]*space // :: name of a namespace in use

	hits, misses, polls, failures atomic.Int64

	wake   chan struct{}
	ctx    context.Context // the cache's own life, which Close ends
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// itemKey is an item of one incarnation of a namespace.
type itemKey struct {
	space *space
	ref   Ref
}

// entry is an item as it was read, and holds as long as it isn't gone.
type entry struct {
	item *Item // nil: never written
	gone atomic.Bool
}

// NewCache makes a Cache. The caller closes it.
func NewCache(cfg CacheConfig) *Cache {
	c := &Cache{
		source: cfg.Source, poll: cfg.Poll, timeout: cfg.Timeout, entries: cfg.Entries, onError: cfg.OnError,
		spaces: map[string]*space{}, wake: make(chan struct{}, 1),
	}
	if c.poll <= 0 {
		c.poll = defaultPoll
	}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	if c.entries <= 0 {
		c.entries = defaultEntries
	}
	if c.onError == nil {
		c.onError = func(string, error) {}
	}
	// The only errors are of sizes below 1. An item that falls out is gone for
	// the resolutions that rest on it: nobody would tell them of its changes.
	c.items, _ = lru.NewWithEvict(c.entries*itemsPerEntry, func(_ itemKey, e *entry) { e.gone.Store(true) })
	c.unknown, _ = lru.New[string, time.Time](maxUnknown)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.done.Go(c.run)
	return c
}

// Close ends the reading of changes and waits for what is under way. The
// cache's resolvers answer from what is cached alone.
func (c *Cache) Close() {
	c.mu.Lock() // no reading begins after this
	c.cancel()
	c.mu.Unlock()
	c.done.Wait()
}

var errClosed = errors.New("the cache is closed")

// begin reports whether a reading may begin; done.Done ends it.
func (c *Cache) begin() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.done.Add(1)
	return true
}

// run reads changes until Close.
func (c *Cache) run() {
	timer := time.NewTimer(c.wait())
	defer timer.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.wake:
			c.readAll(func(sp *space) bool { return sp.isWanted() })
		case <-timer.C:
			c.readAll(func(sp *space) bool { return !c.retireIdle(sp) })
			timer.Reset(c.wait())
		}
	}
}

// wait is the time to the next poll: processes that were started together read
// apart.
func (c *Cache) wait() time.Duration {
	return c.poll - c.poll/10 + rand.N(c.poll/5+1) //nolint:gosec // nobody gains by guessing it
}

// readers is how many namespaces' changes are read at once.
const readers = 8

// readAll reads the changes of the namespaces that are chosen.
func (c *Cache) readAll(chosen func(*space) bool) {
	c.mu.RLock()
	all := make([]*space, 0, len(c.spaces))
	for _, sp := range c.spaces {
		all = append(all, sp)
	}
	c.mu.RUnlock()
	var reading errgroup.Group
	reading.SetLimit(readers)
	for _, sp := range all {
		if chosen(sp) {
			reading.Go(func() error {
				c.readChanges(sp)
				return nil
			})
		}
	}
	_ = reading.Wait() // each has told its own error
}

func (c *Cache) readChanges(sp *space) {
	ctx, cancel := context.WithTimeout(c.ctx, c.timeout)
	defer cancel()
	err := c.catchUp(ctx, sp, nil)
	if c.ctx.Err() != nil {
		return
	}
	c.polls.Add(1)
	if err != nil && !errors.Is(err, ErrUnknownNamespace) {
		c.failures.Add(1)
		c.onError(sp.name, err)
	}
}

// space is a namespace in use, made if it wasn't.
func (c *Cache) space(name string) *space {
	if sp := c.known(name); sp != nil {
		return sp
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sp := c.spaces[name]
	if sp == nil {
		sp = &space{name: name}
		c.spaces[name] = sp
	}
	return sp
}

// known is a namespace in use, or nil.
func (c *Cache) known(name string) *space {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.spaces[name]
}

// retire forgets all that is known of a namespace.
func (c *Cache) retire(sp *space) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sp.gone.Store(true)
	if c.spaces[sp.name] == sp {
		delete(c.spaces, sp.name)
	}
}

// retireIdle forgets a namespace that nobody asked for in many polls.
func (c *Cache) retireIdle(sp *space) bool {
	if sp.used.Swap(false) {
		sp.idle = 0
	}
	if sp.idle++; sp.idle <= idlePolls {
		return false
	}
	c.retire(sp)
	return true
}

// catchUp reads the changes after what is known of a namespace, unless that is
// as far as a mark, and drops what they name. The first time there is nothing
// to drop.
func (c *Cache) catchUp(ctx context.Context, sp *space, to *Mark) error {
	sp.reading.Lock()
	defer sp.reading.Unlock()
	at, begun := sp.position()
	switch {
	case !begun && to == nil:
		return nil // nobody has resolved anything yet
	case !begun:
		sp.begin(*to)
		return nil
	case to != nil && to.ID == at.ID && to.Revision <= at.Revision:
		return nil
	}
	began := time.Now()
	changes, err := c.source.Changes(ctx, sp.name, at)
	switch {
	case errors.Is(err, ErrGap), errors.Is(err, ErrUnknownNamespace):
		c.retire(sp)
		return nil
	case err != nil:
		return fmt.Errorf("reading the changes of namespace %q: %w", sp.name, err)
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	for i := range changes {
		for _, ref := range changes[i].Refs {
			c.items.Remove(itemKey{sp, ref}) // which marks it as gone
		}
	}
	sp.advance(changes)
	sp.asOf = began
	return nil
}

// Refresh reads the changes of a namespace now: what was changed before is in
// force when it returns.
func (c *Cache) Refresh(ctx context.Context, namespace string) error {
	c.unknown.Remove(namespace)
	sp := c.known(namespace)
	if sp == nil {
		return nil // nothing of it is remembered
	}
	if !c.begin() {
		return errClosed
	}
	defer c.done.Done()
	return c.catchUp(ctx, sp, nil)
}

// Stale tells that a bucket of a namespace was shaped by a revision. Where that
// is later than what is known of the namespace, its changes are read now, in
// the background and not more often than four times a second.
func (c *Cache) Stale(namespace string, revision int64) {
	sp := c.known(namespace)
	if sp == nil || !sp.want(revision) {
		return
	}
	select {
	case c.wake <- struct{}{}:
	default: // it is awake
	}
}
