package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/envoy"
)

func TestMain(m *testing.M) {
	// The local DynamoDB ends with the process.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/extauthz/extauthz/internal/ddblocal.wait"),
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).writerDescriptor.func1"))
}

const listenLine = "listen: {grpc: '127.0.0.1:0', metrics: '127.0.0.1:0', admin: '127.0.0.1:0'}\n"

const oneRule = listenLine + `rules: [{name: %s, match: 'domain == "edge"', entity: "${descriptor.tenant}", default_limits: {requests: 1000000/sec}}]` + "\n"

// lockedBuffer is a log that tests read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// running is a service in this process.
type running struct {
	Addresses
	file   string
	log    *lockedBuffer
	hangup chan os.Signal
	cancel context.CancelFunc
	ended  chan error
	conn   *grpc.ClientConn
}

// runService starts a service with a file of this content.
func runService(t *testing.T, content string) *running {
	t.Helper()
	r := &running{
		file: filepath.Join(t.TempDir(), "extauthz.yaml"), log: new(lockedBuffer),
		hangup: make(chan os.Signal, 1), ended: make(chan error, 1),
	}
	mustDo(t, os.WriteFile(r.file, []byte(content), 0o600))
	load := func() (*config.Config, *config.Report) { return config.Load(r.file, config.Options{}) }
	c, report := load()
	mustDo(t, report.Err())
	level := new(slog.LevelVar)
	serving := make(chan Addresses, 1)
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	go func() {
		r.ended <- Run(ctx, Options{
			Config: c, Reload: load, Hangup: r.hangup, Version: "v1", Level: level,
			Log:     slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: level})),
			Serving: func(a Addresses) { serving <- a },
		})
	}()
	select {
	case r.Addresses = <-serving:
	case err := <-r.ended:
		cancel()
		t.Fatal(err)
	}
	var err error
	r.conn, err = grpc.NewClient(r.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	mustDo(t, err)
	t.Cleanup(func() {
		_ = r.conn.Close()
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-r.ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the log:\n%s", r.log)
		}
	})
	return r
}

func (r *running) get(t *testing.T, address, path string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	mustDo(t, err)
	response, err := http.DefaultClient.Do(request)
	mustDo(t, err)
	body, err := io.ReadAll(response.Body)
	mustDo(t, errors.Join(err, response.Body.Close()))
	return response.StatusCode, string(body)
}

// until waits for a condition.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (r *running) metric(t *testing.T, line string) bool {
	t.Helper()
	_, body := r.get(t, r.Metrics, "/metrics")
	return strings.Contains("\n"+body, "\n"+line+"\n")
}

func TestEveryPortAnswers(t *testing.T) {
	r := runService(t, fmt.Sprintf(oneRule, "edge"))
	health := healthpb.NewHealthClient(r.conn)
	for _, name := range []string{"", "ratelimit", "envoy.service.ratelimit.v3.RateLimitService", "envoy.service.auth.v3.Authorization"} {
		got, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: name})
		if err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v %v", name, got, err)
		}
	}
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ok\n", "/metrics": "extauthz_build_info"} {
		if code, body := r.get(t, r.Metrics, path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.100s", path, code, body)
		}
	}
	info, err := admin.NewClient(r.Admin).Config(t.Context())
	if err != nil || info.Path != r.file || len(info.Config) != 12 || time.Since(info.Loaded) > time.Minute {
		t.Errorf("the configuration in force: %+v %v", info, err)
	}
	reflected(t, r.conn)
}

// reflected wants both services to be listed for tools.
func reflected(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	mustDo(t, err)
	mustDo(t, stream.Send(&grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
	}))
	response, err := stream.Recv()
	mustDo(t, err)
	listed := response.String()
	for _, name := range []string{envoy.RateLimitService, envoy.AuthorizationService} {
		if !strings.Contains(listed, name) {
			t.Errorf("reflection doesn't list %s: %s", name, listed)
		}
	}
}

// replace puts a file in the place of another at once. One that is written in
// place may be seen empty on a busy machine, and is refused once more then.
func replace(t *testing.T, file, content string) {
	t.Helper()
	next := file + ".next"
	mustDo(t, os.WriteFile(next, []byte(content), 0o600))
	mustDo(t, os.Rename(next, file))
}

// TestReloadWhileRequestsFlow: the new file is in force by the time the reload
// is counted; one that is broken changes nothing.
func TestReloadWhileRequestsFlow(t *testing.T) {
	r := runService(t, fmt.Sprintf(oneRule, "rule0"))
	stop := ratelimitLoad(t, r.conn)
	client := admin.NewClient(r.Admin)
	question := &admin.Question{Domain: "edge", Descriptors: []admin.Descriptor{{Entries: []admin.Entry{{Key: "tenant", Value: "acme"}}}}}

	const n = 20
	for i := 1; i <= n; i++ {
		replace(t, r.file, fmt.Sprintf(oneRule, fmt.Sprintf("rule%d", i)))
		until(t, "the reload is counted", func() bool {
			return r.metric(t, fmt.Sprintf(`extauthz_config_reloads_total{result="success"} %d`, i))
		})
		e, err := client.Explain(t.Context(), question)
		mustDo(t, err)
		if want := fmt.Sprintf("rule%d", i); e.Requests[0].Rule != want || !e.Live {
			t.Fatalf("decided by %+v, want %s", e.Requests[0], want)
		}
	}
	replace(t, r.file, "rules: [{name: a, mach: b}]")
	until(t, "the refusal is counted", func() bool { return r.metric(t, `extauthz_config_reloads_total{result="failure"} 1`) })
	if !r.metric(t, "extauthz_config_last_reload_successful 0") {
		t.Error("the last reload counts as successful")
	}
	info, err := client.Config(t.Context())
	mustDo(t, err)
	if !strings.Contains(info.Refused, "mach") || !strings.Contains(r.log.String(), "mach") {
		t.Errorf("what is wrong is told nowhere: %+v", info)
	}
	if e, err := client.Explain(t.Context(), question); err != nil || e.Requests[0].Rule != fmt.Sprintf("rule%d", n) {
		t.Errorf("after a broken file: %+v %v", e, err)
	}
	r.hangup <- syscall.SIGHUP
	until(t, "a reload by hand is counted", func() bool { return r.metric(t, `extauthz_config_reloads_total{result="failure"} 2`) })
	if calls := stop(); calls < n {
		t.Errorf("%d calls in all", calls)
	}
}

func TestWhatNeedsARestartSaysSo(t *testing.T) {
	r := runService(t, fmt.Sprintf(oneRule, "edge"))
	mustDo(t, os.WriteFile(r.file, []byte(strings.Replace(fmt.Sprintf(oneRule, "edge"), "metrics: '127.0.0.1:0'", "metrics: ''", 1)), 0o600))
	until(t, "the log says that a restart is needed", func() bool { return strings.Contains(r.log.String(), "a restart is needed") })
	if code, _ := r.get(t, r.Metrics, "/healthz"); code != http.StatusOK {
		t.Errorf("the metrics port: %d", code)
	}
	info, err := admin.NewClient(r.Admin).Config(t.Context())
	if err != nil || len(info.Restart) != 1 || info.Restart[0] != "listen" {
		t.Errorf("%+v %v", info, err)
	}
}

// TestStopInOrder: with a client connected it says first that it isn't serving,
// and goes on answering until the client has left.
func TestStopInOrder(t *testing.T) {
	r := runService(t, fmt.Sprintf(oneRule, "edge"))
	health := healthpb.NewHealthClient(r.conn)
	_, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{})
	mustDo(t, err)
	r.cancel()
	until(t, "it isn't serving", func() bool {
		got, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{})
		return err == nil && got.GetStatus() == healthpb.HealthCheckResponse_NOT_SERVING
	})
	if code, _ := r.get(t, r.Metrics, "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz while stopping: %d", code)
	}
	if code, _ := r.get(t, r.Metrics, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz while stopping: %d", code)
	}
	mustDo(t, r.conn.Close())
	select {
	case err := <-r.ended:
		r.ended <- err
	case <-time.After(4 * time.Second):
		t.Error("it hasn't stopped though nobody is connected")
	}
}

func TestATakenPortFails(t *testing.T) {
	r := runService(t, fmt.Sprintf(oneRule, "edge"))
	for _, key := range []string{"grpc", "metrics", "admin"} {
		content := strings.Replace(fmt.Sprintf(oneRule, "edge"), key+": '127.0.0.1:0'", key+": '"+r.GRPC+"'", 1)
		c, report := config.Parse("", []byte(content), config.Options{})
		mustDo(t, report.Err())
		err := Run(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)})
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), "listen."+key) || !strings.Contains(err.Error(), r.GRPC) || e.Hint == "" {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// TestLargeCallsGetThrough: a call may be as large as gRPC takes, which is more than
// the window of a stream, and many may be under way on a connection whose window is
// that of one.
func TestLargeCallsGetThrough(t *testing.T) {
	r := runService(t, fmt.Sprintf(oneRule, "edge"))
	const most = 4 << 20
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if code, err := ask(t.Context(), r.conn, strings.Repeat("x", most-64)); err != nil || code != codeOK {
				t.Errorf("code %d, %v", code, err)
			}
		})
	}
	all.Wait()
	if _, err := ask(t.Context(), r.conn, strings.Repeat("x", most)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one that is larger: %v", err)
	}
}

func TestServingOnASocketAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grpc")
	r := runService(t, "listen: {grpc: 'unix:"+path+"', metrics: '', admin: ''}\n")
	if r.Metrics != "" || r.Admin != "" || r.GRPC != "unix:"+path {
		t.Errorf("serving on %+v", r.Addresses)
	}
	if _, err := healthpb.NewHealthClient(r.conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
}

func TestAPanicEndsOneCall(t *testing.T) {
	var panics int
	intercept := recovery(func(string, any) { panics++ })
	_, err := intercept(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/x/y"}, func(context.Context, any) (any, error) {
		panic("a fault")
	})
	if status.Code(err) != codes.Internal || panics != 1 {
		t.Errorf("%v, counted %d", err, panics)
	}
	if strings.Contains(err.Error(), "a fault of the program") {
		t.Errorf("the caller is told too much: %v", err)
	}
}

func TestListenersAreClosedWhenTheStartFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	mustDo(t, err)
	defer func() { mustDo(t, taken.Close()) }()
	path := filepath.Join(t.TempDir(), "grpc")
	c, report := config.Parse("", fmt.Appendf(nil, "listen: {grpc: 'unix:%s', metrics: '%s'}", path, taken.Addr()), config.Options{})
	mustDo(t, report.Err())
	if err := Run(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Fatal("a taken port is no error")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket is still there")
	}
}
