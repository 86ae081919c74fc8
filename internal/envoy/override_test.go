package envoy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	rlcommon "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// withLimit gives a descriptor a limit of its own; a multiplier of 0 is none.
func withLimit(d *rlcommon.RateLimitDescriptor, perUnit uint32, unit typev3.RateLimitUnit, times uint32) *rlcommon.RateLimitDescriptor {
	d.Limit = &rlcommon.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: perUnit, Unit: unit}
	if times > 0 {
		d.Limit.UnitMultiplier = wrapperspb.UInt32(times)
	}
	return d
}

// TestOverridesHaveBucketsOfTheirOwn: each unit and multiplier of a tenant, and
// none of them is the tenant's own bucket.
func TestOverridesHaveBucketsOfTheirOwn(t *testing.T) {
	w := newWorld(t, twoLimits)
	for _, own := range []*rlcommon.RateLimitDescriptor{
		withLimit(descriptor("tenant", "acme"), 2, typev3.RateLimitUnit_HOUR, 0),
		withLimit(descriptor("tenant", "acme"), 2, typev3.RateLimitUnit_DAY, 0),
		withLimit(descriptor("tenant", "acme"), 2, typev3.RateLimitUnit_HOUR, 3),
		descriptor("tenant", "acme"),
	} {
		most := 3
		if own.Limit != nil {
			most = 2
		}
		for i := range most + 1 {
			got := w.limit(t, "edge", own).GetStatuses()[0]
			if want := map[bool]rlsv3.RateLimitResponse_Code{true: over, false: ok}[i == most]; got.GetCode() != want {
				t.Fatalf("%v, call %d: %v", own.Limit, i+1, got)
			}
			if own.Limit == nil {
				continue
			}
			l := got.GetCurrentLimit()
			if l.GetName() != "override" || l.GetRequestsPerUnit() != 2 || int32(l.GetUnit()) != int32(own.Limit.Unit) || l.GetUnitMultiplier().GetValue() != own.Limit.GetUnitMultiplier().GetValue() {
				t.Errorf("%v is told as %v", own.Limit, l)
			}
		}
	}
	w.pass(90 * time.Minute) // 1 an hour and a half, of 2 in 3 hours
	third := withLimit(descriptor("tenant", "acme"), 2, typev3.RateLimitUnit_HOUR, 3)
	if got := w.limit(t, "edge", third); got.GetOverallCode() != ok || w.limit(t, "edge", third).GetOverallCode() != over {
		t.Errorf("one in 90 minutes: %v", got)
	}
}

// TestOverrideFollowsTheLastValue: an override that grows has what is taken
// still taken, one of another capacity is the same bucket.
func TestOverrideFollowsTheLastValue(t *testing.T) {
	w := newWorld(t, twoLimits)
	own := func(n uint32) *rlcommon.RateLimitDescriptor {
		return withLimit(descriptor("tenant", "acme"), n, typev3.RateLimitUnit_DAY, 0)
	}
	for i, c := range []struct {
		perUnit, left uint32
		code          rlsv3.RateLimitResponse_Code
	}{{2, 1, ok}, {2, 0, ok}, {2, 0, over}, {10, 0, over}, {1, 0, over}} {
		got := w.limit(t, "edge", own(c.perUnit)).GetStatuses()[0]
		if got.GetCode() != c.code || got.GetLimitRemaining() != c.left || got.GetCurrentLimit().GetRequestsPerUnit() != c.perUnit {
			t.Errorf("step %d, %d a day: %v", i+1, c.perUnit, got)
		}
	}
}

// TestOverridesThatCannotBe are denied, and the other descriptors aren't charged.
func TestOverridesThatCannotBe(t *testing.T) {
	w := newWorld(t, twoLimits)
	for _, bad := range []*rlcommon.RateLimitDescriptor{
		withLimit(descriptor("tenant", "acme"), 0, typev3.RateLimitUnit_DAY, 0), // as requests_per_unit: 0 is a ban elsewhere
		withLimit(descriptor("tenant", "acme"), 1, typev3.RateLimitUnit_YEAR, 4_000_000_000),
	} {
		got := w.limit(t, "edge", descriptor("user", "alice"), bad)
		if got.GetOverallCode() != over {
			t.Errorf("%v: %v", bad.Limit, got)
		}
	}
	if left := w.limit(t, "edge", descriptor("user", "alice")).GetStatuses()[0].GetLimitRemaining(); left != 9 {
		t.Errorf("alice has %d left, want 9", left)
	}
	_, err := w.rls.ShouldRateLimit(t.Context(), &rlsv3.RateLimitRequest{
		Domain: "edge", Descriptors: []*rlcommon.RateLimitDescriptor{withLimit(descriptor("tenant", "acme"), 1, 99, 0)},
	})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(fmt.Sprint(err), "unit") {
		t.Errorf("a unit of another time: %v", err)
	}
}

// TestRefundsOverTheWire has hits given back under a rule that credits them and
// under one that doesn't: both are answered OK.
func TestRefundsOverTheWire(t *testing.T) {
	w := newWorld(t, `
rules:
  - {name: tpm, match: 'domain == "llm"', entity: "${descriptor.user}", refunds: true, default_limits: {tpm: 10/day}}
  - {name: kept, match: 'domain == "edge"', entity: "${descriptor.user}", default_limits: {tpm: 10/day}}
`)
	for domain, left := range map[string]uint32{"llm": 7, "edge": 4} {
		take, back := descriptor("user", "u"), descriptor("user", "u")
		take.HitsAddend = wrapperspb.UInt64(6)
		back.HitsAddend, back.IsNegativeHits = wrapperspb.UInt64(3), true
		w.limit(t, domain, take)
		if got := w.limit(t, domain, back); got.GetOverallCode() != ok || len(got.GetStatuses()) != 1 || got.GetStatuses()[0].GetCode() != ok {
			t.Errorf("%s: %v", domain, got)
		}
		look := descriptor("user", "u")
		look.HitsAddend = wrapperspb.UInt64(0)
		if got := w.limit(t, domain, look).GetStatuses()[0].GetLimitRemaining(); got != left {
			t.Errorf("%s: %d left, want %d", domain, got, left)
		}
	}
}
