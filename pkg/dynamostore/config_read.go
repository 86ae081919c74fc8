package dynamostore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// The records of a namespace's changes lie before its head, so that one query
// reads those after a revision and the head:
//
//	PK 3q7xk2m9vd   SK change/0000000000000000007   at, refs, ttl
//	PK 3q7xk2m9vd   SK namespace                    name, rev, state, made, gone
const (
	changePrefix = "change/"
	attrState    = "state" // none: active
	attrMade     = "made"
	attrGone     = "gone"
	attrRefs     = "refs"

	// keepLonger is added to how long records are kept, for the clocks of those
	// who write them.
	keepLonger = time.Hour
)

var _ hierarchy.Source = (*Store)(nil)

// head is what a namespace's item says.
type head struct {
	hierarchy.Namespace
	exists bool
}

// active reports whether the namespace may be used.
func (h *head) active() bool { return h.exists && h.State == hierarchy.NamespaceActive }

func headKey(id string) item { return primaryKey(id, namespaceKey) }

func changeKey(revision int64) string { return fmt.Sprintf("%s%019d", changePrefix, revision) }

// decodeHead reads a namespace's item; one without a name is none.
func decodeHead(id string, it item) (head, error) {
	h := head{Namespace: hierarchy.Namespace{ID: id}, exists: it[attrName] != nil}
	if !h.exists {
		return h, nil
	}
	for name, value := range it {
		if err := decodeHeadAttribute(&h, name, value); err != nil {
			return head{}, fmt.Errorf("the item of namespace %s: its attribute %s %w", id, name, err)
		}
	}
	return h, nil
}

func decodeHeadAttribute(h *head, name string, value types.AttributeValue) error {
	switch name {
	case attrName:
		return rawText(value, &h.Name)
	case attrRevision:
		return number(value, &h.Revision)
	case attrMade:
		return moment(value, &h.CreatedAt)
	case attrGone:
		return moment(value, &h.DeletedAt)
	case attrState:
		return state(value, &h.State)
	}
	return nil
}

func state(value types.AttributeValue, into *hierarchy.NamespaceState) error {
	var text string
	if err := rawText(value, &text); err != nil {
		return err
	}
	var ok bool
	if *into, ok = hierarchy.ParseNamespaceState(text); !ok {
		return fmt.Errorf("says %q: upgrade this program", text)
	}
	return nil
}

// Mark implements hierarchy.Source with one strongly consistent read.
func (s *Store) Mark(ctx context.Context, namespace string) (hierarchy.Mark, error) {
	var mark hierarchy.Mark
	err := s.active(ctx, namespace, func(id string) (head, error) {
		h, err := s.readHead(ctx, id)
		mark = hierarchy.Mark{ID: id, Revision: h.Revision}
		return h, err
	})
	if err != nil {
		return hierarchy.Mark{}, fmt.Errorf("reading the revision of namespace %q: %w", namespace, err)
	}
	return mark, nil
}

// active calls read with the namespace's id, and once more where what it read
// shows that the id is not the name's any more.
func (s *Store) active(ctx context.Context, namespace string, read func(id string) (head, error)) error {
	for range 2 {
		id, err := s.registry.id(ctx, namespace)
		if err != nil {
			return err
		}
		h, err := read(id)
		if err != nil {
			return err
		}
		if h.active() {
			s.registry.confirm(namespace, id)
			return nil
		}
		s.registry.drop(namespace, id)
	}
	return &NamespaceError{Name: namespace}
}

func (s *Store) readHead(ctx context.Context, id string) (head, error) {
	it, err := s.readOne(ctx, RequestConfigRead, headKey(id))
	if err != nil {
		return head{}, err
	}
	return decodeHead(id, it)
}

// readOne reads an item, strongly consistent.
func (s *Store) readOne(ctx context.Context, request Request, key item) (item, error) {
	var found item
	err := s.observe(request, func(call *Call) error {
		out, err := s.others.GetItem(ctx, &dynamodb.GetItemInput{
			TableName: &s.table, Key: key, ConsistentRead: new(true), ReturnConsumedCapacity: s.capacity,
		})
		if err == nil {
			found, call.Capacity = out.Item, capacityOf(out.ConsumedCapacity)
		}
		return err
	})
	return found, err
}

// Changes implements hierarchy.Source with one query. More than it brings at
// once, some thousand, are a gap: dropping all is cheaper than reading them.
func (s *Store) Changes(ctx context.Context, namespace string, after hierarchy.Mark) ([]hierarchy.Change, error) {
	var changes []hierarchy.Change
	err := s.active(ctx, namespace, func(id string) (head, error) {
		if id != after.ID {
			return head{}, hierarchy.ErrGap
		}
		found, more, err := s.query(ctx, &dynamodb.QueryInput{
			KeyConditionExpression: new("PK = :p AND SK BETWEEN :a AND :b"),
			ExpressionAttributeValues: item{
				":p": textValue(id), ":a": textValue(changeKey(after.Revision + 1)), ":b": textValue(namespaceKey),
			},
		})
		switch {
		case err != nil:
			return head{}, err
		case more:
			return head{}, hierarchy.ErrGap
		case len(found) == 0:
			return head{}, nil // not even a head
		}
		last := len(found) - 1 // the head sorts behind the records
		h, err := decodeHead(id, found[last])
		if err == nil && h.active() {
			changes, err = decodeChanges(found[:last], after.Revision, h.Revision)
		}
		return h, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the changes of namespace %q: %w", namespace, err)
	}
	return changes, nil
}

// decodeChanges reads the records of each revision after one, up to another.
func decodeChanges(items []item, after, last int64) ([]hierarchy.Change, error) {
	if len(items) > hierarchy.MaxChanges || int64(len(items)) != last-after {
		return nil, hierarchy.ErrGap
	}
	changes := make([]hierarchy.Change, len(items))
	for i, it := range items {
		c := &changes[i]
		c.Revision = after + 1 + int64(i)
		if sk, err := textOf(it, attrSK); err != nil || sk != changeKey(c.Revision) {
			return nil, hierarchy.ErrGap
		}
		refs, err := textOf(it, attrRefs)
		if err == nil {
			err = errors.Join(moment(it[attrAt], &c.At), json.Unmarshal([]byte(refs), &c.Refs))
		}
		if err != nil {
			return nil, fmt.Errorf("the record of revision %d: %w", c.Revision, err)
		}
	}
	return changes, nil
}

// changeItem is the record of a change.
func changeItem(id string, c *hierarchy.Change) (item, error) {
	refs := c.Refs
	if refs == nil {
		refs = []hierarchy.Ref{}
	}
	text, err := json.Marshal(refs)
	if err != nil {
		return nil, fmt.Errorf("writing the record of a change: %w", err)
	}
	it := primaryKey(id, changeKey(c.Revision))
	it[attrAt] = numberValue(c.At.UnixMilli())
	it[attrRefs] = textValue(string(text))
	it[attrTTL] = ttlAfter(c.At, hierarchy.KeepChanges+keepLonger)
	return it, nil
}

func textValue(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

// query reads one page, strongly consistent, and whether there is more.
func (s *Store) query(ctx context.Context, in *dynamodb.QueryInput) (found []item, more bool, err error) {
	in.TableName, in.ConsistentRead, in.ReturnConsumedCapacity = &s.table, new(true), s.capacity
	err = s.observe(RequestConfigRead, func(call *Call) error {
		out, err := s.others.Query(ctx, in)
		if err == nil {
			found, more, call.Capacity = out.Items, len(out.LastEvaluatedKey) > 0, capacityOf(out.ConsumedCapacity)
		}
		return err
	})
	return found, more, err
}

// Items implements hierarchy.Source with one BatchGetItem.
func (s *Store) Items(ctx context.Context, namespace string, refs []hierarchy.Ref) ([]hierarchy.Item, error) {
	if len(refs) > hierarchy.MaxItems {
		return nil, fmt.Errorf("reading %d items at once: the most is %d", len(refs), hierarchy.MaxItems)
	}
	id, err := s.registry.id(ctx, namespace)
	if err != nil {
		return nil, err
	}
	items, err := s.readItems(ctx, id, refs)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of namespace %q: %w", namespace, err)
	}
	return items, nil
}

func (s *Store) readItems(ctx context.Context, id string, refs []hierarchy.Ref) ([]hierarchy.Item, error) {
	keys := make([]item, len(refs))
	for i, r := range refs {
		keys[i] = configKey(id, r)
	}
	found, err := s.readAll(ctx, keys)
	if err != nil {
		return nil, err
	}
	return decodeItems(refs, keys, found)
}

// decodeItems reads the items of refs, whose keys are as many.
func decodeItems(refs []hierarchy.Ref, keys []item, found map[string]item) ([]hierarchy.Item, error) {
	items := make([]hierarchy.Item, len(refs))
	for i, r := range refs {
		var err error
		if items[i], err = decodeConfig(r, found[keyText(keys[i])]); err != nil {
			return nil, err
		}
	}
	return items, nil
}

// readAll reads at most 100 items, strongly consistent, by the texts of their
// keys. Those that are not there are missing from the answer. What DynamoDB
// leaves over, it is asked for again.
func (s *Store) readAll(ctx context.Context, keys []item) (map[string]item, error) {
	found := make(map[string]item, len(keys))
	asked := make(map[string]bool, len(keys))
	var left []item
	for _, k := range keys {
		if text := keyText(k); !asked[text] {
			asked[text] = true
			left = append(left, k)
		}
	}
	for n := 0; len(left) > 0; n++ {
		if n > 0 {
			if err := pause(ctx, n); err != nil {
				return nil, err
			}
		}
		err := s.observe(RequestConfigRead, func(call *Call) error {
			out, err := s.others.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{
				RequestItems:           map[string]types.KeysAndAttributes{s.table: {Keys: left, ConsistentRead: new(true)}},
				ReturnConsumedCapacity: s.capacity,
			})
			if err != nil {
				return err
			}
			call.Capacity = sumOf(out.ConsumedCapacity)
			for _, it := range out.Responses[s.table] {
				found[keyText(it)] = it
			}
			left = out.UnprocessedKeys[s.table].Keys
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// ttlAfter is when an item of a time expires.
func ttlAfter(at time.Time, keep time.Duration) types.AttributeValue {
	return numberValue(at.Add(keep).Unix())
}
