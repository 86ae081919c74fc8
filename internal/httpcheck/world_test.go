package httpcheck

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/goleak"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/internal/envoy"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is the endpoints on a real port, before real services with a clock that
// stands still unless it is moved.
type world struct {
	url   string
	clock *atomic.Int64 // Unix milliseconds
	store *switchable
	asked *recorder
}

// recorder keeps what a service was last asked.
type recorder struct {
	authv3.AuthorizationServer
	last *authv3.CheckRequest
	left time.Duration // until its deadline; 0: it has none
}

func (r *recorder) Check(ctx context.Context, call *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	r.last, r.left = call, 0
	if deadline, ok := ctx.Deadline(); ok {
		r.left = time.Until(deadline)
	}
	return r.AuthorizationServer.Check(ctx, call)
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

// loopback is where tests ask from.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func newWorld(t testing.TB, yaml string, trusted ...netip.Prefix) *world {
	t.Helper()
	c, report := config.Parse("extauthz.yaml", []byte(yaml), config.Options{})
	if err := report.Err(); err != nil {
		t.Fatalf("%v\n%s", err, report)
	}
	w := &world{clock: new(atomic.Int64), store: &switchable{Store: embedstore.New(embedstore.Config{})}}
	w.clock.Store(1_800_000_000_000)
	limiter, err := ratelimit.New(ratelimit.Config{Store: w.store, Now: func() time.Time { return time.UnixMilli(w.clock.Load()) }})
	if err != nil {
		t.Fatal(err)
	}
	policy := &decision.Policy{
		ID: c.Sum, Rules: c.Rules, Resolver: hierarchy.NewResolver(c.Namespace, c.Limits),
		DenyNoMatch: c.DenyNoMatch, OnUnavailable: c.OnUnavailable, ResponseHeaders: c.ResponseHeaders,
	}
	services := envoy.New(envoy.Config{Decider: decision.New(limiter, nil), Policy: func() *decision.Policy { return policy }})
	w.asked = &recorder{AuthorizationServer: services.Authorization}
	w.serve(t, Handler(Config{
		Authorization: w.asked, RateLimit: services.RateLimit, Trusted: trusted, Serving: func() bool { return true },
	}))
	return w
}

func (w *world) serve(t testing.TB, h http.Handler) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	w.url = s.URL
}

// reply is what a proxy gets.
type reply struct {
	status int
	header http.Header
	body   string
}

// ask sends a request whose target is sent as it is; headers are names and
// values in turn.
func (w *world) ask(t testing.TB, method, target string, body io.Reader, headers ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Opaque, r.Close = target, true
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(text)}
}

func (w *world) get(t testing.TB, target string, headers ...string) reply {
	t.Helper()
	return w.ask(t, http.MethodGet, target, nil, headers...)
}

// raw sends bytes, and gives the first line of the answer.
func (w *world) raw(t testing.TB, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", w.url[len("http://"):])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(answer), "\r\n")
	return line
}
