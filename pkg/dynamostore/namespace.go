package dynamostore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/hierarchy"
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

	// unknownFor is how long a name that is not registered is not looked up
	// again: clients may choose it.
	unknownFor = 3 * time.Second

	checkTimeout = 2 * time.Second
)

// registry knows the ids of namespaces. The id of a name that is in use is
// looked at again every few seconds: the namespace may be deleted, and purged.
type registry struct {
	store *Store

	mu    sync.Mutex
	known map[string]*registration // :: name of a namespace -> its id
	// open are the names that are registered when they are first used. One whose
	// deletion was noticed is none any more: a server that runs on must not undo
	// it.
	open map[string]bool
}

// registration is an id that is known, or being looked up until done is closed.
type registration struct {
	open bool // may be registered
	done chan struct{}
	id   string
	err  error

	until     time.Time    // of an err that says that the name is not registered
	used      atomic.Bool  // since it was last looked at
	confirmed atomic.Int64 // when a read showed that it still holds, Unix milliseconds
}

func (r *registry) init(s *Store, open []string) {
	r.store, r.known, r.open = s, map[string]*registration{}, map[string]bool{}
	for _, name := range open {
		r.open[name] = true
	}
}

// id is the id of a namespace; one of those that are open is registered if it
// is new. One goroutine asks the table, under its own context; the others wait
// for it as long as theirs last. After an error the next asks again, but for a
// name that is not registered: that answer holds for some seconds. The errors
// match ratelimit.ErrNotApplied, and hierarchy.ErrUnknownNamespace where there
// is none.
func (r *registry) id(ctx context.Context, name string) (string, error) {
	for {
		reg, mine := r.find(name)
		if mine {
			reg.id, reg.err = r.store.findNamespace(ctx, name, reg.open)
			now := r.store.now()
			reg.confirmed.Store(now.UnixMilli())
			switch {
			case errors.Is(reg.err, hierarchy.ErrUnknownNamespace):
				reg.until = now.Add(unknownFor)
			case reg.err != nil:
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
	if reg, ok := r.known[name]; ok && !reg.over(r.store.now) {
		reg.used.Store(true)
		return reg, false
	}
	if len(r.known) >= maxKnown {
		clear(r.known)
	}
	reg = &registration{done: make(chan struct{}), open: r.open[name]}
	r.known[name] = reg
	return reg, true
}

// over reports whether the registration is an answer that doesn't hold any
// more.
func (reg *registration) over(now func() time.Time) bool {
	return reg.answered() && reg.err != nil && !now().Before(reg.until)
}

// answered reports whether the look-up is done.
func (reg *registration) answered() bool {
	select {
	case <-reg.done:
		return true
	default:
		return false
	}
}

func (r *registry) forget(name string, reg *registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[name] == reg {
		delete(r.known, name)
	}
}

// drop forgets what a name leads to: an id, which it does not lead to any more,
// or, where that is empty, nothing, which it may by now.
func (r *registry) drop(name, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reg, ok := r.known[name]
	if !ok || !reg.answered() || reg.id != id {
		return
	}
	delete(r.known, name)
	if id != "" {
		delete(r.open, name)
	}
}

// confirm notes that a name still leads to an id.
func (r *registry) confirm(name, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if reg, ok := r.known[name]; ok && reg.answered() && reg.id == id {
		reg.confirmed.Store(r.store.now().UnixMilli())
	}
}

// check looks at each namespace that was used since the last check and that no
// read has confirmed since, and drops those that are gone. An error leaves
// things as they are until the next.
func (r *registry) check(ctx context.Context, every time.Duration) {
	names := r.due(every) // :: id -> name
	ids := make([]string, 0, len(names))
	for id := range names {
		ids = append(ids, id)
	}
	for some := range slices.Chunk(ids, hierarchy.MaxItems) {
		keys := make([]item, len(some))
		for i, id := range some {
			keys[i] = headKey(id)
		}
		found, err := r.store.readAll(ctx, keys)
		if err != nil {
			return
		}
		for i, id := range some {
			h, err := decodeHead(id, found[keyText(keys[i])])
			switch {
			case err != nil:
			case h.active():
				r.confirm(names[id], id)
			default:
				r.drop(names[id], id)
			}
		}
	}
}

func (r *registry) due(every time.Duration) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.store.now().Add(-every).UnixMilli()
	names := map[string]string{}
	for name, reg := range r.known {
		if reg.answered() && reg.err == nil && reg.confirmed.Load() <= before && reg.used.Swap(false) {
			names[reg.id] = name
		}
	}
	return names
}

// findNamespace looks a namespace up, and registers it if it is new and may be
// registered by being used.
func (s *Store) findNamespace(ctx context.Context, name string, open bool) (string, error) {
	if ratelimit.CheckNamespace(name) != nil { // nor can it be
		return "", &NamespaceError{Name: name}
	}
	id, err := s.lookUp(ctx, name)
	if err == nil && id == "" {
		if !open {
			return "", &NamespaceError{Name: name}
		}
		id, err = s.enter(ctx, name)
	}
	if err != nil {
		// Whatever became of the registration, the write that wanted it isn't made.
		return "", fmt.Errorf("%w: finding namespace %q: %w", ratelimit.ErrNotApplied, name, err)
	}
	return id, nil
}

// lookUp is the id of a namespace, or empty.
func (s *Store) lookUp(ctx context.Context, name string) (string, error) {
	it, err := s.readOne(ctx, RequestRegister, primaryKey(namespacesKey, name))
	if err != nil || len(it) == 0 {
		return "", err
	}
	return textOf(it, attrID)
}

// enter registers a namespace whose name leads nowhere, or finds the id that
// another process gave it meanwhile.
func (s *Store) enter(ctx context.Context, name string) (string, error) {
	for n := 0; ; n++ {
		made, err := s.newNamespace(ctx, name, hierarchy.Cause{By: hierarchy.Actor{Caller: firstUse}, At: s.now()})
		if err == nil {
			return made.ID, nil
		}
		if err = again(ctx, n, err); err != nil {
			return "", err
		}
		id, err := s.lookUp(ctx, name)
		if err != nil || id != "" {
			return id, err
		}
	}
}

func textOf(it item, attribute string) (string, error) {
	text, ok := it[attribute].(*types.AttributeValueMemberS)
	if !ok || text.Value == "" {
		return "", fmt.Errorf("the item has no %s", attribute)
	}
	return text.Value, nil
}

// newID is a random id: letters and digits alone, in lower case.
func newID() string { return strings.ToLower(rand.Text()[:idLength]) }
