package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/telemetry"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// store is a store as the service runs it.
type store struct {
	ratelimit.Store
	// configuration is what it keeps beside buckets, for admins.
	configuration func() (admin.Store, error)
	// remote says how it is asked; nil: it is in the process.
	remote *ratelimit.Remote
	// sample is of how many operations one is timed.
	sample int
	// poll is how often the configuration is asked for changes; 0: as usual.
	poll time.Duration
	// tend does what is to be done beside requests until ctx is done. An error
	// ends the service.
	tend  func(ctx context.Context) error
	close func() error
}

// timed is of how many operations of the in-process store one is timed: it
// takes less time than looking at the clock.
const timed = 16

// pollInProcess is how often the configuration in the process is asked for
// changes, which takes a lock and a look at a number.
const pollInProcess = 200 * time.Millisecond

// openStore opens the store of a configuration. One that can't be reached is
// opened later, by tend.
func openStore(ctx context.Context, c *config.Config, m *telemetry.Metrics, log *slog.Logger) (*store, error) {
	if c.Store.Type == config.StoreDynamoDB {
		return openDynamoDB(ctx, c, m, log)
	}
	return openEmbedded(ctx, c, m, log)
}

func openEmbedded(ctx context.Context, c *config.Config, m *telemetry.Metrics, log *slog.Logger) (*store, error) {
	embedded, err := embedstore.Open(embedstore.Config{ //nolint:contextcheck // what it does by itself ends with the store
		Path: c.Store.Path, RegisteredOnly: true,
		OnSaveError: func(err error) {
			log.Error("balances can't be saved, trying again: a restart would forget what was charged since", "path", c.Store.Path, "err", err)
		},
	})
	if err != nil {
		return nil, &Error{What: "the store can't be opened", Err: err}
	}
	if err := register(ctx, embedded, c.Namespace); err != nil {
		return nil, errors.Join(err, embedded.Close())
	}
	m.Buckets(embedded.Len)
	return &store{
		Store: embedded, sample: timed, poll: pollInProcess,
		configuration: func() (admin.Store, error) { return embedded, nil },
		tend: func(ctx context.Context) error {
			every(ctx, sweepEvery, func(now time.Time) { embedded.Sweep(ratelimit.StampOf(now)) })
			return nil
		},
		close: func() error {
			if err := embedded.Close(); err != nil {
				return fmt.Errorf("closing the store: %w", err)
			}
			return nil
		},
	}, nil
}

func openDynamoDB(ctx context.Context, c *config.Config, m *telemetry.Metrics, log *slog.Logger) (*store, error) {
	aws, err := dynamostore.LoadAWS(ctx, c.Store.Region, log)
	if err != nil {
		return nil, &Error{What: "the store can't be opened", Err: err}
	}
	d := &dynamoDB{log: log, within: openWithin, config: dynamostore.Config{
		AWS: aws, Table: c.Store.Stack, EndpointURL: c.Store.EndpointURL, Create: c.Store.Create, Observer: m.DynamoDB(),
		Register: []string{c.Namespace},
	}}
	if d.config.Create {
		d.within = createWithin
	}
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	return &store{
		Store: d, sample: 1, tend: d.tend, close: d.close, configuration: d.configuration,
		remote: &ratelimit.Remote{
			MaxWritesPerSecond: float64(c.Store.MaxWritesPerSecond),
			Entries:            c.Rejections.Entries, Bytes: c.Rejections.Bytes,
		},
	}, nil
}

const (
	// openWithin bounds one try to open the store, createWithin one that may make
	// the table.
	openWithin   = 10 * time.Second
	createWithin = time.Minute
	// openAgain is after how long the next try follows, or up to twice as long:
	// many processes may wait for the same outage to end.
	openAgain = time.Second
)

// dynamoDB is a store on DynamoDB that may not be open yet: a service that is
// started during an outage answers by on_unavailable, and opens the store when
// it can.
type dynamoDB struct {
	config dynamostore.Config
	within time.Duration
	log    *slog.Logger
	opened atomic.Pointer[dynamostore.Store]
}

// errNotOpen lets no charge wait for a store that is seconds away at best.
var errNotOpen = fmt.Errorf("%w: %w: it could not be opened yet", ratelimit.ErrNotApplied, ratelimit.ErrUnusable)

// Apply implements ratelimit.Store.
func (d *dynamoDB) Apply(ctx context.Context, w *ratelimit.Write) (ratelimit.State, error) {
	if s := d.opened.Load(); s != nil {
		return s.Apply(ctx, w)
	}
	return ratelimit.State{}, errNotOpen
}

// Get implements ratelimit.Store.
func (d *dynamoDB) Get(ctx context.Context, k ratelimit.Key) (ratelimit.State, error) {
	if s := d.opened.Load(); s != nil {
		return s.Get(ctx, k)
	}
	return ratelimit.State{}, errNotOpen
}

// configuration is that of the store, once it is open.
func (d *dynamoDB) configuration() (admin.Store, error) {
	if s := d.opened.Load(); s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("%w: it could not be opened yet", ratelimit.ErrUnavailable)
}

// open tries to open the store. That it can't be reached is no error, but is
// logged; that it can't be used as it is configured is one.
func (d *dynamoDB) open(ctx context.Context) error {
	trying, cancel := context.WithTimeout(ctx, d.within)
	defer cancel()
	s, err := dynamostore.Open(trying, d.config)
	switch {
	case err == nil:
		d.opened.Store(s)
		d.log.Info("the store is open", "table", d.config.Table)
	case ctx.Err() != nil: // told to stop
	case dynamostore.Misconfigured(err):
		return &Error{What: "the store can't be used", Err: err}
	default:
		d.log.Warn("the store can't be reached, trying again; until then requests are answered by on_unavailable",
			"table", d.config.Table, "err", err)
	}
	return nil
}

// tend opens the store if it isn't open yet.
func (d *dynamoDB) tend(ctx context.Context) error {
	for d.opened.Load() == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(openAgain + rand.N(openAgain)): //nolint:gosec // it spreads tries, and guards nothing
		}
		if err := d.open(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close closes the store. Nothing may be asked of it any more.
func (d *dynamoDB) close() error {
	s := d.opened.Load()
	if s == nil {
		return nil
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

// close finishes what is out to the store, then closes it.
func (k *core) close(ctx context.Context) error {
	k.decider.Wait()
	var errs []error
	if err := k.limiter.Close(ctx); err != nil {
		errs = append(errs, fmt.Errorf("waiting for the last writes: %w", err))
	}
	k.limits.Close()
	return errors.Join(append(errs, k.store.close())...)
}
