package dynamostore

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/extauthz/extauthz/internal/ddblocal"
	"github.com/extauthz/extauthz/internal/faultproxy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// local is the DynamoDB of all tests of the package.
var local ddblocal.Shared

// config is a Config for a local DynamoDB.
func config(url, table string) Config {
	return Config{
		AWS: aws.Config{
			Region: "us-east-1",
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
			}),
		},
		Table: table, EndpointURL: url, Create: true,
		// Far above what the busiest machine takes: no test waits for it.
		Timeout: 20 * time.Second, StrongReads: true, KeepWarm: -1, Recheck: -1,
		Register: []string{"default", "acme", "Acme"},
	}
}

// newTable is the name of a table that nobody has, removed after the test.
func newTable(t testing.TB) string {
	t.Helper()
	url := local.URL(t)
	table := "extauthz-test-" + strings.ToLower(rand.Text())
	t.Cleanup(func() {
		c := config(url, table)
		transport := newTransport(1)
		defer transport.CloseIdleConnections()
		_, others := newClients(&c, transport)
		// Tests that make no table have none to remove.
		_, _ = others.DeleteTable(context.WithoutCancel(t.Context()), &dynamodb.DeleteTableInput{TableName: &table})
	})
	return table
}

func open(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// newStore is a store on a table of its own, and the proxy in front of it.
func newStore(t testing.TB, change ...func(*Config)) (*Store, *faultproxy.Proxy) {
	t.Helper()
	p := newProxy(t)
	c := config(p.URL, newTable(t))
	for _, f := range change {
		f(&c)
	}
	return open(t, c), p
}

func newProxy(t testing.TB) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Start(local.URL(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func key(t testing.TB, entity string) ratelimit.Key {
	t.Helper()
	k, err := ratelimit.NewKey("default", entity, "gpt-4", "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// calls is an Observer that keeps all.
type calls struct {
	mu  sync.Mutex
	all []Call
}

func (c *calls) Called(call Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, call)
}

// take returns what was kept since the last take.
func (c *calls) take() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.all
	c.all = nil
	return all
}

// takeWrites is how many writes were kept since the last take.
func (c *calls) takeWrites() (n int) {
	for _, call := range c.take() {
		if call.Request == RequestWrite {
			n++
		}
	}
	return n
}

// fixed is the limits of every key, as given.
type fixed struct {
	limits   []ratelimit.Limit
	revision int64
	expires  bool
}

func (f *fixed) Resolve(_ context.Context, q ratelimit.Query) (ratelimit.Resolution, error) {
	return ratelimit.Resolution{Targets: []ratelimit.Target{{
		Key: q.Key, Limits: f.limits, Revision: f.revision, Expires: f.expires,
	}}}, nil
}
