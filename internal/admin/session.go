package admin

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/extauthz/extauthz/internal/caller"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// Target says where the configuration is that the commands work on: behind a
// running service, or on a table.
type Target struct {
	Server string // admin address of the service; empty: Stack
	Stack  string // names the table
	Region string // empty: that of the AWS configuration
	// EndpointURL is a DynamoDB elsewhere; empty: that of the region.
	EndpointURL string

	Namespace string
	// As is whom the caller says to act for; empty: nobody.
	As string
}

// Session is an admin at work on one namespace. It is used by one goroutine.
type Session struct {
	Store

	balances  balances
	namespace string
	as        string
	now       func() time.Time
	// who authenticates the caller; it is asked once, by the first change.
	who    func(context.Context) string
	caller string
	close  func() error
}

// openWithin bounds the opening of a table.
const openWithin = 20 * time.Second

// Open opens what a target names. The caller closes the session.
func Open(ctx context.Context, t Target, log *slog.Logger) (*Session, error) {
	s := &Session{namespace: t.Namespace, as: t.As, now: time.Now, close: func() error { return nil }}
	if t.Server != "" {
		c := NewClient(t.Server)
		s.Store, s.balances, s.who = c, c, localUser
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	aws, err := dynamostore.LoadAWS(ctx, t.Region, log)
	if err != nil {
		return nil, &Problem{Code: CodeStore, Message: err.Error()}
	}
	store, err := dynamostore.Open(ctx, dynamostore.Config{
		AWS: aws, Table: t.Stack, EndpointURL: t.EndpointURL, Warm: 1, KeepWarm: -1, Register: []string{},
		StrongReads: true, Timeout: lookTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the stack %q: %w", t.Stack, err)
	}
	s.Store, s.balances, s.close, s.who = store, table{store}, store.Close, localUser
	if t.EndpointURL == "" {
		s.who = func(ctx context.Context) string {
			if arn, err := dynamostore.Caller(ctx, aws); err == nil {
				return arn
			}
			return localUser(ctx)
		}
	}
	return s, nil
}

// Close ends the session.
func (s *Session) Close() error { return s.close() }

// localUser is the caller as the operating system knows it.
func localUser(context.Context) string { return caller.OS() }

// Cause is who makes a change, and when, for changes that the session has no
// verb for.
func (s *Session) Cause(ctx context.Context) hierarchy.Cause { return s.cause(ctx) }

// cause is who makes a change, and when.
func (s *Session) cause(ctx context.Context) hierarchy.Cause {
	if s.caller == "" {
		s.caller = s.who(ctx)
	}
	return hierarchy.Cause{By: hierarchy.Actor{Caller: s.caller, As: s.as}, At: s.now()}
}
