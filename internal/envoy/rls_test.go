package envoy

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rlcommon "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

type (
	statusOf = rlsv3.RateLimitResponse_DescriptorStatus
	limitOf  = rlsv3.RateLimitResponse_RateLimit
)

const (
	ok   = rlsv3.RateLimitResponse_OK
	over = rlsv3.RateLimitResponse_OVER_LIMIT
)

const twoLimits = `
dynamic_metadata: false
response_headers: [retry-after]
rules:
  - name: tenant
    match: domain == "edge" && has(descriptor.tenant)
    entity: ${descriptor.tenant}
    default_limits: {requests: 3/min}
  - name: user
    match: domain == "edge" && has(descriptor.user)
    entity: ${descriptor.user}
    default_limits: {requests: 100/2min:10}
  - name: health
    match: domain == "edge" && has(descriptor.health)
    action: allow
`

func TestStatusesInOrder(t *testing.T) {
	w := newWorld(t, twoLimits)
	tenant, user := descriptor("tenant", "acme"), descriptor("user", "alice")
	requests := &limitOf{Name: "requests", RequestsPerUnit: 3, Unit: rlsv3.RateLimitResponse_RateLimit_MINUTE}
	perUser := &limitOf{Name: "requests", RequestsPerUnit: 100, Unit: rlsv3.RateLimitResponse_RateLimit_MINUTE, UnitMultiplier: wrapperspb.UInt32(2)}

	got := w.limit(t, "edge", tenant, descriptor("health", "1"), user)
	want := &rlsv3.RateLimitResponse{OverallCode: ok, Statuses: []*statusOf{
		{Code: ok, CurrentLimit: requests, LimitRemaining: 2, DurationUntilReset: &durationpb.Duration{Seconds: 20}},
		{Code: ok},
		{Code: ok, CurrentLimit: perUser, LimitRemaining: 9, DurationUntilReset: &durationpb.Duration{Seconds: 2}}, // 1.2 s
	}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Fatalf("admitted (-want +got):\n%s", diff)
	}

	w.limit(t, "edge", tenant)
	w.limit(t, "edge", tenant)
	w.pass(500 * time.Millisecond)
	got = w.limit(t, "edge", user, tenant)
	want = &rlsv3.RateLimitResponse{
		OverallCode: over,
		Statuses: []*statusOf{ // the user isn't charged, and has gained something
			{Code: ok, CurrentLimit: perUser, LimitRemaining: 9, DurationUntilReset: &durationpb.Duration{Seconds: 1}},
			{Code: over, CurrentLimit: requests, DurationUntilReset: &durationpb.Duration{Seconds: 20}}, // 19.5 s
		},
		ResponseHeadersToAdd: []*corev3.HeaderValue{{Key: "retry-after", Value: "20"}},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("denied (-want +got):\n%s", diff)
	}

	w.pass(19_499 * time.Millisecond)
	if got := w.limit(t, "edge", tenant).GetOverallCode(); got != over {
		t.Errorf("a millisecond before Retry-After: %s", got)
	}
	w.pass(time.Millisecond)
	if got := w.limit(t, "edge", tenant).GetOverallCode(); got != ok {
		t.Errorf("after Retry-After: %s", got)
	}
}

func TestHits(t *testing.T) {
	const yaml = `{rules: [{name: all, match: 'domain == "d"', entity: "${descriptor.e}", default_limits: {tokens: 10/hour}}]}`
	hits := func(n uint64) *rlcommon.RateLimitDescriptor {
		d := descriptor("e", "x")
		d.HitsAddend = wrapperspb.UInt64(n)
		return d
	}
	for name, tc := range map[string]struct {
		request *rlsv3.RateLimitRequest
		left    uint32
		code    rlsv3.RateLimitResponse_Code
	}{
		"absent is 1":                  {&rlsv3.RateLimitRequest{Descriptors: []*rlcommon.RateLimitDescriptor{descriptor("e", "x")}}, 9, ok},
		"the request's":                {&rlsv3.RateLimitRequest{HitsAddend: 4, Descriptors: []*rlcommon.RateLimitDescriptor{descriptor("e", "x")}}, 6, ok},
		"the descriptor's before it":   {&rlsv3.RateLimitRequest{HitsAddend: 4, Descriptors: []*rlcommon.RateLimitDescriptor{hits(7)}}, 3, ok},
		"a descriptor's 0 looks":       {&rlsv3.RateLimitRequest{HitsAddend: 4, Descriptors: []*rlcommon.RateLimitDescriptor{hits(0)}}, 10, ok},
		"two descriptors, one bucket":  {&rlsv3.RateLimitRequest{Descriptors: []*rlcommon.RateLimitDescriptor{hits(6), hits(4)}}, 0, ok},
		"too many together, all or no": {&rlsv3.RateLimitRequest{Descriptors: []*rlcommon.RateLimitDescriptor{hits(6), hits(5)}}, 10, over},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, yaml)
			tc.request.Domain = "d"
			got, err := w.rls.ShouldRateLimit(t.Context(), tc.request)
			if err != nil || got.GetOverallCode() != tc.code {
				t.Fatalf("%v %v, want %s", got, err, tc.code)
			}
			if left := w.limit(t, "d", hits(0)).GetStatuses()[0].GetLimitRemaining(); left != tc.left {
				t.Errorf("%d left, want %d", left, tc.left)
			}
		})
	}
}

func TestNeverHasNoRetryAfter(t *testing.T) {
	w := newWorld(t, `{rules: [{name: all, match: 'domain == "d"', entity: "${descriptor.e}", consume: {tokens: 11}, default_limits: {tokens: 10/hour}}]}`)
	got := w.limit(t, "d", descriptor("e", "x"))
	if got.GetOverallCode() != over {
		t.Errorf("more than the bucket holds: %v", got)
	}
	want := []*corev3.HeaderValue{{Key: "ratelimit", Value: `"tokens";r=10`}, {Key: "ratelimit-policy", Value: `"tokens";q=10;w=3600`}}
	if diff := cmp.Diff(want, got.GetResponseHeadersToAdd(), protocmp.Transform()); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestDenialsWithoutAWait(t *testing.T) {
	w := newWorld(t, `
no_match: deny
dynamic_metadata: false
rules:
  - {name: banned, match: 'domain == "banned"', action: deny}
  - {name: broken, match: 'domain == "broken" && int(descriptor.n) > 0', action: allow}
`)
	for _, domain := range []string{"banned", "broken", "nobody's"} {
		got := w.limit(t, domain, descriptor("n", "not a number"))
		want := &rlsv3.RateLimitResponse{OverallCode: over, Statuses: []*statusOf{{Code: over}}}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", domain, diff)
		}
	}
}

func TestOnDenyInRateLimit(t *testing.T) {
	w := newWorld(t, `
response_headers: [retry-after]
rules:
  - name: own
    match: domain == "d"
    entity: ${descriptor.e}
    default_limits: {tokens: 1/hour}
    on_deny: {body: '{"error":"slow down"}', content_type: application/json, headers: {x-reason: limit}}
`)
	w.limit(t, "d", descriptor("e", "x"))
	got := w.limit(t, "d", descriptor("e", "x"))
	want := []*corev3.HeaderValue{
		{Key: "retry-after", Value: "3600"}, {Key: "content-type", Value: "application/json"}, {Key: "x-reason", Value: "limit"},
	}
	if diff := cmp.Diff(want, got.GetResponseHeadersToAdd(), protocmp.Transform()); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if string(got.GetRawBody()) != `{"error":"slow down"}` {
		t.Errorf("body %s", got.GetRawBody())
	}
}

func TestRefusedRateLimitCalls(t *testing.T) {
	w := newWorld(t, twoLimits)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		ctx     context.Context
		request *rlsv3.RateLimitRequest
		code    codes.Code
	}{
		"no domain":      {t.Context(), &rlsv3.RateLimitRequest{Descriptors: []*rlcommon.RateLimitDescriptor{descriptor("tenant", "acme")}}, codes.InvalidArgument},
		"no descriptors": {t.Context(), &rlsv3.RateLimitRequest{Domain: "edge"}, codes.InvalidArgument},
		"too many": {t.Context(), &rlsv3.RateLimitRequest{
			Domain: "edge", Descriptors: make([]*rlcommon.RateLimitDescriptor, maxDescriptors+1),
		}, codes.InvalidArgument},
		"a limit without a unit": {t.Context(), &rlsv3.RateLimitRequest{Domain: "edge", Descriptors: []*rlcommon.RateLimitDescriptor{
			descriptor("tenant", "acme"), withLimit(descriptor("tenant", "acme"), 5, typev3.RateLimitUnit_UNKNOWN, 0),
		}}, codes.InvalidArgument},
		"gone": {gone, &rlsv3.RateLimitRequest{Domain: "edge", Descriptors: []*rlcommon.RateLimitDescriptor{descriptor("tenant", "acme")}}, codes.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range tc.request.Descriptors {
				if tc.request.Descriptors[i] == nil {
					tc.request.Descriptors[i] = descriptor("health", "1")
				}
			}
			_, err := w.rls.ShouldRateLimit(tc.ctx, tc.request)
			if status.Code(err) != tc.code {
				t.Errorf("%v, want %s", err, tc.code)
			}
		})
	}
}

// TestACallerThatHasGoneIsNotCharged calls the handler itself: what is cancelled
// on the way in must cost nothing.
func TestACallerThatHasGoneIsNotCharged(t *testing.T) {
	w := newWorld(t, twoLimits)
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	service := newRateLimit(Config{})
	_, err := service.ShouldRateLimit(ctx, &rlsv3.RateLimitRequest{Domain: "edge", Descriptors: []*rlcommon.RateLimitDescriptor{descriptor("tenant", "acme")}})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%v, want DEADLINE_EXCEEDED", err)
	}
	if left := w.limit(t, "edge", descriptor("tenant", "acme")).GetStatuses()[0].GetLimitRemaining(); left != 2 {
		t.Errorf("%d left after one call", left)
	}
}

func TestUnavailableStore(t *testing.T) {
	rule := `rules: [{name: all, match: 'domain == "d"', entity: "${descriptor.e}", default_limits: {tokens: 1/hour}}]`
	w := newWorld(t, rule)
	w.store.down.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := w.rls.ShouldRateLimit(ctx, &rlsv3.RateLimitRequest{Domain: "d", Descriptors: []*rlcommon.RateLimitDescriptor{descriptor("e", "x")}})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("%v, want UNAVAILABLE", err)
	}

	w = newWorld(t, "on_unavailable: allow\n"+rule)
	w.store.down.Store(true)
	if got := w.limit(t, "d", descriptor("e", "x")); got.GetOverallCode() != ok {
		t.Errorf("on_unavailable: allow: %v", got)
	}
	w = newWorld(t, "on_unavailable: deny\n"+rule)
	w.store.down.Store(true)
	got := w.limit(t, "d", descriptor("e", "x"))
	if got.GetOverallCode() != over || got.GetStatuses()[0].GetCode() != over || got.GetResponseHeadersToAdd()[0].GetValue() != "1" {
		t.Errorf("on_unavailable: deny: %v", got)
	}
}

func TestCurrentLimit(t *testing.T) {
	const hour = time.Hour
	for _, tc := range []struct {
		limit ratelimit.Limit
		want  *limitOf
	}{
		{ratelimit.PerSecond("a", 5), &limitOf{Name: "a", RequestsPerUnit: 5, Unit: rlsv3.RateLimitResponse_RateLimit_SECOND}},
		{ratelimit.PerDay("a", 5e9), &limitOf{Name: "a", RequestsPerUnit: 4294967295, Unit: rlsv3.RateLimitResponse_RateLimit_DAY}},
		{ratelimit.Custom("a", 1, 5, 90*time.Second), &limitOf{Name: "a", RequestsPerUnit: 5, Unit: rlsv3.RateLimitResponse_RateLimit_SECOND, UnitMultiplier: wrapperspb.UInt32(90)}},
		{ratelimit.Custom("a", 1, 5, 36*hour), &limitOf{Name: "a", RequestsPerUnit: 5, Unit: rlsv3.RateLimitResponse_RateLimit_HOUR, UnitMultiplier: wrapperspb.UInt32(36)}},
		{ratelimit.Custom("a", 1, 5, 14*24*hour), &limitOf{Name: "a", RequestsPerUnit: 5, Unit: rlsv3.RateLimitResponse_RateLimit_WEEK, UnitMultiplier: wrapperspb.UInt32(2)}},
		{ratelimit.Custom("a", 1, 5, 1500*time.Millisecond), nil},
	} {
		part := decision.Part{Limit: &ratelimit.LimitStatus{Limit: tc.limit}}
		got := new(rlsv3.RateLimitResponse)
		wellWritten(t, tc.limit.String(), appendStatus(nil, &part), got)
		if diff := cmp.Diff(tc.want, got.GetStatuses()[0].GetCurrentLimit(), protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.limit, diff)
		}
	}
}

// rawCodec sends a request's bytes as they are.
type rawCodec struct{ encoding.CodecV2 }

func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	raw, isRaw := v.([]byte)
	if !isRaw {
		return nil, fmt.Errorf("%T isn't raw", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(raw)}, nil
}

// TestTextThatIsNotUTF8OverTheWire: a client can't leave its bucket by a byte,
// nor share one with another.
func TestTextThatIsNotUTF8OverTheWire(t *testing.T) {
	w := newWorld(t, twoLimits)
	ask := func(tenant string) rlsv3.RateLimitResponse_Code {
		t.Helper()
		response := new(rlsv3.RateLimitResponse)
		err := w.conn.Invoke(t.Context(), "/"+RateLimitService+"/ShouldRateLimit", rateLimitWire("edge", "tenant", tenant), response,
			grpc.ForceCodecV2(rawCodec{NewCodec(nil).CodecV2}))
		if err != nil {
			t.Fatalf("%q: %v", tenant, err)
		}
		return response.GetOverallCode()
	}
	for _, tenant := range []string{"\xff", "\xfe", "\xff\xff", Text("\xff"), "\ufffd", "a\x00b"} {
		if code := ask(tenant); code != ok { // 3 hits, all that there are
			t.Errorf("%q: the first is %s", tenant, code)
		}
		if code := ask(tenant); code != over {
			t.Errorf("%q: the second is %s", tenant, code)
		}
	}
}

// TestAnswersCanBeWritten: what is answered to any text is valid protobuf.
func TestAnswersCanBeWritten(t *testing.T) {
	w := newWorld(t, `{rules: [{name: all, match: 'domain == "d"', entity: "${descriptor.e}", default_limits: {tokens: 1/hour}, on_deny: {body: "no, ${descriptor.e}"}}]}`)
	for range 2 {
		got := w.limit(t, "d", descriptor("e", "\U0010ffff\r\nx: y"))
		if _, err := proto.Marshal(got); err != nil {
			t.Error(err)
		}
		for _, h := range got.GetResponseHeadersToAdd() {
			if !sendable(h.GetValue()) {
				t.Errorf("header %q", h)
			}
		}
	}
}
