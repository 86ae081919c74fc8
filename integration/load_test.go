//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// maxFailures is how many failures of a load are kept: the first say enough.
const maxFailures = 5

// load is traffic that goes on until it is stopped.
type load struct {
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	done     atomic.Int64
	mu       sync.Mutex
	failed   int
	failures []error
}

// startLoad runs one again and again in each of n workers. What one returns as
// an error is a failed request.
func startLoad(t *testing.T, n int, one func(ctx context.Context) error) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel}
	for range n {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				// A request that has been sent is waited for: what the load's own
				// end cuts short would count as a failure.
				if err := one(context.WithoutCancel(ctx)); err != nil {
					l.fail(err)
				}
				l.done.Add(1)
			}
		})
	}
	t.Cleanup(func() { cancel(); l.wg.Wait() })
	return l
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed++; len(l.failures) < maxFailures {
		l.failures = append(l.failures, err)
	}
}

// stop ends the load, fails the test for each failure and gives the number of
// requests made.
func (l *load) stop(t *testing.T) int64 {
	t.Helper()
	l.cancel()
	l.wg.Wait()
	n := l.done.Load()
	if n == 0 {
		t.Error("the load made no request at all")
	}
	if l.failed > 0 {
		t.Errorf("%d of %d requests failed, the first:\n%v", l.failed, n, errors.Join(l.failures...))
	}
	return n
}

// wantOK sends one request and returns an error unless it passes.
func (w *world) wantOK(ctx context.Context, addr string, headers ...string) (reply, error) {
	r, err := w.send(ctx, addr, "/", headers...)
	if err == nil && r.status != http.StatusOK {
		err = fmt.Errorf("%s: %d %.200s", addr, r.status, r.body)
	}
	return r, err
}
