//go:build integration

package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestLimitsChangeUnderLoad: an admin changes a limit while Envoy spreads
// requests over two services. Raised from 6 to 60 a minute, and lowered again, it
// is in force on both within six seconds, and mints nothing.
func TestLimitsChangeUnderLoad(t *testing.T) {
	config, table := fmt.Sprintf(byTenant, "20/day"), newTable(t)
	one, other := newServiceOn(t, table, config, tcp), newServiceOn(t, table, config, tcp)
	w := around(t, one, other)
	setLimits := func(limit string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), binary, "entity", "set-limits", "acme", "--limit", "requests:"+limit)
		command.Env = append(os.Environ(), table...)
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("setting %s: %v\n%s", limit, err, out)
		}
	}
	inForce := func(limit string) {
		t.Helper()
		for _, s := range []*service{one, other} {
			eventually(t, 6*time.Second, limit+" is in force", func() bool {
				return strings.Contains(s.look(t, "--domain", "edge", "--descriptor", "tenant=acme"), " "+limit+" ")
			})
		}
	}
	setLimits("6/min:1")
	inForce("6/min:1")
	admitted, end := w.keepAsking(t, "acme")
	defer end()
	for _, step := range []struct {
		limit       string
		least, most int64 // admitted in 6 seconds after it is in force, with one in the bucket
	}{{"60/min:1", 4, 7}, {"6/min:1", 0, 2}} {
		setLimits(step.limit)
		inForce(step.limit)
		before := admitted()
		time.Sleep(6 * time.Second)
		if n := admitted() - before; n < step.least || n > step.most {
			t.Errorf("%s: %d admitted in 6 seconds, not %d to %d", step.limit, n, step.least, step.most)
		}
	}
	end()
	w.noFaults(t)
}

// keepAsking asks for a tenant fifty times a second until it is ended, and tells
// how many requests were admitted.
func (w *world) keepAsking(t *testing.T, tenant string) (admitted func() int64, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var n atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			if r, err := w.send(context.WithoutCancel(ctx), w.rateLimit, "/", "x-tenant", tenant); err != nil {
				t.Error(err)
			} else if r.status == 200 {
				n.Add(1)
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
	}()
	return n.Load, func() {
		cancel()
		<-done
	}
}

// look is what explain says of a request that the service would decide.
func (s *service) look(t *testing.T, request ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, append([]string{"explain", "--server", s.admin}, request...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("explain: %v\n%s", err, out)
	}
	return string(out)
}
