package extauthz_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/extauthz/extauthz"
	"github.com/extauthz/extauthz/internal/awslocal"
	"github.com/extauthz/extauthz/internal/ddblocal"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
)

func TestMain(m *testing.M) {
	// The local DynamoDB ends with the process.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/extauthz/extauthz/internal/ddblocal.wait"),
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).writerDescriptor.func1"))
}

// local is the DynamoDB of all tests of the package.
var local ddblocal.Shared

// openTable is how a program opens a table that it may have to make.
func openTable(ctx context.Context, stack, tenant string) (*extauthz.Limiter, error) {
	return extauthz.Open(ctx, extauthz.Options{
		Stack:     stack,       // or EXTAUTHZ_STACK; "extauthz" by default
		Namespace: tenant,      // or EXTAUTHZ_NAMESPACE; "default" by default
		Region:    "us-east-1", // or EXTAUTHZ_REGION, or as every AWS tool finds it
		Create:    true,        // without it, a table that isn't there is an error
		Register:  true,        // the same of the namespace
	})
}

// deployStack is how a program declares its stack: made where it is missing,
// and changed to what is declared here.
func deployStack(ctx context.Context, stack string) (*extauthz.Limiter, error) {
	return extauthz.Open(ctx, extauthz.Options{
		Stack:  stack,
		Region: "us-east-1",
		Deploy: &extauthz.StackOptions{
			NoAggregator:         true, // or AggregatorZip: what `extauthz lambda-export` has written
			NoDeletionProtection: true, // or DeleteStack is an error
			Tags:                 map[string]string{"team": "edge"},
		},
	})
}

// stores gives the options of each store, none of which another test uses.
func stores(t *testing.T, f func(t *testing.T, o extauthz.Options)) {
	t.Run("embedded", func(t *testing.T) { f(t, extauthz.Options{Embedded: true}) })
	t.Run("file", func(t *testing.T) { f(t, extauthz.Options{Path: filepath.Join(t.TempDir(), "x.db")}) })
	t.Run("table", func(t *testing.T) {
		awsEnvironment(t)
		f(t, extauthz.Options{Stack: newTable(t), Create: true})
	})
}

// awsEnvironment has credentials for the local DynamoDB, and leads to it.
func awsEnvironment(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_SESSION_TOKEN": "", "AWS_REGION": "us-east-1",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
		"EXTAUTHZ_ENDPOINT_URL": local.URL(t),
	} {
		t.Setenv(name, value)
	}
}

// newTable is the name of a table that nobody has, removed after the test.
func newTable(t *testing.T) string {
	t.Helper()
	table := "extauthz-test-" + strings.ToLower(rand.Text())
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		aws, err := dynamostore.LoadAWS(ctx, "", nil)
		mustDo(t, err)
		connections := &http.Transport{}
		defer connections.CloseIdleConnections()
		client := dynamodb.NewFromConfig(aws, func(o *dynamodb.Options) {
			o.BaseEndpoint, o.HTTPClient = new(local.URL(t)), &http.Client{Transport: connections}
		})
		if _, err := client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: &table}); err != nil {
			t.Errorf("removing the table: %v", err)
		}
	})
	return table
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t *testing.T, o extauthz.Options) *extauthz.Limiter {
	t.Helper()
	l, err := extauthz.Open(t.Context(), o)
	mustDo(t, err)
	t.Cleanup(func() { mustDo(t, l.Close()) }) // again does nothing
	return l
}

// left is what is left of each limit in the first bucket of a request.
func left(t *testing.T, l *extauthz.Limiter, entity, resource string) map[string]int64 {
	t.Helper()
	buckets, err := l.Balance(t.Context(), extauthz.Request{Entity: entity, Resource: resource})
	mustDo(t, err)
	tokens := map[string]int64{}
	for _, limit := range buckets[0].Limits {
		tokens[limit.Limit.Name] = limit.Balance.Tokens()
	}
	return tokens
}

func is[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestEveryStore: charged, adjusted, given back, denied; each change of limits is
// in force for the process that made it.
func TestEveryStore(t *testing.T) {
	stores(t, func(t *testing.T, o extauthz.Options) {
		noon := time.Date(2026, time.May, 1, 12, 0, 0, 0, time.UTC)
		if o.Embedded || o.Path != "" { // a table's clock is compared with DynamoDB's
			o.Now = func() time.Time { return noon }
		}
		o.As = "the deployment"
		ctx, l := t.Context(), mustOpen(t, o)
		rpd, tpd := extauthz.PerDay("rpd", 10), extauthz.PerDay("tpd", 1000)
		request := extauthz.Request{Entity: "user", Resource: "gpt-4", Consume: map[string]int64{"rpd": 1, "tpd": 100}}

		is(t, "without limits", left(t, l, "user", "gpt-4"), map[string]int64{})
		mustDo(t, l.SetSystemDefaults(ctx, rpd, tpd))
		mustDo(t, l.Do(ctx, request, func(_ context.Context, lease *extauthz.Lease) error {
			return lease.Adjust(map[string]int64{"tpd": 50})
		}))
		is(t, "after one", left(t, l, "user", "gpt-4"), map[string]int64{"rpd": 9, "tpd": 850})
		failed := errors.New("failed")
		if err := l.Do(ctx, request, func(context.Context, *extauthz.Lease) error { return failed }); !errors.Is(err, failed) {
			t.Error(err)
		}
		is(t, "after one that failed", left(t, l, "user", "gpt-4"), map[string]int64{"rpd": 9, "tpd": 850})

		mustDo(t, l.SetResourceDefaults(ctx, "gpt-4", tpd.WithBurst(500)))
		is(t, "clamped by the resource's", left(t, l, "user", "gpt-4"), map[string]int64{"tpd": 500})
		mustDo(t, l.SetTierLimits(ctx, "gold", "", extauthz.PerDay("rpd", 20)))
		mustDo(t, l.SetTier(ctx, "user", "gold"))
		is(t, "the tier's", left(t, l, "user", "embeddings"), map[string]int64{"rpd": 20})
		mustDo(t, l.SetLimits(ctx, "user", "embeddings", extauthz.PerDay("rpd", 3)))
		is(t, "the entity's", left(t, l, "user", "embeddings"), map[string]int64{"rpd": 3})
		mustDo(t, l.SetLimits(ctx, "user", "embeddings"))
		is(t, "deleted", left(t, l, "user", "embeddings"), map[string]int64{"rpd": 20})
		limits, err := l.SystemDefaults(ctx)
		mustDo(t, err)
		is(t, "the system's", limits, []extauthz.Limit{rpd, tpd})

		mustDo(t, l.SetParent(ctx, "user", "acme", true))
		mustDo(t, l.SetLimits(ctx, "acme", "", extauthz.PerDay("rpd", 1)))
		mustDo(t, l.SetProfile(ctx, "other", extauthz.Profile{DisplayName: "Other", Parent: "user"}))
		if err := l.SetParent(ctx, "acme", "other", true); !errors.As(err, new(*extauthz.InvalidItemError)) {
			t.Errorf("a circle: %v", err)
		}
		p, err := l.Profile(ctx, "user")
		mustDo(t, err)
		is(t, "the profile", p, extauthz.Profile{Tier: "gold", Parent: "acme", Cascade: true})
		_, err = l.Acquire(ctx, extauthz.Request{Entity: "user", Resource: "embeddings", Consume: map[string]int64{"rpd": 2}})
		if !errors.Is(err, extauthz.ErrUnsatisfiable) {
			t.Errorf("more than the parent's bucket holds: %v", err)
		}
		events, err := l.Editor().Events(ctx, "default", hierarchy.Selector{}, hierarchy.Page{})
		mustDo(t, err)
		for _, e := range events.Events[:len(events.Events)-1] { // the oldest may be a store's own
			if !strings.HasPrefix(e.By.Caller, "os:") || e.By.As != "the deployment" {
				t.Errorf("%s by %+v", e.Action, e.By)
			}
		}
	})
}

// TestNamespaces: each is its own; one that nobody registered is an error, and
// no outage.
func TestNamespaces(t *testing.T) {
	stores(t, func(t *testing.T, o extauthz.Options) {
		ctx := t.Context()
		l := mustOpen(t, o)
		if _, err := l.Namespace(ctx, "alpha"); !errors.Is(err, extauthz.ErrUnknownNamespace) {
			t.Errorf("not registered: %v", err)
		}
		_, err := l.Acquire(ctx, extauthz.Request{Namespace: "alpha", Entity: "user", Resource: "api"})
		if !errors.Is(err, extauthz.ErrUnknownNamespace) || errors.Is(err, extauthz.ErrUnavailable) {
			t.Errorf("charged: %v", err)
		}
		mustDo(t, l.Close()) // a file is one Limiter's
		o.Register = true
		l = mustOpen(t, o)
		alpha, err := l.Namespace(ctx, "alpha")
		mustDo(t, err)
		mustDo(t, alpha.SetSystemDefaults(ctx, extauthz.PerDay("n", 5)))
		mustDo(t, alpha.Do(ctx, extauthz.Request{Entity: "user", Resource: "api"}, func(context.Context, *extauthz.Lease) error { return nil }))
		is(t, "alpha", left(t, alpha, "user", "api"), map[string]int64{"n": 4})
		is(t, "default", left(t, l, "user", "api"), map[string]int64{})
		status, err := alpha.Status(ctx)
		mustDo(t, err)
		if status.Namespace.Name != "alpha" || status.Namespace.Revision < 1 || status.Stack != o.Stack || status.Cache.Namespaces == 0 {
			t.Errorf("%+v", status)
		}
		mustDo(t, alpha.Ping(ctx))
	})
}

// TestOpenTable: it is made where that is asked for alone, and found by the
// environment.
func TestOpenTable(t *testing.T) {
	awsEnvironment(t)
	stack := newTable(t)
	t.Setenv("EXTAUTHZ_STACK", stack)
	_, err := extauthz.Open(t.Context(), extauthz.Options{})
	if missing := new(dynamostore.TableError); !errors.As(err, &missing) || missing.Problem != dynamostore.ProblemMissing || missing.Table != stack {
		t.Errorf("a table that isn't there: %v", err)
	}
	mustOpen(t, extauthz.Options{Create: true})
	second := mustOpen(t, extauthz.Options{}) // connects
	mustDo(t, second.Ping(t.Context()))
	if _, err := extauthz.Open(t.Context(), extauthz.Options{Namespace: "alpha"}); !errors.Is(err, extauthz.ErrUnknownNamespace) {
		t.Errorf("a namespace that isn't there: %v", err)
	}

	l, err := openTable(t.Context(), stack, "tenant-alpha")
	mustDo(t, err)
	defer func() { mustDo(t, l.Close()) }()
	status, err := l.Status(t.Context())
	mustDo(t, err)
	is(t, "where it leads", status.Stack+" "+status.Namespace.Name, stack+" tenant-alpha")
}

// TestAFileOutlivesItsLimiter: what was set and charged is there again.
func TestAFileOutlivesItsLimiter(t *testing.T) {
	o := extauthz.Options{Path: filepath.Join(t.TempDir(), "x.db")}
	for n := range int64(3) {
		l, err := extauthz.Open(t.Context(), o)
		mustDo(t, err)
		if n == 0 {
			mustDo(t, l.SetSystemDefaults(t.Context(), extauthz.PerDay("n", 5)))
		}
		is(t, "left", left(t, l, "user", "api"), map[string]int64{"n": 5 - n})
		lease, err := l.Acquire(t.Context(), extauthz.Request{Entity: "user", Resource: "api"})
		mustDo(t, err)
		mustDo(t, errors.Join(lease.Commit(t.Context()), l.Close()))
	}
}

// TestDeploy: declared, looked at, connected to by others, and removed.
func TestDeploy(t *testing.T) {
	awsEnvironment(t)
	cloud := awslocal.Start(t, &local)
	cloud.Hurry()
	t.Setenv("EXTAUTHZ_ENDPOINT_URL", cloud.URL)
	stack := "test-" + strings.ToLower(rand.Text())
	_, err := extauthz.Open(t.Context(), extauthz.Options{Stack: stack})
	if missing := new(dynamostore.TableError); !errors.Is(err, extauthz.ErrNotDeployed) || !errors.As(err, &missing) {
		t.Errorf("connecting to nothing: %v", err)
	}
	_, err = extauthz.Open(t.Context(), extauthz.Options{Stack: stack, Deploy: &extauthz.StackOptions{}})
	if !errors.Is(err, extauthz.ErrNoAggregatorCode) {
		t.Errorf("without the aggregator's code: %v", err)
	}

	l, err := deployStack(t.Context(), stack)
	mustDo(t, err)
	defer func() { mustDo(t, l.Close()) }()
	status, err := l.Status(t.Context())
	mustDo(t, err)
	is(t, "the stack", status.StackStatus, "CREATE_COMPLETE")
	is(t, "available", status.Available && status.Latency > 0, true)
	mustDo(t, l.SetSystemDefaults(t.Context(), extauthz.PerDay("n", 5)))
	mustDo(t, l.Do(t.Context(), extauthz.Request{Entity: "user", Resource: "api"}, func(context.Context, *extauthz.Lease) error { return nil }))

	second := mustOpen(t, extauthz.Options{Stack: stack}) // connects
	is(t, "left", left(t, second, "user", "api"), map[string]int64{"n": 4})
	mustDo(t, l.DeleteStack(t.Context()))
	status, err = l.Status(t.Context())
	if err == nil || status.Available || status.StackStatus != "" || status.Stack != stack {
		t.Errorf("deleted: %+v, %v", status, err)
	}
	if err := l.DeleteStack(t.Context()); !errors.Is(err, extauthz.ErrNotDeployed) {
		t.Errorf("again: %v", err)
	}
	embedded := mustOpen(t, extauthz.Options{Embedded: true})
	if err := embedded.DeleteStack(t.Context()); !errors.Is(err, extauthz.ErrNotDeployed) {
		t.Errorf("embedded: %v", err)
	}
}
