package envoy

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// TestPublicJSON is what encoding/json makes of a denial.
func TestPublicJSON(t *testing.T) {
	reasons := []ratelimit.Reason{ratelimit.ReasonAllowed, ratelimit.ReasonExceeded, ratelimit.ReasonNever, ratelimit.ReasonDisabled, ratelimit.ReasonUnlimited, ratelimit.ReasonUnavailable}
	rapid.Check(t, func(rt *rapid.T) {
		resource := rapid.OneOf(
			rapid.StringMatching(`[ -~]{1,20}`), rapid.StringN(1, 8, -1), rapid.SampledFrom([]string{"\xff", "\u2028", "\x7f", "</script>", "\\\"", "a\nb"}),
		).Draw(rt, "resource")
		key, err := ratelimit.NewKey("default", "x", resource, "")
		if err != nil {
			rt.Skip("no key")
		}
		a := &decision.Answer{Verdict: rapid.SampledFrom([]decision.Verdict{decision.Deny, decision.Invalid}).Draw(rt, "verdict")}
		a.Decision = ratelimit.Decision{
			Reason:     rapid.SampledFrom(reasons).Draw(rt, "reason"),
			RetryAfter: time.Duration(rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(1000, 1<<62)).Draw(rt, "wait")),
			Buckets: []ratelimit.BucketStatus{{Key: key, Limits: []ratelimit.LimitStatus{{
				Limit: ratelimit.PerMinute(rapid.StringMatching(`[a-z]{0,5}`).Draw(rt, "limit"), 1), Violated: true,
			}}}},
		}
		want, err := json.Marshal(public(a))
		if err != nil {
			rt.Fatal(err)
		}
		if got := appendPublic(nil, a); string(got) != string(want) {
			rt.Errorf("%s\nwant\n%s", got, want)
		}
	})
}
