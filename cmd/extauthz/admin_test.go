package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/ddblocal"
	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/internal/server"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// adminScripts runs the scripts of the admin commands on a store that prepare
// makes for each.
func adminScripts(t *testing.T, store string, prepare func(*testscript.Env) error) {
	runScripts(t, testscript.Params{
		Dir:       "testdata/admin",
		Condition: func(cond string) (bool, error) { return cond == store, nil },
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, "LONG="+strings.Repeat("x", hierarchy.MaxName+1), "ESC=\x1b")
			return prepare(e)
		},
	})
}

// The admin commands on the embedded store of a running service.
func TestAdminOnServer(t *testing.T) {
	adminScripts(t, "server", func(e *testscript.Env) error {
		at := func(name string) string { return "unix:" + filepath.Join(e.WorkDir, name) }
		flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		config.Flags(flags)
		if err := flags.Parse([]string{"--grpc", at("grpc.sock"), "--admin", at("admin.sock"), "--metrics="}); err != nil {
			return err
		}
		c, report := config.Load("", config.Options{Flags: flags})
		if err := report.Err(); err != nil {
			return err
		}
		ctx, stop := context.WithCancel(context.Background())
		serving, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			ended <- server.Run(ctx, server.Options{
				Config: c, Version: "test", Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar),
				Serving: func(server.Addresses) { close(serving) },
			})
		}()
		e.Defer(func() {
			stop()
			if err := <-ended; err != nil {
				t.Errorf("the service ended: %v", err)
			}
		})
		select {
		case <-serving:
		case err := <-ended:
			ended <- nil
			return fmt.Errorf("starting the service: %w", err)
		}
		e.Vars = append(e.Vars, "EXTAUTHZ_SERVER="+at("admin.sock"))
		return nil
	})
}

// The admin commands on a table.
func TestAdminOnDynamoDB(t *testing.T) {
	url := new(ddblocal.Shared).URL(t)
	local := localAWS(t)
	adminScripts(t, "dynamodb", func(e *testscript.Env) error {
		table := "extauthz-test-" + strings.ToLower(rand.Text())
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c := local
		c.Table, c.EndpointURL, c.Create = table, url, true
		s, err := dynamostore.Open(ctx, c)
		if err != nil {
			return err
		}
		e.Defer(func() { removeTable(url, table) })
		by := hierarchy.Cause{By: hierarchy.Actor{Caller: "test"}, At: time.Now()}
		if _, err := s.RegisterNamespace(ctx, "default", by); err != nil {
			return err
		}
		e.Vars = append(e.Vars, "EXTAUTHZ_STACK="+table, "EXTAUTHZ_ENDPOINT_URL="+url,
			"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true")
		return s.Close()
	})
}

// serveAdmin serves a store's configuration and returns the address.
func serveAdmin(t *testing.T, store *embedstore.Store) string {
	t.Helper()
	limiter, err := ratelimit.New(ratelimit.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	cache := hierarchy.NewCache(hierarchy.CacheConfig{Source: store, Poll: 10 * time.Millisecond})
	t.Cleanup(cache.Close)
	policy := &decision.Policy{Resolver: cache.Resolver("default", hierarchy.Document{})}
	s := httptest.NewServer(admin.Handler(admin.Config{
		Explainer: admin.Explainer{Limiter: limiter}, Policy: func() *decision.Policy { return policy },
		Store: func() (admin.Store, error) { return store, nil }, Level: new(slog.LevelVar), Log: slog.New(slog.DiscardHandler),
		Recent: remembered(t),
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// localAWS is a configuration of AWS that any local DynamoDB takes.
func localAWS(t *testing.T) dynamostore.Config {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1",
	} {
		t.Setenv(name, value)
	}
	c, err := dynamostore.LoadAWS(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return dynamostore.Config{AWS: c, KeepWarm: -1}
}

// localTable makes a table for a test, and the flags that name it.
func localTable(t *testing.T) (*dynamostore.Store, []string) {
	t.Helper()
	url, c, table := new(ddblocal.Shared).URL(t), localAWS(t), "extauthz-test-"+strings.ToLower(rand.Text())
	c.Table, c.EndpointURL, c.Create = table, url, true
	store, err := dynamostore.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		removeTable(url, table)
	})
	return store, []string{"--stack", table, "--endpoint-url", url}
}

// register registers the default namespace.
func register(t *testing.T, store hierarchy.Namespaces) {
	t.Helper()
	by := hierarchy.Cause{By: hierarchy.Actor{Caller: "test"}, At: time.Now()}
	if _, err := store.RegisterNamespace(t.Context(), "default", by); err != nil {
		t.Fatal(err)
	}
}
