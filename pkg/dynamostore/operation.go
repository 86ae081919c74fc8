package dynamostore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

var _ hierarchy.Operator = (*Store)(nil)

// The records of the operations that were made in a namespace, by their IDs:
//
//	PK 3q7xk2m9vd/o   SK ticket-4711   operation, ttl
//
// An operation is one text of JSON, as hierarchy.Operated has it.
func operationsKey(id string) string { return id + "/o" }

const attrOperated = "operation"

// Operate implements hierarchy.Operator with one transaction of at most three
// actions: the record, which is new, the event, and the bucket.
func (s *Store) Operate(ctx context.Context, namespace string, o *hierarchy.Operation) error {
	if err := o.Check(); err != nil {
		return err
	}
	for n := 0; ; n++ {
		err := s.operate(ctx, namespace, o)
		var repeated *hierarchy.RepeatedError
		var refused *ratelimit.RefusedError
		if err == nil || errors.As(err, &repeated) || errors.As(err, &refused) {
			return err
		}
		if err = again(ctx, n, err); err != nil {
			return fmt.Errorf("changing bucket %s by hand: %w", o.Key.ID(), err)
		}
	}
}

func (s *Store) operate(ctx context.Context, namespace string, o *hierarchy.Operation) error {
	id, err := s.adminID(ctx, namespace)
	if err != nil {
		return err
	}
	actions, err := s.operation(id, o)
	if err != nil {
		return err
	}
	err = s.transact(ctx, actions)
	var canceled *canceledError
	if !errors.As(err, &canceled) {
		return err
	}
	if it, refused := canceled.refused(0); refused {
		return repeated(o.ID, it)
	}
	if it, refused := canceled.refused(len(actions) - 1); refused && o.Write != nil {
		return refusal(o.Key, it)
	}
	return err
}

// operation are the actions of an operation's transaction; the record's is the
// first, the bucket's the last.
func (s *Store) operation(id string, o *hierarchy.Operation) ([]types.TransactWriteItem, error) {
	record, err := json.Marshal(o.Record())
	if err != nil {
		return nil, fmt.Errorf("writing the record of an operation: %w", err)
	}
	event, err := o.Event()
	if err != nil {
		return nil, err
	}
	audit, err := s.eventItem(id, event)
	if err != nil {
		return nil, err
	}
	made := primaryKey(operationsKey(id), o.ID)
	made[attrOperated] = textValue(string(record))
	made[attrTTL] = ttlAfter(o.At, hierarchy.KeepOperations)
	actions := []types.TransactWriteItem{s.put(made, notThere), s.put(audit, "")}
	if o.Write == nil {
		return actions, nil
	}
	e, err := expressionsOf(o.Write)
	if err != nil {
		return nil, err
	}
	pk, sk := bucketKey(id, o.Key)
	in := e.input(s.table, pk, sk)
	return append(actions, types.TransactWriteItem{Update: &types.Update{
		TableName: in.TableName, Key: in.Key, UpdateExpression: in.UpdateExpression, ConditionExpression: in.ConditionExpression,
		ExpressionAttributeNames: in.ExpressionAttributeNames, ExpressionAttributeValues: in.ExpressionAttributeValues,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}}), nil
}

// repeated is the error of an ID that is there already.
func repeated(id string, it item) error {
	text, err := textOf(it, attrOperated)
	made := hierarchy.Operated{}
	if err == nil {
		err = json.Unmarshal([]byte(text), &made)
	}
	if err != nil {
		return fmt.Errorf("reading the record of the operation %q: %w", id, err)
	}
	return &hierarchy.RepeatedError{ID: id, Made: made}
}
