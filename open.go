package extauthz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/extauthz/extauthz/internal/caller"
	"github.com/extauthz/extauthz/internal/stack"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// store is what a Limiter needs of one.
type store interface {
	ratelimit.Store
	hierarchy.Editor
	hierarchy.Namespaces
	io.Closer
}

// Open opens a store and makes a Limiter on it. It waits for the store as long
// as ctx lasts, which governs nothing afterwards; a deployment takes minutes. The
// caller closes the Limiter.
//
// The errors need a person: an [*InvalidOptionsError] or [*InvalidKeyError]; a
// *dynamostore.TableError, *dynamostore.ClockError or *embedstore.FileError,
// which say what to do; one that matches [ErrUnknownNamespace], or one of the
// errors about a deployment, such as [ErrNotDeployed]. Any other means that the
// store can't be reached now.
func Open(ctx context.Context, o Options) (*Limiter, error) {
	o, err := o.complete(os.Getenv)
	if err != nil {
		return nil, err
	}
	l := &Limiter{namespace: o.Namespace, shared: &shared{options: o}}
	s := l.shared
	cfg := ratelimit.Config{Now: o.Now}
	poll := time.Duration(0)
	if o.Embedded {
		err = s.openEmbedded() //nolint:contextcheck // what it does by itself ends with the store
		poll = pollInProcess
	} else {
		err = s.openTable(ctx)
		cfg.Remote = &ratelimit.Remote{MaxWritesPerSecond: o.MaxWritesPerSecond}
	}
	if err != nil {
		s.closeStack()
		return nil, err
	}
	s.cache = hierarchy.NewCache(hierarchy.CacheConfig{Source: s.store, Poll: poll, OnError: func(namespace string, err error) {
		o.Log.Warn("changes of limits can't be read, those that are known stay in force", "namespace", namespace, "err", err)
	}})
	cfg.Store, cfg.Resolver = s.store, s.cache.Resolver(o.Namespace, hierarchy.Document{})
	if s.limiter, err = ratelimit.New(cfg); err == nil {
		err = l.find(ctx)
	}
	if err != nil {
		s.cache.Close()
		s.closeStack()
		return nil, errors.Join(err, s.store.Close())
	}
	return l, nil
}

// pollInProcess is how often limits in the process are asked for changes, which
// takes a lock and a look at a number.
const pollInProcess = 200 * time.Millisecond

func (s *shared) openEmbedded() error {
	embedded, err := embedstore.Open(embedstore.Config{
		Path: s.options.Path, RegisteredOnly: true,
		OnSaveError: func(err error) {
			s.options.Log.Error("balances can't be saved, trying again", "path", s.options.Path, "err", err)
		},
	})
	if err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	s.store, s.who = embedded, sync.OnceValue(caller.OS)
	return nil
}

func (s *shared) openTable(ctx context.Context) error {
	o := &s.options
	aws, err := dynamostore.LoadAWS(ctx, o.Region, o.Log)
	if err != nil {
		return fmt.Errorf("opening the stack %q: %w", o.Stack, err)
	}
	// A table's name need not be one that a stack can have.
	s.stack, err = stack.New(stack.Config{AWS: aws, Name: o.Stack, EndpointURL: o.EndpointURL, Event: s.logEvent})
	if o.Deploy != nil {
		if err != nil {
			return advised(err)
		}
		if err := s.deploy(ctx); err != nil {
			return err
		}
	}
	table, err := dynamostore.Open(ctx, dynamostore.Config{
		AWS: aws, Table: o.Stack, EndpointURL: o.EndpointURL, Create: o.Create, Now: o.Now,
	})
	var problem *dynamostore.TableError
	if errors.As(err, &problem) && problem.Problem == dynamostore.ProblemMissing {
		return fmt.Errorf("%w: set Options.Deploy, or run `extauthz deploy --name %s`: %w", ErrNotDeployed, o.Stack, err)
	}
	if err != nil {
		return fmt.Errorf("opening the stack %q: %w", o.Stack, err)
	}
	s.store, s.who = table, sync.OnceValue(func() string {
		if o.EndpointURL == "" { // another has no STS beside it
			if arn, err := dynamostore.Caller(context.WithoutCancel(ctx), aws); err == nil {
				return arn
			}
		}
		return caller.OS()
	})
	return nil
}
