package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// settled is how long after a namespace's deletion its purge looks for items:
// by then every process has noticed, and ended the writes that it had begun.
const settled = defaultRecheck + checkTimeout + 8*time.Second

// counted is how long after a purge was begun it looks for items: by then the
// aggregator has ended what it began to write before, see [UsageWithin].
const counted = UsageWithin + 2*time.Second

// PurgeNamespace implements hierarchy.Namespaces. It reads the whole table once,
// as there is no list of buckets: a unit for each 4 KB of the table. It begins
// 15 seconds after the deletion at the earliest, and 5 seconds after the call.
func (s *Store) PurgeNamespace(ctx context.Context, id string, progress func(removed int)) error {
	h, err := s.headOf(ctx, id)
	if err != nil {
		return err
	}
	if h.active() {
		return fmt.Errorf("purging namespace %q, %s: %w", h.Name, id, hierarchy.ErrNamespaceActive)
	}
	if err := s.purge(ctx, &h, progress); err != nil {
		return fmt.Errorf("purging namespace %q, %s: %w", h.Name, id, err)
	}
	return nil
}

func (s *Store) purge(ctx context.Context, h *head, progress func(removed int)) error {
	if err := s.beginPurge(ctx, h); err != nil {
		return err
	}
	if err := s.waitSettled(ctx, h); err != nil {
		return err
	}
	removed := 0
	err := s.scan(ctx, h.ID, func(keys []item) error {
		if err := s.remove(ctx, keys); err != nil {
			return err
		}
		removed += len(keys)
		if progress != nil {
			progress(removed)
		}
		return nil
	})
	if err != nil {
		return err
	}
	// What leads to it goes last, so that it can be called again.
	return s.transact(ctx, []types.TransactWriteItem{
		{Delete: &types.Delete{TableName: &s.table, Key: primaryKey(orphansKey, h.ID)}},
		{Delete: &types.Delete{TableName: &s.table, Key: headKey(h.ID)}},
	})
}

// beginPurge marks a deleted namespace: from now on there is no way back.
func (s *Store) beginPurge(ctx context.Context, h *head) error {
	if h.State == hierarchy.NamespacePurging {
		return nil
	}
	err := s.observe(RequestConfigWrite, func(*Call) error {
		_, err := s.others.UpdateItem(ctx, &dynamodb.UpdateItemInput{
			TableName: &s.table, Key: headKey(h.ID),
			ConditionExpression: new("#s = :deleted"), UpdateExpression: new("SET #s = :purging"),
			ExpressionAttributeNames: map[string]string{"#s": attrState},
			ExpressionAttributeValues: item{
				":deleted": textValue(hierarchy.NamespaceDeleted.String()), ":purging": textValue(hierarchy.NamespacePurging.String()),
			},
		})
		return err
	})
	var refused *types.ConditionalCheckFailedException
	if errors.As(err, &refused) { // recovered, or another purge has begun
		return fmt.Errorf("its state was changed at the same time, look at it and try again: %w", err)
	}
	return err
}

func (s *Store) waitSettled(ctx context.Context, h *head) error {
	// A clock that is wrong makes nobody wait for longer.
	wait := max(s.settled-s.now().Sub(h.DeletedAt), counted)
	timer := time.NewTimer(min(wait, s.settled))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting until all have noticed the deletion: %w", ctx.Err())
	}
}

// scan hands on the keys of all that a namespace holds, but its head, in parts.
func (s *Store) scan(ctx context.Context, id string, found func(keys []item) error) error {
	in := &dynamodb.ScanInput{
		TableName: &s.table, ConsistentRead: new(true), ReturnConsumedCapacity: s.capacity,
		ProjectionExpression: new("PK, SK"),
		FilterExpression:     new("begins_with(PK, :prefix) OR PK = :id AND SK <> :head"),
		ExpressionAttributeValues: item{
			":prefix": textValue(id + "/"), ":id": textValue(id), ":head": textValue(namespaceKey),
		},
	}
	for {
		var out *dynamodb.ScanOutput
		err := s.observe(RequestConfigRead, func(call *Call) (err error) {
			if out, err = s.others.Scan(ctx, in); err == nil {
				call.Capacity = capacityOf(out.ConsumedCapacity)
			}
			return err
		})
		if err != nil {
			return err
		}
		if len(out.Items) > 0 {
			if err := found(out.Items); err != nil {
				return err
			}
		}
		if len(out.LastEvaluatedKey) == 0 {
			return nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

// atOnce is how many items one BatchWriteItem takes.
const atOnce = 25

// remove deletes items, whatever they hold.
func (s *Store) remove(ctx context.Context, keys []item) error {
	for some := range slices.Chunk(keys, atOnce) {
		left := make([]types.WriteRequest, len(some))
		for i, k := range some {
			left[i] = types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: k}}
		}
		for n := 0; len(left) > 0; n++ {
			if n > 0 {
				if err := pause(ctx, n); err != nil {
					return err
				}
			}
			err := s.observe(RequestConfigWrite, func(call *Call) error {
				out, err := s.others.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{
					RequestItems:           map[string][]types.WriteRequest{s.table: left},
					ReturnConsumedCapacity: s.capacity,
				})
				if err == nil {
					left, call.Capacity = out.UnprocessedItems[s.table], sumOf(out.ConsumedCapacity)
				}
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
