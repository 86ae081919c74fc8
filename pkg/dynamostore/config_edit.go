package dynamostore

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

var _ hierarchy.Editor = (*Store)(nil)

// Edit implements hierarchy.Editor with one read and one transaction of at most
// 98 actions. One that meets another edit of the namespace reads again.
func (s *Store) Edit(ctx context.Context, namespace string, e hierarchy.Edit) (int64, error) {
	s.registry.drop(namespace, "") // it may have been registered this moment
	for n := 0; ; n++ {
		prepared, err := hierarchy.Prepare(ctx, s, namespace, e)
		if err != nil {
			return 0, err
		}
		revision, err := s.edit(ctx, namespace, &prepared)
		var conflict *hierarchy.ConflictError
		switch {
		case err == nil:
			return revision, nil
		case errors.As(err, &conflict) && !e.Names(conflict.Ref), errors.Is(err, errMoved):
			// A parent's line was moved, or the namespace: see what there is now.
			if err = pause(ctx, n); err == nil {
				continue
			}
		case conflict != nil:
			return 0, conflict
		default:
			if err = again(ctx, n, err); err == nil {
				continue
			}
		}
		return 0, fmt.Errorf("changing namespace %q: %w", namespace, err)
	}
}

// errMoved says that the name leads to another namespace than it did.
var errMoved = errors.New("the namespace was deleted")

// expectations are the items of an edit as they must be: those of Puts, in
// their order, then those of Reads.
func expectations(e *hierarchy.Edit) []hierarchy.Expectation {
	all := make([]hierarchy.Expectation, 0, len(e.Puts)+len(e.Reads))
	for i := range e.Puts {
		all = append(all, hierarchy.Expectation{Ref: e.Puts[i].Item.Ref, Revision: e.Puts[i].Expect})
	}
	return append(all, e.Reads...)
}

// edit tries to make an edit in view of what is there.
func (s *Store) edit(ctx context.Context, namespace string, e *hierarchy.Edit) (int64, error) {
	id, err := s.registry.id(ctx, namespace)
	if err != nil {
		return 0, err
	}
	expected := expectations(e)
	h, found, err := s.readFor(ctx, id, expected)
	if err != nil {
		return 0, err
	}
	if !h.active() {
		s.registry.drop(namespace, id)
		return 0, errMoved
	}
	for i, x := range expected {
		if found[i].Revision != x.Revision {
			return 0, &hierarchy.ConflictError{Ref: x.Ref, Expected: x.Revision, Found: found[i]}
		}
	}
	actions, err := s.actions(id, &h, e, found)
	if err != nil {
		return 0, err
	}
	if err := s.transact(ctx, actions); err != nil {
		if conflict := conflictOf(expected, err); conflict != nil {
			return 0, conflict
		}
		return 0, err
	}
	return h.Revision + 1, nil
}

// readFor reads a namespace's head and the items that an edit is about. Where
// something is written meanwhile, the conditions of the transaction notice.
func (s *Store) readFor(ctx context.Context, id string, expected []hierarchy.Expectation) (head, []hierarchy.Item, error) {
	refs := make([]hierarchy.Ref, len(expected))
	keys := make([]item, len(expected), len(expected)+1)
	for i, x := range expected {
		refs[i], keys[i] = x.Ref, configKey(id, x.Ref)
	}
	found, err := s.readAll(ctx, append(keys, headKey(id)))
	if err != nil {
		return head{}, nil, err
	}
	h, err := decodeHead(id, found[keyText(headKey(id))])
	if err != nil {
		return head{}, nil, err
	}
	items, err := decodeItems(refs, keys, found)
	return h, items, err
}

// headActions is how many actions come before those of the items.
const headActions = 2

// actions are those of an edit's transaction: the head's and the record's, one
// for each expectation, then the events and what is new in the catalogue.
func (s *Store) actions(id string, h *head, e *hierarchy.Edit, found []hierarchy.Item) ([]types.TransactWriteItem, error) {
	revision := h.Revision + 1
	change := e.Change(revision)
	record, err := changeItem(id, &change)
	if err != nil {
		return nil, err
	}
	all := []types.TransactWriteItem{{Update: s.raise(id, h)}, s.put(record, "")}
	items := e.Items(revision)
	for i := range items {
		all = append(all, s.write(id, &items[i], e.Puts[i].Expect))
	}
	for _, read := range e.Reads {
		condition, values := at(read.Revision)
		all = append(all, types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{
			TableName: &s.table, Key: configKey(id, read.Ref),
			ConditionExpression: &condition, ExpressionAttributeValues: values,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		}})
	}
	for _, event := range e.Events(revision, found[:len(items)]) {
		it, err := s.eventItem(id, event)
		if err != nil {
			return nil, err
		}
		all = append(all, s.put(it, ""))
	}
	for i := range items {
		if e.Puts[i].Expect == 0 {
			all = append(all, s.put(catalogueItem(id, items[i].Ref), ""))
		}
	}
	return all, nil
}

// raise raises a namespace's revision by one.
func (s *Store) raise(id string, h *head) *types.Update {
	values := item{":r": numberValue(h.Revision + 1)}
	return &types.Update{
		TableName: &s.table, Key: headKey(id),
		ConditionExpression: new(asWas(h, values)), UpdateExpression: new("SET #r = :r"),
		ExpressionAttributeNames:  map[string]string{"#r": attrRevision, "#s": attrState},
		ExpressionAttributeValues: values,
	}
}

// at is the condition that an item is at a revision.
func at(revision int64) (condition string, values item) {
	if revision == 0 {
		return notThere, nil
	}
	return attrRevision + " = :was", item{":was": numberValue(revision)}
}

// write makes an item what i says. Attributes that this program doesn't know
// stay, but in a tombstone, which says nothing at all.
func (s *Store) write(id string, i *hierarchy.Item, expect int64) types.TransactWriteItem {
	condition, values := at(expect)
	key := configKey(id, i.Ref)
	if !i.Deleted {
		u := written(s.table, key, i)
		u.ConditionExpression = &condition
		u.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
		for name, v := range values {
			u.ExpressionAttributeValues[name] = v
		}
		return types.TransactWriteItem{Update: u}
	}
	it := configAttributes(i)
	it[attrPK], it[attrSK] = key[attrPK], key[attrSK]
	p := s.put(it, condition)
	p.Put.ExpressionAttributeValues = values
	return p
}

// conflictOf is the conflict that cancelled a transaction, or nil. An item that
// can't be read is none: it is met when it is read again.
func conflictOf(expected []hierarchy.Expectation, err error) error {
	var canceled *canceledError
	if !errors.As(err, &canceled) {
		return nil
	}
	for i, x := range expected {
		it, refused := canceled.refused(headActions + i)
		if !refused {
			continue
		}
		if found, err := decodeConfig(x.Ref, it); err == nil {
			return &hierarchy.ConflictError{Ref: x.Ref, Expected: x.Revision, Found: found}
		}
	}
	return nil
}
