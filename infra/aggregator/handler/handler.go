// Package handler turns records of a table's stream into usage, by hours, and
// puts audit events that expired into the archive.
//
// Records come at least once, and in the order of each item but for what failed
// before. Nothing here depends on either: pkg/usage says why. A record lies in
// the hour that DynamoDB says it was made in, which is one clock for all and
// the same when it is told again; the stamp in the item is its writer's word,
// and may go back.
//
// Three things can become of a record:
//
//   - what it says is kept, or it says nothing;
//   - something was out of reach: the first such record is reported, and Lambda
//     comes back with it and all after it until it is too old;
//   - it will never be understood: it goes to the queue of dead letters, whole,
//     and holds up nobody.
//
// The package imports pkg/dynamostore, pkg/usage and AWS's SDKs. Start reading
// at [Handler.Handle].
package handler

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// table, archive and queue are what the handler calls of AWS. The rights of its
// role are compared with them.
type (
	table interface {
		GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
		UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	}
	archive interface {
		PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	}
	queue interface {
		SendMessage(context.Context, *sqs.SendMessageInput, ...func(*sqs.Options)) (*sqs.SendMessageOutput, error)
	}
)

// Config is what a Handler works with.
type Config struct {
	DynamoDB table
	Table    string        // where usage is written, which is where it comes from
	Keep     time.Duration // how long an hour is kept after it ended

	S3     archive
	Bucket string // the archive; empty: expired audit events are passed over

	SQS queue
	URL string // of the queue of dead letters

	Log *slog.Logger
}

// Handler handles batches. It may be used by several goroutines.
type Handler struct{ c Config }

// New makes a handler.
func New(c Config) *Handler { return &Handler{c} }

// errPoison is a record that will never be understood.
var errPoison = errors.New("the record can't be understood")

// batch is what is found in one batch, and what becomes of its records.
type batch struct {
	records []events.DynamoDBEventRecord
	windows windows
	days    days

	mu     sync.Mutex
	poison map[int]error // :: index of a record -> why it is none
	failed map[int]error // :: index of a record -> why it must come again
}

// fail says of records what became of them.
func (b *batch) fail(records []int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, i := range records {
		if errors.Is(err, errPoison) {
			b.poison[i] = err
		} else {
			b.failed[i] = err
		}
	}
}

// Handle handles one batch. It reports the first record that must come again,
// by which all after it come too; its error is nil.
func (h *Handler) Handle(ctx context.Context, e events.DynamoDBEvent) (events.DynamoDBEventResponse, error) {
	b := &batch{
		records: e.Records, windows: windows{}, days: days{},
		poison: map[int]error{}, failed: map[int]error{},
	}
	for i := range e.Records {
		if err := h.sort(b, i); err != nil {
			b.fail([]int{i}, err)
		}
	}
	h.count(ctx, b)
	h.keep(ctx, b)
	h.bury(ctx, b)

	var out events.DynamoDBEventResponse
	if len(b.failed) > 0 {
		first := len(e.Records)
		for i := range b.failed {
			first = min(first, i)
		}
		h.c.Log.ErrorContext(ctx, "records must come again",
			"first", e.Records[first].Change.SequenceNumber, "failed", len(b.failed), "records", len(e.Records), "error", b.failed[first])
		out.BatchItemFailures = []events.DynamoDBBatchItemFailure{{ItemIdentifier: e.Records[first].Change.SequenceNumber}}
	}
	return out, nil
}

// expirer is who removes what has expired, for DynamoDB.
const expirer = "dynamodb.amazonaws.com"

// sort finds out what a record is about. The template's filter lets little else
// through; what is of no use is passed over here too.
func (h *Handler) sort(b *batch, i int) error {
	r := &b.records[i]
	k, err := keyOf(r)
	switch {
	case err != nil:
		return err
	case r.EventName == string(events.DynamoDBOperationTypeRemove):
		if r.UserIdentity != nil && r.UserIdentity.PrincipalID == expirer && h.c.Bucket != "" {
			return b.days.add(k, r, i)
		}
		return nil
	case k.bucket():
		return b.windows.add(k, r, i)
	default:
		return nil
	}
}

// atOnce is how many calls are made at a time.
const atOnce = 16

// each does something with all elements of a list, some at a time.
func each[T any](list []T, do func(T)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, x := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(x)
		})
	}
	wg.Wait()
}

// bury sends what will never be understood to the dead letters. What can't be
// sent there must come again.
func (h *Handler) bury(ctx context.Context, b *batch) {
	var all []int
	for i := range b.poison {
		all = append(all, i)
	}
	slices.Sort(all)
	each(all, func(i int) {
		h.c.Log.WarnContext(ctx, "a record goes to the dead letters",
			"sequence", b.records[i].Change.SequenceNumber, "error", b.poison[i])
		if err := h.send(ctx, &b.records[i], b.poison[i]); err != nil {
			b.fail([]int{i}, err)
		}
	})
}
