package dynamostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Config is what a Store is opened with.
type Config struct {
	// AWS has the region and the credentials. Its HTTP client, its retries and
	// its endpoint are not used: those of a Store are its own.
	AWS aws.Config
	// Table is the name of the table, which is that of the stack.
	Table string
	// EndpointURL is a DynamoDB elsewhere, such as a local one; empty: that of
	// the region.
	EndpointURL string
	// Create makes the table when it is missing.
	Create bool

	// Timeout ends a write, and leaves its outcome unknown, if its context
	// does not end before; 0: 500ms.
	Timeout time.Duration
	// StrongReads makes Get strongly consistent, at twice the price.
	StrongReads bool
	// Connections is how many connections are open at most; 0: 256. A call
	// waits for one as long as its context lasts.
	Connections int
	// Warm is how many of them Open opens ahead; 0: 4.
	Warm int
	// KeepWarm is after how long without a call one is made, for half a read
	// unit, so that connections, credentials and DynamoDB's own caches are
	// ready for the next; 0: 5s; negative: never.
	KeepWarm time.Duration
	// Recheck is after how long it is looked whether the layout of the table is
	// still one that this program knows, and whether a namespace in use is still
	// there; 0: 5s; negative: never.
	Recheck time.Duration

	// Register are the namespaces that are registered when they are first used,
	// and not again after they were deleted; any other has to be registered
	// before. nil: "default".
	Register []string
	// KeepEvents is how long audit events are kept; 0: 90 days; negative: for
	// ever.
	KeepEvents time.Duration

	// Observer is told of each call; nil: nobody.
	Observer Observer
	// ReportCapacity asks DynamoDB to say what each call consumed.
	ReportCapacity bool
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

const (
	defaultTimeout     = 500 * time.Millisecond
	defaultConnections = 256
	defaultWarm        = 4
	defaultKeepWarm    = 5 * time.Second
	defaultRecheck     = 5 * time.Second
)

// Store is a ratelimit.Store on DynamoDB, and its configuration: a
// hierarchy.Editor and the hierarchy.Namespaces. Make one with [Open]. Its
// methods may be called by many goroutines at once.
type Store struct {
	table      string
	timeout    time.Duration
	consistent *bool
	capacity   types.ReturnConsumedCapacity
	now        func() time.Time
	observer   Observer

	charges   *updater // each call is sent once
	others    api      // with the SDK's retries
	transport *http.Transport
	registry  registry

	layout layout
	left   atomic.Pointer[TableError] // why nothing is done any more; nil: it is

	keepEvents time.Duration // 0: for ever
	settled    time.Duration // see PurgeNamespace

	lastCall atomic.Int64 // Unix milliseconds
	stop     context.CancelFunc
	running  sync.WaitGroup
}

var _ ratelimit.Store = (*Store)(nil)

// Open makes a store on a table, and checks that it is there, of the right
// shape, and allowed: the error is a [*TableError] when it is not, and a
// [*ClockError] when this machine's clock is more than 2 seconds from
// DynamoDB's. It waits for DynamoDB as long as ctx lasts, which governs nothing
// afterwards. The caller closes the store.
func Open(ctx context.Context, c Config) (*Store, error) { return openAs(ctx, c, current()) }

// openAs opens a store by a program of some layout.
func openAs(ctx context.Context, c Config, l layout) (*Store, error) {
	if c.Table == "" {
		return nil, errors.New("opening a DynamoDB store: no name of a table")
	}
	s := &Store{
		table:     c.Table,
		timeout:   or(c.Timeout, defaultTimeout),
		now:       c.Now,
		observer:  c.Observer,
		transport: newTransport(or(c.Connections, defaultConnections)),
		layout:    l,

		keepEvents: max(0, or(c.KeepEvents, defaultKeepEvents)),
		settled:    settled,
	}
	if s.now == nil {
		s.now = time.Now
	}
	if c.StrongReads {
		s.consistent = new(true)
	}
	if c.ReportCapacity {
		s.capacity = types.ReturnConsumedCapacityIndexes
	}
	s.charges, s.others = newClients(&c, s.transport) //nolint:contextcheck // to find out an endpoint's URL takes no time
	if c.Register == nil {
		c.Register = []string{ratelimit.DefaultNamespace}
	}
	s.registry.init(s, c.Register)
	if err := s.prepare(ctx, c.Create); err != nil {
		s.transport.CloseIdleConnections()
		return nil, err
	}
	s.warm(ctx, or(c.Warm, defaultWarm))
	s.tend(&c) //nolint:contextcheck // it goes on until Close
	return s, nil
}

// tend begins what the store does by itself, until it is closed.
func (s *Store) tend(c *Config) {
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	if every := or(c.KeepWarm, defaultKeepWarm); every > 0 {
		warm := func(ctx context.Context) { s.keepWarm(ctx, every) }
		s.running.Go(func() { often(ctx, every, s.timeout, warm) })
	}
	if every := or(c.Recheck, defaultRecheck); every > 0 {
		check := func(ctx context.Context) {
			s.recheckSchema(ctx)
			s.registry.check(ctx, every)
		}
		s.running.Go(func() { often(ctx, every, checkTimeout, check) })
	}
}

func or[T comparable](v, instead T) T {
	var zero T
	if v == zero {
		return instead
	}
	return v
}

// Close ends what the store does by itself and closes its idle connections. It
// does not wait for calls that are under way.
func (s *Store) Close() error {
	s.stop()
	s.running.Wait()
	s.transport.CloseIdleConnections()
	return nil
}

// Apply makes a write with one UpdateItem, which is sent at most once.
//
// Once the table is being upgraded to a layout that this program doesn't know,
// nothing is done on it any more: the error is a [*TableError].
//
// The errors are those of ratelimit.Store; of those that match
// ratelimit.ErrNotApplied, a [*ThrottledError] and a [*TableError] say more.
// The first write of a namespace in this process also looks up the namespace's
// id, and registers it where there is none.
func (s *Store) Apply(ctx context.Context, w *ratelimit.Write) (ratelimit.State, error) {
	if err := cmp.Or(notBegun(ctx), s.leaves()); err != nil {
		return ratelimit.State{}, err
	}
	namespace, err := s.registry.id(ctx, w.Key.Namespace())
	if err != nil {
		return ratelimit.State{}, err
	}
	e, err := expressionsOf(w)
	if err != nil {
		return ratelimit.State{}, unusable("the write has no form", err)
	}
	pk, sk := bucketKey(namespace, w.Key)
	in := e.input(s.table, pk, sk)
	in.ReturnConsumedCapacity = s.capacity

	if end, ok := ctx.Deadline(); !ok || time.Until(end) > s.timeout {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	var sent wire
	call := Call{Request: RequestWrite, Op: w.Op}
	started := s.begin()
	out, err := s.charges.UpdateItem(sent.watch(ctx), in)
	if err == nil {
		call.Capacity = capacityOf(out.ConsumedCapacity)
		s.end(started, call)
		return decode(w.Key, out.Attributes)
	}
	var refused *types.ConditionalCheckFailedException
	if errors.As(err, &refused) {
		call.Kind = KindRefused
		s.end(started, call)
		return ratelimit.State{}, refusal(w.Key, refused.Item)
	}
	call.Kind, err = s.sorted(err, sent.connected.Load())
	s.failed(started, call, err)
	return ratelimit.State{}, err
}

// refusal is the error of a false condition. One whose item can't be read was
// still not applied.
func refusal(k ratelimit.Key, it item) error {
	state, err := decode(k, it)
	if err != nil {
		return unusable("the bucket can't be read", err)
	}
	return &ratelimit.RefusedError{State: state}
}

// Get reads a bucket, for half a read unit: it may be a moment out of date
// unless Config.StrongReads is set. An error is a [*ThrottledError], a
// [*TableError], an [*ItemError], or says that no answer came.
func (s *Store) Get(ctx context.Context, k ratelimit.Key) (ratelimit.State, error) {
	if err := ctx.Err(); err != nil {
		return ratelimit.State{}, fmt.Errorf("reading bucket %s: %w", k.ID(), err)
	}
	if err := s.leaves(); err != nil {
		return ratelimit.State{}, err
	}
	namespace, err := s.registry.id(ctx, k.Namespace())
	if err != nil {
		return ratelimit.State{}, err
	}
	pk, sk := bucketKey(namespace, k)
	call := Call{Request: RequestRead}
	started := s.begin()
	out, err := s.others.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &s.table, Key: primaryKey(pk, sk), ConsistentRead: s.consistent, ReturnConsumedCapacity: s.capacity,
	})
	if err != nil {
		call.Kind, err = s.sorted(err, true)
		s.failed(started, call, err)
		return ratelimit.State{}, fmt.Errorf("reading bucket %s: %w", k.ID(), err)
	}
	call.Capacity = capacityOf(out.ConsumedCapacity)
	s.end(started, call)
	return decode(k, out.Item)
}

// begin is called before each call to DynamoDB, end or failed after it.
func (s *Store) begin() time.Time {
	t := s.now()
	s.lastCall.Store(t.UnixMilli())
	return t
}

func (s *Store) end(started time.Time, call Call) {
	if s.observer != nil {
		call.Took = s.now().Sub(started)
		s.observer.Called(call)
	}
}

func (s *Store) failed(started time.Time, call Call, err error) {
	var throttled *ThrottledError
	if errors.As(err, &throttled) {
		call.Reasons = throttled.Reasons
	}
	s.end(started, call)
}

func capacityOf(c *types.ConsumedCapacity) Capacity {
	if c == nil || c.CapacityUnits == nil {
		return Capacity{}
	}
	var sum Capacity
	sum.Total = *c.CapacityUnits
	for _, indexes := range []map[string]types.Capacity{c.GlobalSecondaryIndexes, c.LocalSecondaryIndexes} {
		for _, index := range indexes {
			sum.Indexes += aws.ToFloat64(index.CapacityUnits)
		}
	}
	return sum
}
