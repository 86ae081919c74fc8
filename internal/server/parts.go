package server

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/internal/telemetry"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// policyOf is a configuration as decisions are made by it.
func policyOf(c *config.Config) *decision.Policy {
	return &decision.Policy{
		ID:            c.Sum,
		Rules:         c.Rules,
		Resolver:      hierarchy.NewResolver(c.Namespace, c.Limits),
		DenyNoMatch:   c.DenyNoMatch,
		OnUnavailable: c.OnUnavailable,
		Timeout:       c.DecisionTimeout,
		InProcess:     c.Store.Type == "embedded",
	}
}

// core is what decides, without the servers around it.
type core struct {
	metrics  *telemetry.Metrics
	observer *telemetry.Observer
	embedded *embedstore.Store
	store    *telemetry.Store
	limiter  *ratelimit.Limiter
	decider  *decision.Decider
}

// timed is of how many operations of the in-process store one is timed: it
// takes less time than looking at the clock.
const timed = 16

func newCore(c *config.Config, version string, log *slog.Logger) (*core, error) {
	k := &core{metrics: telemetry.NewMetrics(version), embedded: embedstore.New(embedstore.Config{})}
	k.observer = telemetry.NewObserver(k.metrics, log)
	k.store = k.metrics.Store(k.embedded, timed)
	k.metrics.Buckets(k.embedded.Len)
	limiter, err := ratelimit.New(ratelimit.Config{Store: k.store, Slack: c.Slack})
	if err != nil {
		return nil, fmt.Errorf("making the limiter: %w", err)
	}
	k.limiter = limiter
	k.decider = decision.New(limiter, k.observer)
	return k, nil
}

// sweepEvery is how often memory of buckets that are full again is given back.
const sweepEvery = 10 * time.Second

// sweep gives back memory until ctx is done.
func (k *core) sweep(ctx context.Context) {
	every(ctx, sweepEvery, func(now time.Time) { k.embedded.Sweep(ratelimit.StampOf(now)) })
}

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
	return explainer.Explain(ctx, policyOf(c), q)
}
