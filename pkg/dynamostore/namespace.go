package dynamostore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// A namespace has an opaque id, which begins the key of each of its items: a
// name can be given away and a tenant's rights confined to its keys. Two items
// tie them together:
//
//	PK namespaces      SK acme        id 3q7xk2m9vd     found by name
//	PK 3q7xk2m9vd      SK namespace   name acme         found by id
const (
	namespacesKey = "namespaces"
	namespaceKey  = "namespace"
	attrID        = "id"
	attrName      = "name"

	idLength = 10 // 50 bits; one that is taken is noticed, and another made

	// maxKnown bounds what is remembered of namespaces, which clients may
	// choose; beyond it all is looked up anew.
	maxKnown = 65_536
)

// registry knows the ids of namespaces. An id never changes, so that what was
// looked up once holds.
type registry struct {
	store *Store

	mu    sync.Mutex
	known map[string]*registration // :: name of a namespace -> its id
}

// registration is an id that is known, or being looked up until done is closed.
type registration struct {
	done chan struct{}
	id   string
	err  error
}

func (r *registry) init(s *Store) { r.store, r.known = s, map[string]*registration{} }

// id is the id of a namespace, which is registered if it is new. One goroutine
// asks the table, under its own context; the others wait for it as long as
// theirs last. After an error the next asks again. The errors match
// ratelimit.ErrNotApplied.
func (r *registry) id(ctx context.Context, name string) (string, error) {
	for {
		reg, mine := r.find(name)
		if mine {
			reg.id, reg.err = r.store.register(ctx, name)
			if reg.err != nil {
				r.forget(name, reg)
			}
			close(reg.done)
			return reg.id, reg.err
		}
		select {
		case <-reg.done:
		case <-ctx.Done():
			return "", notBegun(ctx)
		}
		// The other's context may have ended where ours goes on.
		if reg.err == nil || !errors.Is(reg.err, context.Canceled) && !errors.Is(reg.err, context.DeadlineExceeded) {
			return reg.id, reg.err
		}
	}
}

// find is the registration of a name, and whether the caller has to complete it.
func (r *registry) find(name string) (reg *registration, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if reg, ok := r.known[name]; ok {
		return reg, false
	}
	if len(r.known) >= maxKnown {
		clear(r.known)
	}
	reg = &registration{done: make(chan struct{})}
	r.known[name] = reg
	return reg, true
}

func (r *registry) forget(name string, reg *registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[name] == reg {
		delete(r.known, name)
	}
}

// register looks a namespace up, and gives it an id if it has none.
func (s *Store) register(ctx context.Context, name string) (string, error) {
	started := s.begin()
	call := Call{Request: RequestRegister}
	id, err := s.lookUp(ctx, name)
	if err == nil && id == "" {
		id, err = s.enter(ctx, name)
	}
	if err == nil {
		s.end(started, call)
		return id, nil
	}
	call.Kind, err = s.sorted(err, true)
	s.failed(started, call, err)
	// Whatever became of the registration, the write that wanted it isn't made.
	return "", fmt.Errorf("%w: finding namespace %q: %w", ratelimit.ErrNotApplied, name, err)
}

// lookUp is the id of a namespace, or empty.
func (s *Store) lookUp(ctx context.Context, name string) (string, error) {
	out, err := s.others.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &s.table, Key: primaryKey(namespacesKey, name), ConsistentRead: new(true),
	})
	if err != nil || len(out.Item) == 0 {
		return "", err
	}
	return textOf(out.Item, attrID)
}

// enter registers a namespace under a new id, or finds the id that another
// process gave it meanwhile. The item of the id comes first, so that none is
// ever in use whose name nobody can find; the loser of a race removes its own.
func (s *Store) enter(ctx context.Context, name string) (string, error) {
	for {
		id := newID()
		_, err := s.putNew(ctx, id, namespaceKey, attrName, name)
		var taken *types.ConditionalCheckFailedException
		if errors.As(err, &taken) {
			// Ours, if a first answer was lost and the SDK asked again; an id
			// is never used twice, and the next one is as good.
			continue
		}
		if err != nil {
			return "", err
		}
		_, err = s.putNew(ctx, namespacesKey, name, attrID, id)
		if !errors.As(err, &taken) {
			return id, err
		}
		registered, err := textOf(taken.Item, attrID)
		if err != nil || registered == id {
			return id, err
		}
		// An orphan does no harm; removing it is tidiness.
		_, _ = s.others.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &s.table, Key: primaryKey(id, namespaceKey)})
		return registered, nil
	}
}

// putNew puts an item with one attribute where there is none. Otherwise the
// error is a ConditionalCheckFailedException with the item.
func (s *Store) putNew(ctx context.Context, pk, sk, attribute, value string) (*dynamodb.PutItemOutput, error) {
	it := primaryKey(pk, sk)
	it[attribute] = &types.AttributeValueMemberS{Value: value}
	return s.others.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &s.table, Item: it,
		ConditionExpression:                 new("attribute_not_exists(PK)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
}

func textOf(it item, attribute string) (string, error) {
	text, ok := it[attribute].(*types.AttributeValueMemberS)
	if !ok || text.Value == "" {
		return "", fmt.Errorf("the registry's item has no %s", attribute)
	}
	return text.Value, nil
}

// newID is a random id: letters and digits alone, in lower case.
func newID() string { return strings.ToLower(rand.Text()[:idLength]) }
