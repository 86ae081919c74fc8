package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Codes of what became of an action of a transaction that was cancelled.
const (
	reasonCondition = "ConditionalCheckFailed"
	reasonConflict  = "TransactionConflict"
)

// canceledError is a transaction of which nothing was written. Its reasons are
// in the order of the actions.
type canceledError struct {
	reasons []types.CancellationReason
	err     error
}

func (e *canceledError) Error() string { return e.err.Error() }
func (e *canceledError) Unwrap() error { return e.err }

// refused reports whether the condition of an action was false, and has its
// item, if that was asked for.
func (e *canceledError) refused(action int) (item, bool) {
	if action >= len(e.reasons) || aws.ToString(e.reasons[action].Code) != reasonCondition {
		return nil, false
	}
	return e.reasons[action].Item, true
}

// passing reports whether the same transaction may be made a moment later, as
// far as its conditions are concerned: it met another one, or found no capacity.
func (e *canceledError) passing() bool {
	for _, r := range e.reasons {
		switch aws.ToString(r.Code) {
		case "None", reasonCondition, reasonConflict, "ProvisionedThroughputExceeded", "ThrottlingError":
		default:
			return false
		}
	}
	return len(e.reasons) > 0
}

func (e *canceledError) kind() Kind {
	kind := KindRejected
	for _, r := range e.reasons {
		switch aws.ToString(r.Code) {
		case "None":
		case reasonCondition:
			return KindRefused
		case reasonConflict:
			kind = KindConflict
		case "ProvisionedThroughputExceeded", "ThrottlingError":
			kind = KindThrottled
		}
	}
	return kind
}

// transact makes all actions or none. The SDK gives each transaction a token,
// so that one that is sent again is not made again. The error is a
// [*canceledError] when a condition was false or another transaction was met.
func (s *Store) transact(ctx context.Context, actions []types.TransactWriteItem) error {
	return s.observe(RequestConfigWrite, func(call *Call) error {
		out, err := s.others.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
			TransactItems: actions, ReturnConsumedCapacity: s.capacity,
		})
		if err == nil {
			call.Capacity = sumOf(out.ConsumedCapacity)
		}
		return err
	})
}

// observe makes a call that is no charge, tells the observer of it, and sorts
// its error.
func (s *Store) observe(request Request, call func(*Call) error) error {
	if err := s.leaves(); err != nil {
		return err
	}
	c := Call{Request: request}
	started := s.begin()
	err := call(&c)
	var canceled *types.TransactionCanceledException
	switch {
	case err == nil:
		s.end(started, c)
		return nil
	case errors.As(err, &canceled):
		e := &canceledError{reasons: canceled.CancellationReasons, err: err}
		c.Kind = e.kind()
		s.end(started, c)
		return e
	}
	c.Kind, err = s.sorted(err, true)
	s.failed(started, c, err)
	return err
}

func sumOf(all []types.ConsumedCapacity) Capacity {
	var sum Capacity
	for i := range all {
		c := capacityOf(&all[i])
		sum.Total += c.Total
		sum.Indexes += c.Indexes
	}
	return sum
}

const (
	shortestPause = 10 * time.Millisecond
	longestPause  = 500 * time.Millisecond
)

// pause waits before the n-th repetition, from 0, as long as the context lasts:
// longer each time, and by chance, so that those who met do not meet again.
func pause(ctx context.Context, n int) error {
	most := min(shortestPause<<min(n, 10), longestPause)
	timer := time.NewTimer(rand.N(most)) //nolint:gosec // it spreads tries, and guards nothing
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting to try again: %w", ctx.Err())
	}
}
