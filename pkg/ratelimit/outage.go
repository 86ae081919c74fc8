package ratelimit

import (
	"context"
	"errors"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// outageRetry is the wait that is answered while the store is unavailable
	// and the fallback denies.
	outageRetry = time.Second
	// outageBuckets bounds the buckets that FallbackLocal keeps.
	outageBuckets = 100_000

	defaultLocalShare = 0.1
)

// unavailable answers for the store. err is why. That a namespace isn't there is
// an answer of the store's, and no reason to admit anybody.
func (l *Limiter) unavailable(ctx context.Context, a *Ask, f Fallback, err error) (Decision, error) {
	if errors.Is(err, ErrUnknownNamespace) {
		return Decision{}, unknownOr(err)
	}
	d := Decision{Source: SourceFallback, Reason: ReasonUnavailable}
	switch f {
	case FallbackAllow:
		d.Allowed = true
	case FallbackDeny:
		d.RetryAfter = outageRetry
	case FallbackLocal:
		return l.outage.decide(ctx, l.slack, a)
	case FallbackUnset, FallbackError:
		return Decision{}, err
	}
	return d, nil
}

// unknownOr takes the word of an outage from an error about a namespace that
// isn't registered.
func unknownOr(err error) error {
	if outage := new(unavailableError); errors.Is(err, ErrUnknownNamespace) && errors.As(err, &outage) {
		return outage.err
	}
	return err
}

// outage decides from buckets in memory that have a share of rate and capacity,
// for as long as the store gives no answer. Its zero value is ready to use.
type outage struct {
	once  sync.Once
	store *localStore
}

func (o *outage) decide(ctx context.Context, slack int64, a *Ask) (Decision, error) {
	o.once.Do(func() { o.store = newLocalStore(outageBuckets) })
	ctx = context.WithoutCancel(ctx) // it takes no time, and there may be none left
	b := new(batch)
	share := a.LocalShare
	if share <= 0 {
		share = defaultLocalShare
	}
	local := *a
	local.Resolver = shareResolver{a.Resolver, share}
	if err := b.resolve(ctx, slack, &local); err != nil {
		return Decision{}, err
	}
	engine := direct{store: o.store, compensate: compensateTimeout}
	if err := engine.run(ctx, b, true); err != nil {
		return Decision{}, err
	}
	d := b.decision(a.Charges)
	d.Source = SourceFallback
	return d, nil
}

// shareResolver resolves to a share of each limit that is known, at least one
// token of each. It waits for nothing.
type shareResolver struct {
	Resolver
	share float64
}

// Resolve has the share of each limit.
func (r shareResolver) Resolve(ctx context.Context, q Query) (Resolution, error) {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	res, err := r.Resolver.Resolve(ctx, q)
	if err != nil && (len(res.Targets) == 0 || errors.Is(err, ErrUnknownNamespace)) {
		return Resolution{}, err // without limits it would admit everybody
	}
	targets := make([]Target, len(res.Targets))
	for i, t := range res.Targets {
		t.Limits = append([]Limit(nil), t.Limits...)
		for j := range t.Limits {
			t.Limits[j].Rate = max(1, int64(float64(t.Limits[j].Rate)*r.share))
			t.Limits[j].Burst = max(1, int64(float64(t.Limits[j].Burst)*r.share))
		}
		targets[i] = t
	}
	res.Targets = targets
	return res, nil
}

// localStore is a Store in memory, bounded in buckets: the one not used for
// longest goes first.
type localStore struct {
	mu    sync.Mutex
	items *lru.Cache[string, State]
}

var _ Store = (*localStore)(nil)

func newLocalStore(buckets int) *localStore {
	items, _ := lru.New[string, State](buckets) // the only error is a size below 1
	return &localStore{items: items}
}

// Apply implements Store.
func (s *localStore) Apply(_ context.Context, w *Write) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, _ := s.items.Get(w.Key.ID())
	next, ok := w.Execute(old)
	if !ok {
		return State{}, &RefusedError{State: old}
	}
	s.items.Add(w.Key.ID(), next)
	return next, nil
}

// Get implements Store.
func (s *localStore) Get(_ context.Context, k Key) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, _ := s.items.Get(k.ID())
	return state, nil
}
