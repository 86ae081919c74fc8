//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
)

// reply is what a client of Envoy sees. seen are the headers that reached the
// backend, nil when it wasn't asked.
type reply struct {
	status int
	header http.Header
	body   string
	seen   http.Header
}

// retryAfter is the header's number of seconds, 0 when there is none.
func (r reply) retryAfter(t *testing.T) int {
	t.Helper()
	values := r.header.Values("Retry-After")
	if len(values) == 0 {
		return 0
	}
	n, err := strconv.Atoi(values[0])
	if err != nil || len(values) > 1 || n < 1 {
		t.Fatalf("Retry-After is %q: one whole number, at least 1, was due", values)
	}
	return n
}

// send asks once; headers are names and values in turn, sent as they are.
func (w *world) send(ctx context.Context, addr, path string, headers ...string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return reply{}, fmt.Errorf("asking %s: %w", addr, err)
	}
	for i := 0; i < len(headers); i += 2 {
		name := http.CanonicalHeaderKey(headers[i])
		req.Header[name] = append(req.Header[name], headers[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return reply{}, fmt.Errorf("asking %s: %w", addr, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, fmt.Errorf("reading the answer of %s: %w", addr, err)
	}
	r := reply{status: resp.StatusCode, header: resp.Header, body: string(body)}
	if r.status == http.StatusOK {
		if err := json.Unmarshal(body, &r.seen); err != nil {
			return reply{}, fmt.Errorf("200 without the backend's answer %q: %w", body, err)
		}
	}
	return r, nil
}

// ask is send for which an error is the test's failure.
func (w *world) ask(t *testing.T, addr, path string, headers ...string) reply {
	t.Helper()
	r, err := w.send(t.Context(), addr, path, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// burst sends n requests at once and counts the answers by status.
func (w *world) burst(t *testing.T, n int, addr, path string, headers ...string) map[int]int {
	t.Helper()
	var (
		mu      sync.Mutex
		wg      sync.WaitGroup
		answers = map[int]int{}
		start   = make(chan struct{})
	)
	for range n {
		wg.Go(func() {
			<-start
			r, err := w.send(t.Context(), addr, path, headers...)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			answers[r.status]++
		})
	}
	close(start)
	wg.Wait()
	return answers
}
