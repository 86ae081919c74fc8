//go:build integration

package fleet

import (
	"strings"
	"testing"
	"time"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// TestChecker gives the checker histories with one fault each: a checker that
// finds nothing proves nothing.
func TestChecker(t *testing.T) {
	const s = int64(time.Second)
	// Two tokens, one a minute: two are admitted, the third request is denied by
	// what the last write told, then by what a refusal told.
	limit := ratelimit.Custom("n", 2, 1, time.Minute)
	full := ratelimit.Milli(2) // at stamp 0
	honest := func() *claims {
		took := func(at int64, left, charged ratelimit.Millitokens) *write {
			return &write{
				bucket: "b", op: ratelimit.OpCharge, charged: 1000, sent: at, came: at + s/100, outcome: "applied",
				state: item{Exists: true, Balance: left, Charged: charged},
			}
		}
		return &claims{
			orders: orders{Limit: limit}, slack: slack,
			histories: []*history{{
				name: "one", ended: true,
				writes: []*write{
					took(1*s, full-1000, 1000), took(2*s, full-2000, 2000),
					{bucket: "b", sent: 4 * s, came: 4*s + 1, outcome: "refused", state: item{Exists: true, Charged: 2000}},
				},
				requests: []*request{
					{bucket: "b", cost: 1000, asked: 1 * s, told: 2 * s, verdict: "admitted"},
					{bucket: "b", cost: 1000, asked: 2 * s, told: 3 * s, verdict: "admitted"},
					{bucket: "b", cost: 1000, asked: 2*s + s/2, told: 3 * s, verdict: "denied"},
					{bucket: "b", cost: 1000, asked: 4 * s, told: 5 * s, verdict: "denied"},
				},
			}},
			items: map[string]*item{"b": {Exists: true, Charged: 2000}},
		}
	}
	for _, c := range []struct {
		fault string
		make  func(c *claims, h *history)
	}{
		{"", func(*claims, *history) {}},
		{"", func(_ *claims, h *history) { // its answer was lost, and nobody was admitted
			h.writes[1].outcome, h.requests[1].verdict, h.requests[2].verdict = "unknown", "failed", "failed"
		}},
		{"envelope", func(c *claims, h *history) { // a third, at once
			w, r := *h.writes[1], *h.requests[1]
			w.state.Charged = 3000
			h.writes, h.requests = append(h.writes, &w), append(h.requests, &r)
			c.items["b"].Charged = 3000
		}},
		{"envelope", func(c *claims, h *history) { // a third, a second before it was there
			w, r := *h.writes[1], *h.requests[1]
			w.stamp, w.state.Charged = 58_000, 3000
			h.writes, h.requests = append(h.writes, &w), append(h.requests, &r)
			c.items["b"].Charged = 3000
		}},
		{"", func(c *claims, h *history) { // a third, when it was there, by the slack
			w, r := *h.writes[1], *h.requests[1]
			h.writes[0].stamp, h.writes[1].stamp = 1000, 1000
			w.stamp, w.state.Charged = 60_950, 3000
			h.writes, h.requests = append(h.writes, &w), append(h.requests, &r)
			c.items["b"].Charged = 3000
		}},
		{"conservation", func(c *claims, _ *history) { c.items["b"].Charged = 3000 }}, // one was applied twice
		{"conservation", func(c *claims, _ *history) { c.items["b"].Charged = 1000 }}, // one was lost
		{"conservation", func(c *claims, _ *history) { c.items["b"].Returned = 1000 }},
		{"conservation", func(c *claims, h *history) { // even what is open was applied twice
			h.writes[1].outcome, h.requests[1].verdict, h.requests[2].verdict = "unknown", "failed", "failed"
			c.items["b"].Charged = 3000
		}},
		{"balance", func(_ *claims, h *history) { h.requests[1].verdict = "failed" }},   // charged for nobody
		{"balance", func(_ *claims, h *history) { h.requests[2].verdict = "admitted" }}, // admitted for nothing
		{"balance", func(_ *claims, h *history) { h.requests[1].back = true }},          // never given back
		{"balance", func(_ *claims, h *history) { // open, and admitted
			h.writes[1].outcome, h.requests[2].verdict = "unknown", "failed"
		}},
		{"balance", func(_ *claims, h *history) { // the same, and it was killed
			h.writes[1].outcome, h.requests[2].verdict, h.ended = "", "failed", false
		}},
		{"", func(_ *claims, h *history) { // charged for nobody, as it was killed at once
			h.requests[1].verdict, h.ended, h.last = "failed", false, h.requests[1].told
		}},
		{"", func(_ *claims, h *history) { // the same, and nobody was told
			h.requests[1].verdict, h.ended, h.last = "", false, 9*s
		}},
		{"balance", func(_ *claims, h *history) { // it had the time to give that back
			h.requests[1].verdict, h.ended, h.last = "failed", false, 9*s
		}},
		{"false reject", func(_ *claims, h *history) { h.writes[2].state.Balance = 1000 }}, // a token was there
		{"false reject", func(_ *claims, h *history) { h.writes[2].came = 6 * s }},         // not yet known
		{"false reject", func(_ *claims, h *history) { // by a state of long ago
			h.writes[2].outcome = "not applied"
			h.requests[3].asked = 4 * s
		}},
		{"balance", func(c *claims, _ *history) { // admitted, and the parent was not charged
			c.Parents = []parent{{"above", c.Limit}}
		}},
	} {
		claims := honest()
		c.make(claims, claims.histories[0])
		faults := claims.check()
		if (c.fault == "") != (len(faults) == 0) {
			t.Errorf("want a fault of %q: %q", c.fault, faults)
		}
		for _, f := range faults {
			if !strings.HasPrefix(f, c.fault) {
				t.Errorf("want a fault of %q alone: %s", c.fault, f)
			}
		}
	}
}
