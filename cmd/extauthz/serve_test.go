package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// freePort is one that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// locked is what a command prints, read while it runs.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestServe runs the command until it is told to stop, asks it for what it
// decides, and starts a second one in its place.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	metrics, admin := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	file := filepath.Join(dir, "extauthz.yaml")
	content := fmt.Sprintf("listen: {grpc: 'unix:%s', metrics: '%s', admin: '%s'}\n"+
		"rules: [{name: edge, match: 'domain == \"edge\"', entity: '${descriptor.tenant}', default_limits: {requests: 2/min}}]\n",
		filepath.Join(dir, "grpc"), metrics, admin)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log, status := new(locked), make(chan int, 1)
	go func() { status <- run(ctx, []string{"serve", "-c", file, "--log-format", "json"}, nil, log, log) }()
	awaitReady(t, metrics, log)

	var out, errs bytes.Buffer
	explain := []string{"explain", "--server", admin, "--domain", "edge", "--descriptor", "tenant=acme"}
	if code := run(t.Context(), explain, nil, &out, &errs); code != exitOK || strings.Contains(out.String(), "taken to be full") ||
		!strings.Contains(out.String(), "takes 1  of 2  enough") {
		t.Errorf("explain: %d\n%s%s", code, &out, &errs)
	}
	errs.Reset()
	code := run(t.Context(), []string{"serve", "-c", file}, nil, &out, &errs)
	if code != exitFailed || !strings.Contains(errs.String(), ": address already in use\nhint: another process has it") {
		t.Errorf("a second service: %d\n%s", code, &errs)
	}

	cancel()
	select {
	case code := <-status:
		if code != exitOK || !strings.Contains(log.String(), `"msg":"stopped"`) {
			t.Errorf("it ended with %d\n%s", code, log)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("it hasn't stopped\n%s", log)
	}
	errs.Reset()
	if code := run(t.Context(), explain, nil, &out, &errs); code != exitFailed || !strings.Contains(errs.String(), "hint: --server is the address of listen.admin") {
		t.Errorf("explain of a service that has gone: %d\n%s", code, &errs)
	}
}

// awaitReady waits until a service says that it is ready.
func awaitReady(t *testing.T, metrics string, log *locked) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+metrics+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			continue
		}
		ok := response.StatusCode == http.StatusOK
		if err := response.Body.Close(); err == nil && ok {
			return
		}
	}
	t.Fatalf("it isn't ready\n%s", log)
}

func TestParseDescriptor(t *testing.T) {
	for text, want := range map[string]string{
		"a=b":           `[{a b}]`,
		"a=b,c=d=e":     `[{a b} {c d=e}]`,
		`a=b\,c\\,d=\=`: `[{a b,c\} {d =}]`,
		`a\=b=c`:        `[{a=b c}]`,
		"a=":            `[{a }]`,
		"a=é":           `[{a é}]`,
		"":              "", "a": "", "=b": "", "a=b,": "", "a=b,,c=d": "",
	} {
		d, err := parseDescriptor(text)
		if want == "" {
			if err == nil {
				t.Errorf("%q: %v, want an error", text, d)
			}
			continue
		}
		if got := fmt.Sprint(d.Entries); err != nil || got != want {
			t.Errorf("%q: %s %v, want %s", text, got, err, want)
		}
	}
}

func TestExitStatusOfADenial(t *testing.T) {
	file := filepath.Join(t.TempDir(), "extauthz.yaml")
	if err := os.WriteFile(file, []byte("rules: [{name: no, action: deny}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	args := []string{"explain", "-c", file, "--path", "/"}
	if code := run(t.Context(), args, nil, &out, &errs); code != exitOK {
		t.Errorf("%d without --exit-code", code)
	}
	if code := run(t.Context(), append(args, "--exit-code"), nil, &out, &errs); code != exitDenied || errs.Len() > 0 {
		t.Errorf("%d with --exit-code, want %d: %s", code, exitDenied, &errs)
	}
}

func TestComplainWithoutAHint(t *testing.T) {
	var errs bytes.Buffer
	if code := complain(&errs, nil, nil, errors.New("it broke")); code != exitFailed || errs.String() != "extauthz: it broke\n" {
		t.Errorf("%d %q", code, &errs)
	}
}
