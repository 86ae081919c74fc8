package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

var _ hierarchy.Namespaces = (*Store)(nil)

const (
	// orphansKey is of the items of those that no name leads to, by their ids.
	orphansKey = "orphans"

	// firstUse is who registers a namespace that is registered by being used.
	firstUse = "first use"

	notThere = "attribute_not_exists(PK)"
)

// step is a change of a namespace itself: from a head to the next.
type step struct {
	action string
	cause  hierarchy.Cause
	next   hierarchy.Namespace
	// others are written with it.
	others []types.TransactWriteItem
}

// take makes a change of a namespace, with its record and its event. The
// actions of the transaction are the head's, then the others'.
func (s *Store) take(ctx context.Context, was *head, c *step) error {
	c.next.Revision = was.Revision + 1
	change := hierarchy.Change{Revision: c.next.Revision, At: c.cause.At}
	record, err := changeItem(c.next.ID, &change)
	if err != nil {
		return err
	}
	event, err := s.eventItem(c.next.ID, hierarchy.NamespaceEvent(c.cause, c.action, c.next.Revision))
	if err != nil {
		return err
	}
	actions := append([]types.TransactWriteItem{{Update: s.headUpdate(was, &c.next)}}, c.others...)
	return s.transact(ctx, append(actions, s.put(record, ""), s.put(event, "")))
}

// headUpdate is a change of a namespace's item.
func (s *Store) headUpdate(was *head, next *hierarchy.Namespace) *types.Update {
	u := &types.Update{
		TableName: &s.table, Key: headKey(next.ID),
		ConditionExpression: new(notThere),
		ExpressionAttributeNames: map[string]string{
			"#n": attrName, "#r": attrRevision, "#s": attrState, "#m": attrMade, "#g": attrGone,
		},
		ExpressionAttributeValues: item{
			":n": textValue(next.Name), ":r": numberValue(next.Revision), ":m": numberValue(next.CreatedAt.UnixMilli()),
		},
	}
	update := "SET #n = :n, #r = :r, #m = if_not_exists(#m, :m)"
	if next.State == hierarchy.NamespaceActive {
		update += " REMOVE #s, #g"
	} else {
		update += ", #s = :s, #g = :g"
		u.ExpressionAttributeValues[":s"] = textValue(next.State.String())
		u.ExpressionAttributeValues[":g"] = numberValue(next.DeletedAt.UnixMilli())
	}
	u.UpdateExpression = &update
	if was.exists {
		u.ConditionExpression = new(asWas(was, u.ExpressionAttributeValues))
	}
	return u
}

// asWas is the condition that a namespace's item is as it was, in names that
// headUpdate and Edit have.
func asWas(was *head, values item) string {
	condition := "attribute_exists(PK) AND attribute_not_exists(#r)"
	if was.Revision > 0 {
		condition = "#r = :was"
		values[":was"] = numberValue(was.Revision)
	}
	if was.State == hierarchy.NamespaceActive {
		return condition + " AND attribute_not_exists(#s)"
	}
	values[":state"] = textValue(was.State.String())
	return condition + " AND #s = :state"
}

// put is an action that puts an item, on a condition without names or values;
// empty: none.
func (s *Store) put(it item, condition string) types.TransactWriteItem {
	p := &types.Put{TableName: &s.table, Item: it}
	if condition != "" {
		p.ConditionExpression = &condition
		p.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
	}
	return types.TransactWriteItem{Put: p}
}

// nameItem leads from a name to an id.
func nameItem(name, id string) item {
	it := primaryKey(namespacesKey, name)
	it[attrID] = textValue(id)
	return it
}

// orphanItem is of a namespace that its name does not lead to.
func orphanItem(name, id string) item {
	it := primaryKey(orphansKey, id)
	it[attrName] = textValue(name)
	return it
}

// again reports whether a change that failed may be made once more, in view of
// what is there by now, and waits a little. Otherwise it returns the error.
func again(ctx context.Context, n int, err error) error {
	var canceled *canceledError
	if !errors.As(err, &canceled) || !canceled.passing() {
		return err
	}
	if waited := pause(ctx, n); waited != nil {
		return fmt.Errorf("%w: %w", waited, err)
	}
	return nil
}

// RegisterNamespace implements hierarchy.Namespaces.
func (s *Store) RegisterNamespace(ctx context.Context, name string, c hierarchy.Cause) (hierarchy.Namespace, error) {
	if err := ratelimit.CheckNamespace(name); err != nil {
		return hierarchy.Namespace{}, err
	}
	if err := c.Check(); err != nil {
		return hierarchy.Namespace{}, err
	}
	n, err := s.register(ctx, name, c)
	if err != nil {
		return hierarchy.Namespace{}, fmt.Errorf("registering namespace %q: %w", name, err)
	}
	s.registry.drop(name, "")
	return n, nil
}

func (s *Store) register(ctx context.Context, name string, c hierarchy.Cause) (hierarchy.Namespace, error) {
	for n := 0; ; n++ {
		h, err := s.namespace(ctx, name)
		if err != nil || h.exists {
			return h.Namespace, err
		}
		made, err := s.newNamespace(ctx, name, c)
		if err == nil {
			return made, nil
		}
		if err = again(ctx, n, err); err != nil {
			return hierarchy.Namespace{}, err
		}
	}
}

// newNamespace makes a namespace whose name leads nowhere.
func (s *Store) newNamespace(ctx context.Context, name string, c hierarchy.Cause) (hierarchy.Namespace, error) {
	made := step{
		action: hierarchy.ActionRegister, cause: c,
		next: hierarchy.Namespace{Name: name, ID: newID(), CreatedAt: hierarchy.Kept(c.At)},
	}
	made.others = []types.TransactWriteItem{s.put(nameItem(name, made.next.ID), notThere)}
	err := s.take(ctx, &head{}, &made)
	return made.next, err
}

// namespace is the head of the namespace that a name leads to, if it does.
func (s *Store) namespace(ctx context.Context, name string) (head, error) {
	id, err := s.lookUp(ctx, name)
	if err != nil || id == "" {
		return head{}, err
	}
	h, err := s.readHead(ctx, id)
	if err == nil && !h.exists {
		err = fmt.Errorf("the name leads to %s, of which nothing is there: the table was changed by hand", id)
	}
	return h, err
}

// Namespace implements hierarchy.Namespaces.
func (s *Store) Namespace(ctx context.Context, name string) (hierarchy.Namespace, error) {
	if err := ratelimit.CheckNamespace(name); err != nil {
		return hierarchy.Namespace{}, err
	}
	h, err := s.namespace(ctx, name)
	if err != nil {
		return hierarchy.Namespace{}, fmt.Errorf("looking namespace %q up: %w", name, err)
	}
	if !h.active() {
		return hierarchy.Namespace{}, &NamespaceError{Name: name}
	}
	return h.Namespace, nil
}

// Namespaces implements hierarchy.Namespaces.
func (s *Store) Namespaces(ctx context.Context, p hierarchy.Page) (hierarchy.NamespaceListing, error) {
	return s.listNamespaces(ctx, namespacesKey, attrID, p)
}

// Orphans implements hierarchy.Namespaces.
func (s *Store) Orphans(ctx context.Context, p hierarchy.Page) (hierarchy.NamespaceListing, error) {
	return s.listNamespaces(ctx, orphansKey, attrSK, p)
}

// listNamespaces lists the namespaces of a list whose items have their ids.
func (s *Store) listNamespaces(ctx context.Context, list, id string, p hierarchy.Page) (hierarchy.NamespaceListing, error) {
	in := &dynamodb.QueryInput{
		KeyConditionExpression: new("PK = :p"), ExpressionAttributeValues: item{":p": textValue(list)},
		Limit: new(int32(min(p.Size(), hierarchy.MaxItems))), //nolint:gosec // at most 100
	}
	after, err := p.Key()
	if err != nil {
		return hierarchy.NamespaceListing{}, err
	}
	if after != "" {
		in.ExclusiveStartKey = primaryKey(list, after)
	}
	found, more, err := s.query(ctx, in)
	if err != nil {
		return hierarchy.NamespaceListing{}, fmt.Errorf("listing namespaces: %w", err)
	}
	keys := make([]item, len(found))
	ids := make([]string, len(found))
	for i, it := range found {
		if ids[i], err = textOf(it, id); err != nil {
			return hierarchy.NamespaceListing{}, fmt.Errorf("listing namespaces: %w", err)
		}
		keys[i] = headKey(ids[i])
	}
	heads, err := s.readAll(ctx, keys)
	if err != nil {
		return hierarchy.NamespaceListing{}, fmt.Errorf("listing namespaces: %w", err)
	}
	var l hierarchy.NamespaceListing
	for i := range ids {
		h, err := decodeHead(ids[i], heads[keyText(keys[i])])
		if err != nil {
			return hierarchy.NamespaceListing{}, fmt.Errorf("listing namespaces: %w", err)
		}
		if h.exists { // else it went meanwhile
			l.Namespaces = append(l.Namespaces, h.Namespace)
		}
	}
	if more {
		last, err := textOf(found[len(found)-1], attrSK)
		l.Next = hierarchy.PageAt(last)
		return l, err
	}
	return l, nil
}

// DeleteNamespace implements hierarchy.Namespaces.
func (s *Store) DeleteNamespace(ctx context.Context, name string, c hierarchy.Cause) (hierarchy.Namespace, error) {
	if err := c.Check(); err != nil {
		return hierarchy.Namespace{}, err
	}
	for n := 0; ; n++ {
		ns, err := s.Namespace(ctx, name)
		if err != nil {
			return hierarchy.Namespace{}, err
		}
		was := head{Namespace: ns, exists: true}
		ns.State, ns.DeletedAt = hierarchy.NamespaceDeleted, hierarchy.Kept(c.At)
		gone := step{action: hierarchy.ActionDelete, cause: c, next: ns, others: []types.TransactWriteItem{
			{Delete: &types.Delete{
				TableName: &s.table, Key: primaryKey(namespacesKey, name),
				ConditionExpression:      new("#i = :i"),
				ExpressionAttributeNames: map[string]string{"#i": attrID}, ExpressionAttributeValues: item{":i": textValue(ns.ID)},
			}},
			s.put(orphanItem(name, ns.ID), ""),
		}}
		if err = s.take(ctx, &was, &gone); err == nil {
			s.registry.drop(name, ns.ID)
			return gone.next, nil
		}
		if err = again(ctx, n, err); err != nil {
			return hierarchy.Namespace{}, fmt.Errorf("deleting namespace %q: %w", name, err)
		}
	}
}

// RecoverNamespace implements hierarchy.Namespaces.
func (s *Store) RecoverNamespace(ctx context.Context, id string, c hierarchy.Cause) (hierarchy.Namespace, error) {
	if err := c.Check(); err != nil {
		return hierarchy.Namespace{}, err
	}
	for n := 0; ; n++ {
		was, err := s.headOf(ctx, id)
		switch {
		case err != nil:
			return hierarchy.Namespace{}, err
		case was.active():
			return was.Namespace, nil
		case was.State == hierarchy.NamespacePurging:
			return hierarchy.Namespace{}, fmt.Errorf("recovering namespace %q, %s: %w", was.Name, id, hierarchy.ErrPurged)
		}
		ns := was.Namespace
		ns.State, ns.DeletedAt = hierarchy.NamespaceActive, time.Time{}
		back := step{action: hierarchy.ActionRecover, cause: c, next: ns, others: []types.TransactWriteItem{
			s.put(nameItem(ns.Name, id), notThere),
			{Delete: &types.Delete{TableName: &s.table, Key: primaryKey(orphansKey, id)}},
		}}
		if err = s.take(ctx, &was, &back); err == nil {
			s.registry.drop(ns.Name, "")
			return back.next, nil
		}
		if taken := takenBy(ns.Name, err); taken != nil {
			return hierarchy.Namespace{}, taken
		}
		if err = again(ctx, n, err); err != nil {
			return hierarchy.Namespace{}, fmt.Errorf("recovering namespace %q, %s: %w", ns.Name, id, err)
		}
	}
}

// takenBy is the error of a name that leads to another namespace, if that is
// why it was not given.
func takenBy(name string, err error) error {
	var canceled *canceledError
	if !errors.As(err, &canceled) {
		return nil
	}
	const named = 1 // the action that gives the name
	it, refused := canceled.refused(named)
	if !refused {
		return nil
	}
	id, _ := textOf(it, attrID)
	return &hierarchy.NameTakenError{Name: name, ID: id}
}

// headOf is the head of a namespace by its id, which a person may have given.
func (s *Store) headOf(ctx context.Context, id string) (head, error) {
	if id == "" {
		return head{}, fmt.Errorf("namespace id %q: %w", id, hierarchy.ErrUnknownNamespace)
	}
	h, err := s.readHead(ctx, id)
	if err != nil {
		return head{}, fmt.Errorf("reading namespace %s: %w", id, err)
	}
	if !h.exists {
		return head{}, fmt.Errorf("namespace id %q: %w", id, hierarchy.ErrUnknownNamespace)
	}
	return h, nil
}
