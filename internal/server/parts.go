package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/internal/recent"
	"github.com/extauthz/extauthz/internal/telemetry"
	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// policyOf is a configuration as decisions are made by it; inProcess says that
// the store in use is. What the resolver says comes of the configuration's limits.
func policyOf(c *config.Config, limits ratelimit.Resolver, inProcess bool) *decision.Policy {
	return &decision.Policy{
		ID:            c.ID(),
		Rules:         c.Rules,
		Resolver:      limits,
		DenyNoMatch:   c.DenyNoMatch,
		OnUnavailable: c.OnUnavailable,
		LocalShare:    c.LocalShare,
		Timeout:       c.DecisionTimeout,
		InProcess:     inProcess,

		ResponseHeaders: c.ResponseHeaders, DynamicMetadata: c.DynamicMetadata,
		HeaderNames: c.HeaderNames,
		Shadow:      c.Shadow,
	}
}

// core is what decides, without the servers around it.
type core struct {
	metrics  *telemetry.Metrics
	observer *telemetry.Observer
	recent   *recent.Recorder
	store    *store
	counted  *telemetry.Store // the store, as the limiter has it
	limits   *hierarchy.Cache // of the store's configuration
	limiter  *ratelimit.Limiter
	decider  *decision.Decider
}

// newCore opens the store. The caller closes the core.
func newCore(ctx context.Context, o *Options) (*core, error) {
	c := o.Config
	k := &core{metrics: telemetry.NewMetrics(o.Version), recent: recent.New(time.Now)}
	k.observer = telemetry.NewObserver(k.metrics, o.Log)
	var err error
	if k.store, err = openStore(ctx, c, k.metrics, o.Log); err != nil {
		return nil, err
	}
	k.counted = k.metrics.Store(k.store, k.store.sample, o.Log)
	k.limiter, err = ratelimit.New(ratelimit.Config{Store: k.counted, Slack: c.Slack, Remote: k.store.remote})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making the limiter: %w", err), k.store.close())
	}
	k.metrics.Limiter(k.limiter.Stats)
	k.limits = hierarchy.NewCache(hierarchy.CacheConfig{
		Source: limitsOf{k.store}, Poll: k.store.poll, OnError: telemetry.PollFailed(o.Log),
	})
	k.metrics.Limits(k.limits.Stats)
	k.decider = decision.New(k.limiter, observers{k.observer, k.recent})
	return k, nil
}

// observers are told of every decision, one after the other.
type observers struct {
	metrics *telemetry.Observer
	recent  *recent.Recorder
}

// Decided implements [decision.Observer].
func (o observers) Decided(p *decision.Policy, reqs []*descriptors.Request, a *decision.Answer, took time.Duration) {
	o.metrics.Decided(p, reqs, a, took)
	o.recent.Decided(p, reqs, a, took)
}

// Shadowed implements [decision.Observer].
func (o observers) Shadowed(p *decision.Policy, r *descriptors.Rule, d *ratelimit.Decision, err error) {
	o.metrics.Shadowed(p, r, d, err)
	o.recent.Shadowed(p, r, d, err)
}

// sweepEvery is how often memory of buckets that are full again is given back.
const sweepEvery = 10 * time.Second

// every calls f at an interval until ctx is done.
func every(ctx context.Context, interval time.Duration, f func(now time.Time)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			f(now)
		}
	}
}

// Explain says how a request would be decided by a configuration, with every
// bucket full. An error is about the question.
func Explain(ctx context.Context, c *config.Config, q *admin.Question) (*admin.Explanation, error) {
	limiter, err := ratelimit.New(ratelimit.Config{Store: embedstore.New(embedstore.Config{}), Slack: c.Slack})
	if err != nil {
		return nil, fmt.Errorf("making the limiter: %w", err)
	}
	explainer := admin.Explainer{Decider: decision.New(limiter, nil), Limiter: limiter}
	return explainer.Explain(ctx, policyOf(c, hierarchy.NewResolver(c.Namespace, c.Limits), true), q)
}
