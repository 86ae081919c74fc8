package envoy

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	rlcommon "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is both services on a real socket, with a clock that stands still
// unless it is moved.
type world struct {
	rls   rlsv3.RateLimitServiceClient
	authz authv3.AuthorizationClient
	conn  *grpc.ClientConn
	clock *atomic.Int64 // Unix milliseconds
	store *switchable
}

// switchable is a store that can be told to answer no more.
type switchable struct {
	ratelimit.Store
	down atomic.Bool
}

var errDown = errors.New("the cable is out")

func (s *switchable) Apply(ctx context.Context, w *ratelimit.Write) (ratelimit.State, error) {
	if s.down.Load() {
		return ratelimit.State{}, errDown
	}
	return s.Store.Apply(ctx, w)
}

func (s *switchable) Get(ctx context.Context, k ratelimit.Key) (ratelimit.State, error) {
	if s.down.Load() {
		return ratelimit.State{}, errDown
	}
	return s.Store.Get(ctx, k)
}

func newWorld(t testing.TB, yaml string) *world {
	t.Helper()
	return newWorldOf(t, policyOf(t, yaml))
}

func policyOf(t testing.TB, yaml string) *decision.Policy {
	t.Helper()
	c, report := config.Parse("extauthz.yaml", []byte(yaml), config.Options{})
	if err := report.Err(); err != nil {
		t.Fatalf("%v\n%s", err, report)
	}
	return &decision.Policy{
		ID: c.Sum, Rules: c.Rules, Resolver: hierarchy.NewResolver(c.Namespace, c.Limits),
		DenyNoMatch: c.DenyNoMatch, OnUnavailable: c.OnUnavailable, ResponseHeaders: c.ResponseHeaders, DynamicMetadata: c.DynamicMetadata,
	}
}

// newServices are both services without a socket.
func newServices(t testing.TB, yaml string) *Services {
	t.Helper()
	policy := policyOf(t, yaml)
	limiter, err := ratelimit.New(ratelimit.Config{Store: embedstore.New(embedstore.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Decider: decision.New(limiter, nil), Policy: func() *decision.Policy { return policy }})
}

func newWorldOf(t testing.TB, policy *decision.Policy) *world {
	t.Helper()
	return newObservedWorld(t, policy, nil)
}

// newObservedWorld is a world whose decisions are counted.
func newObservedWorld(t testing.TB, policy *decision.Policy, o decision.Observer) *world {
	t.Helper()
	w := &world{clock: new(atomic.Int64), store: &switchable{Store: embedstore.New(embedstore.Config{})}}
	w.clock.Store(1_800_000_000_000)
	limiter, err := ratelimit.New(ratelimit.Config{Store: w.store, Now: func() time.Time { return time.UnixMilli(w.clock.Load()) }})
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.ForceServerCodecV2(NewCodec(nil)))
	New(Config{Decider: decision.New(limiter, o), Policy: func() *decision.Policy { return policy }}).Register(s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	w.conn, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := w.conn.Close()
		s.Stop()
		if err := errors.Join(err, <-served); err != nil {
			t.Error(err)
		}
	})
	w.rls, w.authz = rlsv3.NewRateLimitServiceClient(w.conn), authv3.NewAuthorizationClient(w.conn)
	return w
}

func (w *world) pass(d time.Duration) { w.clock.Add(d.Milliseconds()) }

// descriptor is one of entries given as key, value, key, value.
func descriptor(entries ...string) *rlcommon.RateLimitDescriptor {
	d := &rlcommon.RateLimitDescriptor{}
	for i := 0; i < len(entries); i += 2 {
		d.Entries = append(d.Entries, &rlcommon.RateLimitDescriptor_Entry{Key: entries[i], Value: entries[i+1]})
	}
	return d
}

func (w *world) limit(t testing.TB, domain string, ds ...*rlcommon.RateLimitDescriptor) *rlsv3.RateLimitResponse {
	t.Helper()
	response, err := w.rls.ShouldRateLimit(t.Context(), &rlsv3.RateLimitRequest{Domain: domain, Descriptors: ds})
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// check asks about a GET of a path with headers given as name, value.
func (w *world) check(t testing.TB, path string, headers ...string) *authv3.CheckResponse {
	t.Helper()
	http := &authv3.AttributeContext_HttpRequest{Method: "GET", Path: path, Scheme: "http", Host: "example.com", Headers: map[string]string{}}
	for i := 0; i < len(headers); i += 2 {
		http.Headers[headers[i]] = headers[i+1]
	}
	response, err := w.authz.Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: http},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return response
}
