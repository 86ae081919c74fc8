package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// BalanceQuestion asks what is left of an entity's limits for a resource.
type BalanceQuestion struct {
	Entity   string `json:"entity"`
	Resource string `json:"resource"`
	// Tier is used where the entity has none; empty: none.
	Tier string `json:"tier,omitempty"`
}

// Balance is what is left, now.
type Balance struct {
	Namespace string          `json:"namespace"`
	Entity    string          `json:"entity"`
	Resource  string          `json:"resource"`
	Tier      string          `json:"tier,omitempty"` // the one that was used
	At        time.Time       `json:"at"`
	Buckets   []BucketBalance `json:"buckets"` // the entity's own, then its parents'
}

// BucketBalance is what is left in one bucket.
type BucketBalance struct {
	Entity string         `json:"entity"`
	Level  string         `json:"level"` // where its limits come from
	Mode   string         `json:"mode"`
	Limits []LimitBalance `json:"limits"`
}

// LimitBalance is what is left of one limit.
type LimitBalance struct {
	Name             string    `json:"name"`
	Rate             int64     `json:"rate"`
	PeriodSeconds    float64   `json:"period_seconds"`
	Burst            int64     `json:"burst"`
	Balance          int64     `json:"balance"` // below zero it is a debt
	FullAfterSeconds float64   `json:"full_after_seconds"`
	FullAt           time.Time `json:"full_at"`
	// Text is the limit in the short form.
	Text string `json:"text"`
}

// balance looks at the buckets of a question.
func balance(ctx context.Context, l decision.Limiter, r ratelimit.Resolver, namespace string, q *BalanceQuestion) (*Balance, error) {
	key, err := ratelimit.NewKey(namespace, q.Entity, q.Resource, "")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	now := l.Now()
	d, err := l.Look(ctx, ratelimit.Ask{
		Now: now, Resolver: r, OnUnavailable: ratelimit.FallbackError,
		Charges: []ratelimit.Charge{{Query: ratelimit.Query{Key: key, Tier: q.Tier}, Cost: ratelimit.EachLimit(0)}},
	})
	if err != nil {
		return nil, err
	}
	b := &Balance{Namespace: namespace, Entity: q.Entity, Resource: q.Resource, At: now.UTC(), Buckets: []BucketBalance{}}
	for i := range d.Buckets {
		if d.Buckets[i].Parent == 0 {
			b.Tier = d.Buckets[i].Tier
		}
		b.Buckets = append(b.Buckets, bucketBalance(&d.Buckets[i], now))
	}
	return b, nil
}

func bucketBalance(s *ratelimit.BucketStatus, now time.Time) BucketBalance {
	b := BucketBalance{Entity: s.Key.Entity(), Level: s.Level.String(), Mode: s.Mode.String(), Limits: []LimitBalance{}}
	for _, l := range s.Limits {
		b.Limits = append(b.Limits, LimitBalance{
			Name: l.Limit.Name, Rate: l.Limit.Rate, PeriodSeconds: l.Limit.Period.Seconds(), Burst: l.Limit.Burst, Text: l.Limit.Text(),
			Balance: l.Balance.Tokens(), FullAfterSeconds: l.FullAfter.Seconds(), FullAt: now.Add(l.FullAfter).UTC(),
		})
	}
	return b
}

// balance answers what is left.
func (h *handler) balance(c *call) (any, error) {
	q, err := body[BalanceQuestion](c)
	if err != nil {
		return nil, err
	}
	return balance(c.ctx(), h.Explainer.Limiter, h.Policy().Resolver, c.name(), &q)
}

// Balance asks what is left of an entity's limits for a resource.
func (c *Client) Balance(ctx context.Context, namespace string, q *BalanceQuestion) (*Balance, error) {
	path, err := of(namespace, "/balance")
	if err != nil {
		return nil, err
	}
	return post[*Balance](ctx, c, path, q)
}

// balances say what is left, and change it by hand.
type balances interface {
	Balance(ctx context.Context, namespace string, q *BalanceQuestion) (*Balance, error)
	Operate(ctx context.Context, namespace string, o *Operation, by hierarchy.Cause) (*Operated, error)
}

// Balance is what is left of an entity's limits for a resource.
func (s *Session) Balance(ctx context.Context, q *BalanceQuestion) (*Balance, error) {
	return s.balances.Balance(ctx, s.namespace, q)
}

// table is a table that is asked directly. What the file of a service says
// counts there as little as it is known.
type table struct{ *dynamostore.Store }

// Balance implements balances.
func (t table) Balance(ctx context.Context, namespace string, q *BalanceQuestion) (*Balance, error) {
	var b *Balance
	err := t.with(ctx, namespace, func(l decision.Limiter, r ratelimit.Resolver) (err error) {
		b, err = balance(ctx, l, r, namespace, q)
		return err
	})
	return b, err
}

// with calls f with what looks at the table's buckets.
func (t table) with(ctx context.Context, namespace string, f func(decision.Limiter, ratelimit.Resolver) error) error {
	cache := hierarchy.NewCache(hierarchy.CacheConfig{Source: t.Store, Timeout: lookTimeout})
	defer cache.Close()
	l, err := ratelimit.New(ratelimit.Config{Store: t.Store, Remote: &ratelimit.Remote{WriteTimeout: lookTimeout}})
	if err != nil {
		return fmt.Errorf("making the limiter: %w", err)
	}
	err = f(l, cache.Resolver(namespace, hierarchy.Document{}))
	return errors.Join(err, l.Close(ctx))
}
