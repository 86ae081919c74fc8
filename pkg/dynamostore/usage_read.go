package dynamostore

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"golang.org/x/sync/errgroup"

	"github.com/extauthz/extauthz/pkg/ratelimit"
	"github.com/extauthz/extauthz/pkg/usage"
)

// Used is what one bucket of an entity used in an hour, by the names of limits.
type Used struct {
	UsageKey
	Totals map[string]usage.Totals
}

// Items are the same as items of an hour, with raw names.
func (u *Used) Items() []usage.Item {
	bucket := usage.Bucket{
		Entity: ratelimit.RawPart(u.EntityID), Resource: ratelimit.RawPart(u.ResourceID), Variant: ratelimit.RawPart(u.Variant),
	}
	all := make([]usage.Item, 0, len(u.Totals))
	for limit, totals := range u.Totals {
		all = append(all, usage.Item{Bucket: bucket, Limit: limit, From: u.Hour, To: u.Hour + 1, Totals: totals})
	}
	return all
}

// Usage is what an entity's buckets used from one hour until before another, in
// the order of time: nothing where there was no change, or where no aggregator
// counts. It is behind by the aggregator's batch window and some seconds. It
// reads a unit for each 4 KB, 20 hours of a bucket or so.
//
// The error matches [hierarchy.ErrUnknownNamespace] where the namespace is
// unknown.
func (s *Store) Usage(ctx context.Context, namespace, entity string, from, to usage.Hour) ([]Used, error) {
	id, err := s.adminID(ctx, namespace)
	if err != nil {
		return nil, err
	}
	all, err := s.usage(ctx, id, ratelimit.EntityID(entity), from, to)
	if err != nil {
		return nil, fmt.Errorf("reading the usage of entity %q: %w", entity, err)
	}
	return all, nil
}

// usagesAtOnce is how many queries for usage are made at a time.
const usagesAtOnce = 16

// UsageOfAll hands on what [Store.Usage] finds of each entity of a namespace
// that used anything on the days from one hour until before another, one after
// the other in no order. It reads 8 pages for each day, and then each entity's.
func (s *Store) UsageOfAll(ctx context.Context, namespace string, from, to usage.Hour, found func([]Used)) error {
	id, err := s.adminID(ctx, namespace)
	if err != nil {
		return err
	}
	entities, err := s.used(ctx, id, from, to)
	if err != nil {
		return fmt.Errorf("reading who used anything in namespace %q: %w", namespace, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(usagesAtOnce)
	var one sync.Mutex
	for entityID := range entities {
		group.Go(func() error {
			all, err := s.usage(ctx, id, entityID, from, to)
			if err != nil {
				return fmt.Errorf("reading the usage of entity %q: %w", ratelimit.RawPart(entityID), err)
			}
			one.Lock()
			defer one.Unlock()
			found(all)
			return nil
		})
	}
	return group.Wait()
}

// used are the ids of the entities that used anything on some days.
func (s *Store) used(ctx context.Context, id string, from, to usage.Hour) (map[string]bool, error) {
	entities := map[string]bool{}
	var one sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(usagesAtOnce)
	for day := usage.Daily.Floor(from); day < to; day = usage.Daily.Add(day, 1) {
		for part := range uint32(dayParts) {
			in := &dynamodb.QueryInput{
				KeyConditionExpression:    new("PK = :p"),
				ExpressionAttributeValues: item{":p": textValue(dayKey(id, day, part))},
			}
			group.Go(func() error {
				return s.pages(ctx, in, func(it item) error {
					sk, err := textOf(it, attrSK)
					one.Lock()
					defer one.Unlock()
					entities[sk] = true
					return err
				})
			})
		}
	}
	return entities, group.Wait()
}

// usage is that of one entity.
func (s *Store) usage(ctx context.Context, id, entityID string, from, to usage.Hour) ([]Used, error) {
	var all []Used
	err := s.pages(ctx, &dynamodb.QueryInput{
		KeyConditionExpression: new("PK = :p AND SK BETWEEN :from AND :to"),
		ExpressionAttributeValues: item{
			// What lies in an hour sorts after the hour itself.
			":p": textValue(id + kindUsage + entityID), ":from": textValue(from.String()), ":to": textValue(to.String()),
		},
	}, func(it item) error {
		u, err := decodeUsed(id, entityID, it)
		all = append(all, u)
		return err
	})
	return all, err
}

// pages makes a query until it has all, and hands on each item.
func (s *Store) pages(ctx context.Context, in *dynamodb.QueryInput, found func(item) error) error {
	for {
		items, more, err := s.query(ctx, in)
		if err != nil {
			return err
		}
		for _, it := range items {
			if err := found(it); err != nil {
				return err
			}
		}
		if !more || len(items) == 0 {
			return nil
		}
		last := items[len(items)-1]
		in.ExclusiveStartKey = item{attrPK: last[attrPK], attrSK: last[attrSK]}
	}
}

func decodeUsed(namespaceID, entityID string, it item) (Used, error) {
	u := Used{UsageKey: UsageKey{NamespaceID: namespaceID, EntityID: entityID}}
	sk, err := textOf(it, attrSK)
	if err != nil {
		return u, err
	}
	hour, rest, _ := strings.Cut(sk, "/")
	if u.Hour, err = usage.ParseHour(hour); err != nil {
		return u, fmt.Errorf("the item %s: %w", sk, err)
	}
	u.ResourceID, u.Variant, _ = strings.Cut(rest, "/")
	account, _, err := DecodeUsage(it)
	if err != nil {
		return u, fmt.Errorf("the item %s: %w", sk, err)
	}
	u.Totals = account.Totals()
	return u, nil
}
