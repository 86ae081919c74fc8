package envoy

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rlcommon "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func allHeaders() string { return "[" + strings.Join(config.ResponseHeaders(), ", ") + "]" }

const threeLimits = `
rules:
  - name: closed
    match: domain == "closed"
    action: deny
  - name: free
    match: domain == "free"
    action: allow
  - name: edge
    match: domain == "edge"
    entity: ${descriptor.tenant}
    consume: {rpm: 1, tpm: hits, day: 0}
    default_limits: {rpm: 30/min:5, tpm: 600/min, day: 1000/day}
  - name: api
    match: request.path != ""
    entity: ${request.headers["x-tenant"]}
    default_limits: {rpm: 30/min:5}
response_headers: `

// texts are headers of RLS as NAME: VALUE.
func texts(headers []*corev3.HeaderValue) []string {
	var all []string
	for _, h := range headers {
		all = append(all, h.GetKey()+": "+h.GetValue())
	}
	return all
}

func withHits(d *rlcommon.RateLimitDescriptor, n uint64) *rlcommon.RateLimitDescriptor {
	d.HitsAddend = wrapperspb.UInt64(n)
	return d
}

func TestChosenHeadersOfRateLimits(t *testing.T) {
	const nobody = "nobody"
	for name, tc := range map[string]struct {
		chosen string
		before uint64 // tokens taken at once, of another request
		pass   time.Duration
		domain string
		want   []string
	}{
		"by default":         {"[retry-after, ratelimit, ratelimit-policy]", 0, 0, "edge", []string{`ratelimit: "rpm";r=4;t=2`, `ratelimit-policy: "rpm";q=5;w=60`}},
		"in the order given": {"[ratelimit-policy, ratelimit]", 0, 0, "edge", []string{`ratelimit-policy: "rpm";q=5;w=60`, `ratelimit: "rpm";r=4;t=2`}},
		"all":                {allHeaders(), 0, 0, "edge", []string{`ratelimit: "rpm";r=4;t=2`, `ratelimit-policy: "rpm";q=5;w=60`, "x-ratelimit-limit: 5", "x-ratelimit-remaining: 4", "x-ratelimit-reset: 2"}},
		"another is nearer its end": {allHeaders(), 599, time.Millisecond, "edge", []string{
			"retry-after: 1", `ratelimit: "tpm";r=1;t=1`, `ratelimit-policy: "tpm";q=600;w=60`, "x-ratelimit-limit: 600", "x-ratelimit-remaining: 1", "x-ratelimit-reset: 1",
		}},
		"none":             {"[]", 600, 0, "edge", nil},
		"no limit":         {allHeaders(), 0, 0, "free", nil},
		"denied by a rule": {allHeaders(), 0, 0, "closed", nil},
		"nobody's":         {allHeaders(), 0, 0, nobody, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threeLimits+tc.chosen)
			d := descriptor("tenant", "acme")
			if tc.before > 0 {
				w.limit(t, "edge", withHits(d, tc.before))
				w.pass(tc.pass)
				d = withHits(d, 2)
			}
			got := texts(w.limit(t, tc.domain, d).GetResponseHeadersToAdd())
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestChosenHeadersOverTime empties a bucket and waits as the headers say.
func TestChosenHeadersOverTime(t *testing.T) {
	w := newWorld(t, threeLimits+allHeaders())
	ask := func() (denied bool, headers map[string]string) {
		r := w.check(t, "/", "x-tenant", `a"b`)
		if d := r.GetDeniedResponse(); d != nil {
			return true, headersOf(t, d.GetHeaders())
		}
		return false, headersOf(t, r.GetOkResponse().GetResponseHeadersToAdd())
	}
	for i, left := range []string{"4", "3", "2", "1", "0"} {
		denied, got := ask()
		want := map[string]string{
			"ratelimit": `"rpm";r=` + left + ";t=2", "ratelimit-policy": `"rpm";q=5;w=60`,
			"x-ratelimit-limit": "5", "x-ratelimit-remaining": left, "x-ratelimit-reset": []string{"2", "4", "6", "8", "10"}[i],
		}
		if diff := cmp.Diff(want, got); denied || diff != "" {
			t.Fatalf("denied: %t (-want +got):\n%s", denied, diff)
		}
	}
	w.pass(700 * time.Millisecond)
	denied, got := ask()
	want := map[string]string{
		"retry-after": "2", "ratelimit": `"rpm";r=0;t=2`, "ratelimit-policy": `"rpm";q=5;w=60`,
		"x-ratelimit-limit": "5", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "2", "content-type": jsonType, "x-envoy-ratelimited": "true",
	}
	if diff := cmp.Diff(want, got); !denied || diff != "" {
		t.Errorf("denied: %t (-want +got):\n%s", denied, diff)
	}
	w.pass(2 * time.Second)
	if denied, got = ask(); denied {
		t.Errorf("after retry-after: %v", got)
	}
}

func TestLargestNumbers(t *testing.T) {
	const longestValue = 128
	l := &ratelimit.LimitStatus{
		Limit:     ratelimit.Custom(strings.Repeat("a", 64), ratelimit.MaxTokens, 1, ratelimit.MaxPeriod),
		Balance:   ratelimit.MaxTokens * ratelimit.MillitokensPerToken,
		FullAfter: math.MaxInt64,
	}
	for _, name := range config.ResponseHeaders()[1:] {
		value := string(appendValue(nil, name, &decision.Answer{}, l))
		if value == "" || len(value) > longestValue {
			t.Errorf("%s: %q of %d bytes", name, value, len(value))
		}
		for number := range strings.FieldsFuncSeq(value, func(r rune) bool { return r < '0' || r > '9' }) {
			if len(number) > 15 {
				t.Errorf("%s: %s is more than a structured field holds", name, value)
			}
		}
	}
	if appendValue(nil, retryAfter, &decision.Answer{RetryAfter: 1}, nil) == nil {
		t.Error("retry-after is none of those that are known")
	}
}

func TestNoResetWhereNoWaitHelps(t *testing.T) {
	l := &ratelimit.LimitStatus{Limit: ratelimit.PerMinute("l", 5), Cost: 6, Violated: true, Never: true}
	if got := appendValue(nil, xReset, &decision.Answer{}, l); got != nil {
		t.Errorf("%s: %s of a request that never passes", xReset, got)
	}
}

// TestNextTokenBeforeTheWait holds that a client that waits for the next token
// waits no longer than one that is told when to come again, and that there is
// one more token then.
func TestNextTokenBeforeTheWait(t *testing.T) {
	key, err := ratelimit.NewKey("default", "x", "y", "")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Int64Range(1, 1000).Draw(t, "rate")
		burst := rapid.Int64Range(1, 1000).Draw(t, "burst")
		period := time.Duration(rapid.Int64Range(1, 100_000_000).Draw(t, "period")) * time.Millisecond
		limit := ratelimit.Custom("l", burst, rate, period)
		if limit.Validate() != nil {
			t.Skip("no limit")
		}
		now := time.UnixMilli(1_800_000_000_000)
		limiter, err := ratelimit.New(ratelimit.Config{Store: embedstore.New(embedstore.Config{}), Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(how func(context.Context, ratelimit.Ask) (ratelimit.Decision, error), tokens int64) ratelimit.LimitStatus {
			d, err := how(context.Background(), ratelimit.Ask{
				Now: now, Resolver: hierarchy.NewResolver("default", hierarchy.Document{}), Charges: []ratelimit.Charge{{
					Query: ratelimit.Query{Key: key, DefaultLimits: []ratelimit.Limit{limit}}, Cost: ratelimit.EachLimit(tokens),
				}},
			})
			_, status := d.Primary()
			if err != nil || status == nil {
				t.Fatalf("%v %v", d, err)
			}
			return *status
		}
		ask(limiter.Decide, rapid.Int64Range(1, burst).Draw(t, "taken"))
		now = now.Add(time.Duration(rapid.Int64Range(0, 10_000_000).Draw(t, "passed")) * time.Millisecond)
		s := ask(limiter.Look, 0)
		next := nextSeconds(&s)
		if s.FullAfter == 0 {
			if next != 0 {
				t.Fatalf("a full bucket gains in %d s", next)
			}
			return
		}
		denied := ask(limiter.Look, s.Remaining()+1)
		if denied.Violated && next > waitSeconds(denied.RetryAfter) {
			t.Fatalf("the next token comes in %d s, and one more is there in %s", next, denied.RetryAfter)
		}
		now = now.Add(time.Duration(next)*time.Second + time.Millisecond)
		if after := ask(limiter.Look, 0); after.Remaining() <= s.Remaining() {
			t.Fatalf("%d s later there are still %d tokens", next, s.Remaining())
		}
	})
}
