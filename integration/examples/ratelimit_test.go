//go:build integration

package examples

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestLLM has a user spend more tokens than are left: the request that began
// while there were some is served, what it cost is booked into debt, and until
// that is repaid the user is refused. The cost is read out of a JSON answer, or
// out of server-sent events.
func TestLLM(t *testing.T) {
	t.Parallel()
	users := map[string]string{"/chat": "alice", "/stream": "bob"} // :: path -> who asks there
	var change []func(string) string
	if os.Getenv("EXTAUTHZ_TEST_ENVOY") == "oldest" {
		change = append(change, withoutSSE)
		delete(users, "/stream")
	}
	e := start(t, "llm", change...)
	const port = 10000
	for path, user := range users {
		// 200, 50, -100: the third look finds nothing. Each waits until the
		// one before is booked.
		for i := range 2 {
			before := e.settled(t)
			if r := e.ask(t, port, path, "x-user", user); r.status != 200 {
				t.Fatalf("%s, request %d: %d, want 200", path, i+1, r.status)
			}
			eventually(t, path+": the cost is booked", func() bool { return e.settled(t) == before+1 })
		}
		r := e.ask(t, port, path, "x-user", user)
		if r.status != 429 {
			t.Errorf("%s in debt: %d, want 429", path, r.status)
		}
		wantWait(t, r, 15, 31) // 100 tokens and one, at 200 a minute
	}
	// No usage in the answer: it is free, and no call is made for it.
	e.wantStatuses(t, []int{200, 200, 200, 200, 200, 429}, port, "/models", "x-user", "carol")
	e.wantStatuses(t, []int{401, 401}, port, "/chat")
	e.noFaults(t)
}

// withoutSSE leaves out the filter that an Envoy before 1.38 doesn't have.
func withoutSSE(config string) string {
	before, after, _ := strings.Cut(config, "- name: envoy.filters.http.sse_to_metadata")
	_, after, _ = strings.Cut(after, "- name: envoy.filters.http.json_to_metadata")
	return before + "- name: envoy.filters.http.json_to_metadata" + after
}

// settled is how many charges the service has booked after a response.
func (e *example) settled(t *testing.T) float64 {
	t.Helper()
	samples, err := e.service.Samples(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return samples.Family("extauthz_settled_charges_total")
}

// TestTCP limits new connections, which are closed before the backend sees them.
func TestTCP(t *testing.T) {
	t.Parallel()
	e := start(t, "tcp")
	for _, port := range []int{10000, 10001} {
		for i, want := range []bool{true, true, false} {
			got, err := connect(t.Context(), e.addr(port))
			if err != nil || got != want {
				t.Errorf("port %d, connection %d: served %t (%v), want %t", port, i+1, got, err, want)
			}
		}
	}
	stats, err := e.envoy.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := stats["ratelimit.connections.cx_closed"]; n != 1 {
		t.Errorf("Envoy closed %v connections of the rate limit filter, want 1", n)
	}
	e.noFaults(t)
}

// connect opens a connection and asks through it; a connection that is closed
// without an answer isn't served.
func connect(ctx context.Context, addr string) (served bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return false, err
	}
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
		return false, nil //nolint:nilerr // it is closed already
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return false, err
	}
	if err != nil {
		return false, nil //nolint:nilerr // closed without an answer
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK, errors.Join(err, resp.Body.Close())
}
