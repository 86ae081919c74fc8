package handler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/usage"
)

// window is what a batch says of one bucket in one hour.
type window struct {
	key     dynamostore.UsageKey
	account usage.Account
	records []int
}

// windows are those of a batch.
type windows map[dynamostore.UsageKey]*window

// add takes in what a record of a bucket says.
func (all windows) add(k key, r *events.DynamoDBEventRecord, i int) error {
	at := r.Change.ApproximateCreationDateTime.Time
	if at.IsZero() {
		return fmt.Errorf("%w: it has no time", errPoison)
	}
	id, said, err := dynamostore.UsageOf(k.pk, k.sk, image(r.Change.OldImage), image(r.Change.NewImage), at)
	if err != nil {
		return fmt.Errorf("%w: %w", errPoison, err)
	}
	if len(said) == 0 {
		return nil
	}
	w := all[id]
	if w == nil {
		w = &window{key: id, account: usage.Account{}}
		all[id] = w
	}
	w.account.Merge(said)
	w.records = append(w.records, i)
	return nil
}

// count merges the windows of a batch into what the table has.
func (h *Handler) count(ctx context.Context, b *batch) {
	each(slices.Collect(maps.Values(b.windows)), func(w *window) {
		if err := h.merge(ctx, w); err != nil {
			b.fail(w.records, err)
		}
	})
}

// tries is how often an hour is written anew after another was faster, which
// is a batch that Lambda took for lost.
const tries = 5

func (h *Handler) merge(ctx context.Context, w *window) error {
	var refused *types.ConditionalCheckFailedException
	for range tries {
		out, err := h.c.DynamoDB.GetItem(ctx, dynamostore.UsageRead(h.c.Table, &w.key))
		if err != nil {
			return fmt.Errorf("reading usage: %w", err)
		}
		known, version, err := dynamostore.DecodeUsage(out.Item)
		if err != nil {
			return fmt.Errorf("%w: where it belongs is %w", errPoison, err)
		}
		if !known.Merge(w.account) {
			return nil
		}
		if version == 0 {
			err = h.begin(ctx, &w.key, known)
		} else {
			_, err = h.c.DynamoDB.UpdateItem(ctx, h.request(&w.key, known, version))
		}
		if err == nil {
			return nil
		}
		if !errors.As(err, &refused) {
			return fmt.Errorf("writing usage: %w", err)
		}
	}
	return fmt.Errorf("writing usage: another was faster %d times: %w", tries, refused)
}

func (h *Handler) request(k *dynamostore.UsageKey, a usage.Account, version int64) *dynamodb.UpdateItemInput {
	return dynamostore.UsageWrite(h.c.Table, k, a, version, k.Hour.End().Add(h.c.Keep))
}

// begin writes an hour of which there is nothing yet. The entity is entered
// among those of the day before that, so that none is missing there. Nothing is
// written for a namespace that is being purged, or was.
func (h *Handler) begin(ctx context.Context, k *dynamostore.UsageKey, a usage.Account) error {
	ctx, cancel := context.WithTimeout(ctx, dynamostore.UsageWithin)
	defer cancel()
	namespace, err := h.c.DynamoDB.GetItem(ctx, dynamostore.UsageNamespace(h.c.Table, k))
	if err != nil || dynamostore.UsageGoes(namespace.Item) {
		return err
	}
	if _, err := h.c.DynamoDB.UpdateItem(ctx, dynamostore.UsageEnter(h.c.Table, k, h.c.Keep)); err != nil {
		return err
	}
	_, err = h.c.DynamoDB.UpdateItem(ctx, h.request(k, a, 0))
	return err
}
