//go:build integration

package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/extauthz/extauthz/internal/faultproxy"
)

// tough limits a tenant to 50 a day, and lets requests pass while the store
// gives no answer.
const tough = "on_unavailable: allow\n" + byTenant

// TestRecovery takes the table away from a running service, in each way that
// there is, and gives it back: while it is away the fallback answers, in time,
// and is counted, with why; afterwards the table decides again, without a
// restart, and knows what it admitted before.
func TestRecovery(t *testing.T) {
	const limit = 50
	env := newTable(t)
	table, address := "", local(freePort(t))
	for i, v := range env {
		if url, ok := strings.CutPrefix(v, "EXTAUTHZ_ENDPOINT_URL="); ok {
			table, env[i] = url, "EXTAUTHZ_ENDPOINT_URL=http://"+address
		}
	}
	start := func() *faultproxy.Proxy {
		p, err := faultproxy.StartAt(address, table, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() }) // once more, where the test closed it
		return p
	}
	proxy := start()
	w := around(t, newServiceOn(t, env, fmt.Sprintf(tough, fmt.Sprintf("%d/day", limit)), tcp))
	always := func(f faultproxy.Fault) func() {
		return func() { proxy.Set(func(faultproxy.Call) faultproxy.Fault { return f }) }
	}
	for _, c := range []struct {
		name, counted string
		begin         func()
	}{
		{"throttled", `kind="throttled"`, always(faultproxy.Throttle(faultproxy.CodeThroughput, "TableWriteKeyRangeThroughputExceeded"))},
		{"stalled", `kind="unknown"`, always(faultproxy.Fault{Action: faultproxy.Stall})},
		{"failing", `kind="unknown"`, always(faultproxy.Fault{Action: faultproxy.FailBefore})},
		{"reset", `kind="unknown"`, always(faultproxy.Fault{Action: faultproxy.DropBefore})},
		{"refused", `kind="unsent"`, func() {
			if err := proxy.Close(); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if n := w.spend(t, c.name, 5, "store"); n != 5 {
				t.Fatalf("%d of 5 admitted by the table", n)
			}
			before := w.service.samples(t)
			c.begin()
			const asked = 3
			for range asked {
				begun := time.Now()
				if r := w.ask(t, w.extAuthz, "/", "x-tenant", c.name); r.status != http.StatusOK {
					t.Errorf("%d while the table is away", r.status)
				}
				if took := time.Since(begun); took > 3*time.Second {
					t.Errorf("answered after %s: Envoy waits 5 s, the service 1 s", took)
				}
			}
			grown := func(name string, labels ...string) float64 {
				return w.service.samples(t).Family(name, labels...) - before.Family(name, labels...)
			}
			if n := grown(decisions, `source="fallback"`); n != asked {
				t.Errorf("%v decisions of the fallback, want %d", n, asked)
			}
			if n := grown("extauthz_dynamodb_calls_total", c.counted); n < 1 {
				t.Errorf("no call counted with %s", c.counted)
			}

			if c.name == "refused" {
				proxy = start()
			}
			proxy.Set(nil)
			eventually(t, 10*time.Second, "the table decides again", func() bool {
				return w.spend(t, c.name, 1, "store") == 1
			})
			// What is left is what was not taken: nothing was made. What failed
			// may have been taken.
			w.burst(t, 2*limit, w.extAuthz, "/", "x-tenant", c.name)
			eventually(t, 10*time.Second, "all is taken, and the table says so", func() bool {
				return w.ask(t, w.extAuthz, "/", "x-tenant", c.name).status == http.StatusTooManyRequests
			})
			if n := grown(decisions, `verdict="allow"`, `source="store"`); n > limit-5 {
				t.Errorf("%v admitted by the table after the first 5, of %d in all", n, limit)
			}
		})
	}
	if n := w.service.samples(t).Family("extauthz_dynamodb_throttles_total", `reason="TableWriteKeyRangeThroughputExceeded"`); n < 1 {
		t.Error("DynamoDB's reason is not counted")
	}
	w.noFaults(t)
}

const decisions = "extauthz_decisions_total"

// spend asks n times, and counts how many were admitted by decisions from there.
func (w *world) spend(t *testing.T, tenant string, n int, source string) int {
	t.Helper()
	labels := []string{`verdict="allow"`, fmt.Sprintf("source=%q", source)}
	before := w.service.samples(t).Family(decisions, labels...)
	for range n {
		w.ask(t, w.extAuthz, "/", "x-tenant", tenant)
	}
	return int(w.service.samples(t).Family(decisions, labels...) - before)
}
