package embedstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// saver writes changed buckets to the file, every second.
type saver struct {
	mu      sync.Mutex // held while buckets are saved
	onError func(error)
	cancel  context.CancelFunc
	done    sync.WaitGroup
	closed  sync.Once
	err     error // of Close
}

const (
	saveEvery = time.Second
	// saveStep is how many buckets one transaction saves: an edit of the
	// configuration waits for one, not for all.
	saveStep = 2000
)

// Open makes a Store of a file, or, without a Path, in memory alone. The caller
// closes it. What is in the file is checked as a whole: the errors are
// [*FileError], and a file that can't be used is left as it is.
//
// A change of the configuration or of a namespace is in the file, and on the
// disk, when it is made. Buckets are saved every second and by Close: after a
// process was killed, at most the charges of the last second or so are
// forgotten, so that a bucket holds again what they took.
func Open(cfg Config) (*Store, error) {
	if cfg.Path == "" {
		return New(cfg), nil
	}
	f, err := openFile(cfg.Path)
	if err != nil {
		return nil, err
	}
	s := newStore(cfg, f)
	if err := s.load(); err != nil {
		return nil, errors.Join(&FileError{Path: cfg.Path, Problem: FileCorrupt, Err: err}, f.close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.saver.cancel, s.saver.onError = cancel, cfg.OnSaveError
	s.saver.done.Go(func() { s.saveOften(ctx) })
	return s, nil
}

// Close saves what has changed and closes the file. The Store must not be used
// any more. Closing it again does nothing.
func (s *Store) Close() error {
	s.saver.closed.Do(func() {
		if s.saver.cancel == nil {
			return // nothing is saved
		}
		s.saver.cancel()
		s.saver.done.Wait()
		s.saver.err = errors.Join(s.save(), s.records.close())
	})
	return s.saver.err
}

func (s *Store) saveOften(ctx context.Context) {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := s.save(); err != nil && s.saver.onError != nil {
				s.saver.onError(err)
			}
		}
	}
}

// save writes the buckets that have changed since the last time. It copies each
// under its shard's lock, and writes without any.
func (s *Store) save() error {
	s.saver.mu.Lock()
	defer s.saver.mu.Unlock()
	var batch []bucketKey
	for i := range s.shards {
		batch = s.shards[i].takeChanged(batch)
		if len(batch) < saveStep && i < len(s.shards)-1 {
			continue
		}
		if err := s.saveBatch(batch); err != nil {
			for _, k := range batch {
				s.shard(k).mark(k) // to be tried again
			}
			return fmt.Errorf("saving %d buckets: %w", len(batch), err)
		}
		batch = batch[:0]
	}
	return nil
}

// saveBatch saves buckets as they are within the update: what was written there
// before it, by an operation, is older.
func (s *Store) saveBatch(batch []bucketKey) error {
	if len(batch) == 0 {
		return nil
	}
	return s.records.update(func(w writer) error {
		for _, k := range batch {
			key, state := stateKey(k.space.id, k.rest), s.shard(k).get(k)
			if !state.Exists { // dropped since
				w.remove(key)
				continue
			}
			if err := write(w, key, saved(&state)); err != nil {
				return err
			}
		}
		return nil
	})
}

// load takes up what the file holds: its namespaces, and their buckets.
func (s *Store) load() error {
	names := map[string]*space{}
	s.names.Store(&names)
	return s.records.view(func(r reader) error {
		err := r.scan(idKeys, "", false, func(_ string, value []byte) (bool, error) {
			var n namespaceRecord
			if err := json.Unmarshal(value, &n); err != nil {
				return false, fmt.Errorf("reading a namespace: %w", err)
			}
			if sp := s.spaceOf(n.ID); n.State == hierarchy.NamespaceActive {
				names[n.Name] = sp
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		s.durable = true
		for i := range s.shards {
			s.shards[i].changed = map[bucketKey]struct{}{}
		}
		return r.scan(stateKeys, "", false, func(key string, value []byte) (bool, error) {
			return true, s.loadBucket(key, value)
		})
	})
}

func (s *Store) loadBucket(key string, value []byte) error {
	id, rest, ok := strings.Cut(key[len(stateKeys):], "/")
	sp := s.ids[id]
	if !ok || sp == nil {
		return fmt.Errorf("the bucket %q is in no namespace", key)
	}
	var b savedBucket
	if err := json.Unmarshal(value, &b); err != nil {
		return fmt.Errorf("reading the bucket %q: %w", key, err)
	}
	k := bucketKey{sp, rest}
	s.shard(k).put(k, b.state())
	return nil
}

// savedBucket is a bucket as it is kept.
type savedBucket struct {
	Revision  int64           `json:"v"`
	Shape     ratelimit.Shape `json:"sh"`
	ShapedAt  ratelimit.Stamp `json:"at"`
	Last      ratelimit.Stamp `json:"lt"`
	Born      ratelimit.Stamp `json:"born"`
	ExpiresAt int64           `json:"ttl,omitempty"`
	Limits    []savedLimit    `json:"limits"`
}

type savedLimit struct {
	Name     string                `json:"name"`
	On       bool                  `json:"on"`
	Capacity ratelimit.Millitokens `json:"cp"`
	Refill   ratelimit.Continuous  `json:"refill"`
	Balance  ratelimit.Millitokens `json:"b"`
	Charged  ratelimit.Millitokens `json:"c"`
	Returned ratelimit.Millitokens `json:"r"`
}

func saved(s *ratelimit.State) savedBucket {
	b := savedBucket{
		Revision: s.Revision, Shape: s.Shape, ShapedAt: s.ShapedAt, Last: s.Last, Born: s.Born, ExpiresAt: s.ExpiresAt,
		Limits: make([]savedLimit, len(s.Limits)),
	}
	for i := range s.Limits {
		l := &s.Limits[i]
		refill, _ := l.Refill.(ratelimit.Continuous) // there is no other
		b.Limits[i] = savedLimit{l.Name, l.On, l.Capacity, refill, l.Balance, l.Charged, l.Returned}
	}
	return b
}

func (b *savedBucket) state() *ratelimit.State {
	s := ratelimit.State{
		Exists: true, Revision: b.Revision, Shape: b.Shape, ShapedAt: b.ShapedAt, Last: b.Last, Born: b.Born, ExpiresAt: b.ExpiresAt,
		Limits: make([]ratelimit.LimitState, len(b.Limits)),
	}
	for i, l := range b.Limits {
		s.Limits[i] = ratelimit.LimitState{
			Params: ratelimit.Params{Name: l.Name, Capacity: l.Capacity},
			On:     l.On, Balance: l.Balance, Charged: l.Charged, Returned: l.Returned,
		}
		if l.Refill != (ratelimit.Continuous{}) { // of a slot that was never used
			s.Limits[i].Refill = l.Refill
		}
	}
	return &s
}
