package envoy

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// maxDescriptors is how many descriptors one call may have.
const maxDescriptors = 1000

// rateLimit is the RateLimitService.
type rateLimit struct {
	rlsv3.UnimplementedRateLimitServiceServer
	cfg  Config
	pool requestPool
}

func newRateLimit(cfg Config) *rateLimit { return &rateLimit{cfg: cfg} }

// ShouldRateLimit answers OK or OVER_LIMIT for all descriptors together, and
// for each in its order. UNKNOWN is never an answer: Envoy takes it as OK.
func (s *rateLimit) ShouldRateLimit(ctx context.Context, call *rlsv3.RateLimitRequest) (*rlsv3.RateLimitResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, refuse(s.cfg.RateLimit, gone(err))
	}
	n := len(call.GetDescriptors())
	switch {
	case call.GetDomain() == "":
		return nil, refuse(s.cfg.RateLimit, refusedNoDomain)
	case n == 0:
		return nil, refuse(s.cfg.RateLimit, refusedNoDescriptors)
	case n > maxDescriptors:
		return nil, refuse(s.cfg.RateLimit, refusedTooMany)
	}
	reqs := s.pool.get(n)
	defer s.pool.put(reqs)
	for i := range reqs.all {
		req := &reqs.all[i]
		descriptors.FromRateLimit(call, i, req)
		if req.Override != nil && errors.Is(req.Override.Err, descriptors.ErrUnknownUnit) {
			return nil, refuse(s.cfg.RateLimit, refusedUnknownUnit)
		}
	}
	policy := s.cfg.Policy()
	a := s.cfg.Decider.Decide(ctx, policy, reqs.ptrs)
	if ctx.Err() != nil {
		s.cfg.RateLimit.Late()
	}
	if a.Verdict == decision.Unavailable {
		return nil, refuse(s.cfg.RateLimit, refusedUnavailable)
	}
	response := rateLimitResponse(&a, policy, reqs.ptrs)
	setMetadata(response, rateLimitMetadata, &a, policy)
	return response, nil
}

func rateLimitResponse(a *decision.Answer, p *decision.Policy, reqs []*descriptors.Request) *rlsv3.RateLimitResponse {
	response := &rlsv3.RateLimitResponse{
		OverallCode: codeOf(a.Verdict),
		Statuses:    make([]*rlsv3.RateLimitResponse_DescriptorStatus, len(a.Parts)),
	}
	said := make([]said, len(a.Parts))
	for i := range a.Parts {
		response.Statuses[i] = said[i].about(&a.Parts[i])
	}
	headers := withChosen(make([]header, 0, usualHeaders), a, p)
	if a.Verdict != decision.Allow {
		headers = deny(response, headers, a, reqs)
	}
	response.ResponseHeadersToAdd = headerValues(headers)
	return response
}

func codeOf(v decision.Verdict) rlsv3.RateLimitResponse_Code {
	if v == decision.Allow {
		return rlsv3.RateLimitResponse_OK
	}
	return rlsv3.RateLimitResponse_OVER_LIMIT
}

// said is what is said of one descriptor, allocated together.
type said struct {
	status     rlsv3.RateLimitResponse_DescriptorStatus
	limit      rlsv3.RateLimitResponse_RateLimit
	untilReset durationpb.Duration
}

// about is what Envoy makes its x-ratelimit headers of: until when to wait where
// the limit is exceeded, else until the limit is full again.
func (s *said) about(p *decision.Part) *rlsv3.RateLimitResponse_DescriptorStatus {
	s.status.Code = codeOf(p.Verdict)
	if l := p.Limit; l != nil {
		if setLimit(&s.limit, &l.Limit) {
			s.status.CurrentLimit = &s.limit
		}
		s.status.LimitRemaining = saturate(l.Remaining())
		if seconds := resetSeconds(l, p.Verdict != decision.Allow); seconds > 0 {
			s.untilReset.Seconds = seconds
			s.status.DurationUntilReset = &s.untilReset
		}
	}
	sayAdopted(&s.status, p)
	return &s.status
}

// envoyUnits are Envoy's units of time, the longest first; months and years
// have no one length.
var envoyUnits = [...]struct {
	period time.Duration
	unit   rlsv3.RateLimitResponse_RateLimit_Unit
}{
	{7 * 24 * time.Hour, rlsv3.RateLimitResponse_RateLimit_WEEK},
	{24 * time.Hour, rlsv3.RateLimitResponse_RateLimit_DAY},
	{time.Hour, rlsv3.RateLimitResponse_RateLimit_HOUR},
	{time.Minute, rlsv3.RateLimitResponse_RateLimit_MINUTE},
	{time.Second, rlsv3.RateLimitResponse_RateLimit_SECOND},
}

// setLimit sets a limit as Envoy has it, and is false where it can't be said. Its
// name is configured text: Envoy puts it between quotes as it is.
func setLimit(to *rlsv3.RateLimitResponse_RateLimit, l *ratelimit.Limit) bool {
	for _, u := range envoyUnits {
		n := l.Period / u.period
		if n < 1 || n > math.MaxUint32 || l.Period%u.period != 0 {
			continue
		}
		to.Name, to.RequestsPerUnit, to.Unit = l.Name, saturate(l.Rate), u.unit
		if n > 1 {
			to.UnitMultiplier = wrapperspb.UInt32(uint32(n))
		}
		return true
	}
	return false
}

func saturate(n int64) uint32 {
	return uint32(min(max(n, 0), math.MaxUint32))
}

// deny adds what a denial says beside its code, and to its headers. It has a
// body only where the rule gives one, or where the client is known to speak
// gRPC: Envoy makes the client's message of it, but sends our content type in
// place of gRPC's, which no client understands.
func deny(response *rlsv3.RateLimitResponse, headers []header, a *decision.Answer, reqs []*descriptors.Request) []header {
	d := denialOf(a, reqs)
	if slices.ContainsFunc(reqs, fromGRPC) {
		response.RawBody = []byte(grpcMessage(d, a))
		return withConfigured(headers, d, false)
	}
	if d == nil {
		return headers
	}
	if d.Body != "" {
		response.RawBody = []byte(d.Body)
		if d.ContentType != "" {
			headers = set(headers, contentType, d.ContentType)
		}
	}
	return withConfigured(headers, d, true)
}

// fromGRPC reports whether a descriptor says that the client speaks gRPC, by an
// entry with the header's name: Envoy tells nothing of the request but entries.
func fromGRPC(req *descriptors.Request) bool {
	return slices.ContainsFunc(req.Entries, func(e descriptors.Entry) bool { return e.Key == contentType && isGRPC(e.Value) })
}

// headerValues are headers as RLS has them, allocated together.
func headerValues(headers []header) []*corev3.HeaderValue {
	if len(headers) == 0 {
		return nil
	}
	all, values := make([]*corev3.HeaderValue, len(headers)), make([]corev3.HeaderValue, len(headers))
	for i, h := range headers {
		all[i] = &values[i]
		all[i].Key, all[i].Value = h.name, h.value // RawValue would be an empty header to Envoy
	}
	return all
}

// denialOf is what the deciding rule's on_deny says, or nil. It speaks of
// denials: requests that can't be mapped and a store that doesn't answer have
// answers of their own.
func denialOf(a *decision.Answer, reqs []*descriptors.Request) *descriptors.DenialAnswer {
	if a.Verdict != decision.Deny || a.Rule == nil || a.Reason == decision.ReasonUnavailable {
		return nil
	}
	for i, req := range reqs {
		if p := &a.Parts[i]; p.Verdict == decision.Deny && p.Outcome.Rule == a.Rule {
			return a.Rule.Denial(req, a.Entity)
		}
	}
	// The rule that was refused is a `continue` rule before the one that took it.
	for i, req := range reqs {
		charges := a.Parts[i].Outcome.Charges
		if slices.ContainsFunc(charges, func(c descriptors.RuleCharge) bool { return c.Rule == a.Rule }) {
			return a.Rule.Denial(req, a.Entity)
		}
	}
	return nil
}
