package envoy

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// maxDescriptors is how many descriptors one call may have.
const maxDescriptors = 1000

// rateLimit is the RateLimitService.
type rateLimit struct {
	rlsv3.UnimplementedRateLimitServiceServer
	*endpoint
	cfg Config
}

func newRateLimit(cfg Config) *rateLimit {
	s := &rateLimit{cfg: cfg}
	s.endpoint = newEndpoint(rlsv3.RateLimitService_ShouldRateLimit_FullMethodName, reader{readRateLimit, rateLimitMessage}, s.decide)
	return s
}

// ShouldRateLimit answers as a call over gRPC is answered.
func (s *rateLimit) ShouldRateLimit(ctx context.Context, message *rlsv3.RateLimitRequest) (*rlsv3.RateLimitResponse, error) {
	response := new(rlsv3.RateLimitResponse)
	if err := s.tell(ctx, func(c *call) { c.rateLimit(message) }, response); err != nil {
		return nil, err
	}
	return response, nil
}

// decide answers OK or OVER_LIMIT for all descriptors together, and for each in
// its order. UNKNOWN is never an answer: Envoy takes it as OK.
func (s *rateLimit) decide(ctx context.Context, c *call) (*reply, error) {
	if err := ctx.Err(); err != nil {
		return nil, refuse(s.cfg.RateLimit, gone(err))
	}
	switch {
	case c.domain == "":
		return nil, refuse(s.cfg.RateLimit, refusedNoDomain)
	case c.tooMany:
		return nil, refuse(s.cfg.RateLimit, refusedTooMany)
	case len(c.reqs) == 0:
		return nil, refuse(s.cfg.RateLimit, refusedNoDescriptors)
	}
	for i := range c.reqs {
		if o := c.reqs[i].Override; o != nil && errors.Is(o.Err, descriptors.ErrUnknownUnit) {
			return nil, refuse(s.cfg.RateLimit, refusedUnknownUnit)
		}
	}
	policy := s.cfg.Policy()
	a := s.cfg.Decider.Decide(ctx, policy, c.ptrs)
	defer s.cfg.Decider.Free(&a)
	if ctx.Err() != nil {
		s.cfg.RateLimit.Late()
	}
	if a.Verdict == decision.Unavailable {
		return nil, refuse(s.cfg.RateLimit, refusedUnavailable)
	}
	r := s.replies.get()
	r.rateLimit(&a, policy, c.ptrs)
	return r, nil
}

// The fields of a RateLimitResponse, and of what is in it.
const (
	responseCode     protowire.Number = 1
	responseStatuses protowire.Number = 2
	responseHeaders  protowire.Number = 3
	responseBody     protowire.Number = 5
	responseMetadata protowire.Number = 6

	statusCode      protowire.Number = 1
	statusLimit     protowire.Number = 2
	statusRemaining protowire.Number = 3
	statusReset     protowire.Number = 4

	limitRequests   protowire.Number = 1
	limitUnit       protowire.Number = 2
	limitName       protowire.Number = 3
	limitMultiplier protowire.Number = 4

	onlyValue protowire.Number = 1 // the seconds of a Duration, the value of a UInt32Value
)

// rateLimit writes a RateLimitResponse.
func (r *reply) rateLimit(a *decision.Answer, p *decision.Policy, reqs []*descriptors.Request) {
	r.wire = appendUint(r.wire, responseCode, codeOf(a.Verdict))
	for i := range a.Parts {
		r.wire = appendStatus(r.wire, &a.Parts[i])
	}
	r.choose(a, p)
	body := ""
	if a.Verdict != decision.Allow {
		body = r.deny(a, reqs)
	}
	for _, h := range r.headers {
		r.wire = appendHeader(r.wire, responseHeaders, h) // a raw value would be an empty header to Envoy
	}
	r.wire = appendBytes(r.wire, responseBody, body)
	r.wire = appendMetadata(r.wire, responseMetadata, a, p)
}

func codeOf(v decision.Verdict) uint64 {
	if v == decision.Allow {
		return uint64(rlsv3.RateLimitResponse_OK)
	}
	return uint64(rlsv3.RateLimitResponse_OVER_LIMIT)
}

// appendStatus appends what is said of one descriptor. Envoy makes its x-ratelimit
// headers of it: until when to wait where the limit is exceeded, else until the
// limit is full again.
func appendStatus(to []byte, p *decision.Part) []byte {
	to, status := begin(to, responseStatuses)
	to = appendUint(to, statusCode, codeOf(p.Verdict))
	said, remaining := limitSaid(p)
	if said.is {
		to = said.append(to)
	}
	to = appendUint(to, statusRemaining, uint64(remaining))
	if p.Limit != nil {
		if seconds := resetSeconds(p.Limit, p.Verdict != decision.Allow); seconds > 0 {
			var reset int
			to, reset = begin(to, statusReset)
			to = end(appendUint(to, onlyValue, uint64(seconds)), reset)
		}
	}
	return end(to, status)
}

// saidLimit is a limit as Envoy is told of it.
type saidLimit struct {
	is                  bool
	name                string
	requests, unitTimes uint32
	unit                rlsv3.RateLimitResponse_RateLimit_Unit
}

// append appends the limit. Its name is configured text: Envoy puts it between
// quotes as it is.
func (l *saidLimit) append(to []byte) []byte {
	to, limit := begin(to, statusLimit)
	to = appendUint(to, limitRequests, uint64(l.requests))
	to = appendUint(to, limitUnit, uint64(l.unit)) //nolint:gosec // not negative
	to = appendBytes(to, limitName, utf8Text(l.name))
	if l.unitTimes > 1 {
		var times int
		to, times = begin(to, limitMultiplier)
		to = end(appendUint(to, onlyValue, uint64(l.unitTimes)), times)
	}
	return end(to, limit)
}

// limitSaid is the limit of a descriptor, and what remains of it.
func limitSaid(p *decision.Part) (said saidLimit, remaining uint32) {
	if p.Limit != nil {
		said, remaining = sayLimit(&p.Limit.Limit), saturate(p.Limit.Remaining())
	}
	return sayAdopted(said, remaining, p)
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

// sayLimit says a limit as Envoy has it, where that can be said.
func sayLimit(l *ratelimit.Limit) saidLimit {
	for _, u := range envoyUnits {
		n := l.Period / u.period
		if n >= 1 && n <= math.MaxUint32 && l.Period%u.period == 0 {
			return saidLimit{is: true, name: l.Name, requests: saturate(l.Rate), unit: u.unit, unitTimes: uint32(n)}
		}
	}
	return saidLimit{}
}

func saturate(n int64) uint32 {
	return uint32(min(max(n, 0), math.MaxUint32))
}

// deny is the body of a denial, and adds to its headers. It has a body only where
// the rule gives one, or where the client is known to speak gRPC: Envoy makes the
// client's message of it, but sends our content type in place of gRPC's, which no
// client understands.
func (r *reply) deny(a *decision.Answer, reqs []*descriptors.Request) (body string) {
	d := denialOf(a, reqs)
	if slices.ContainsFunc(reqs, fromGRPC) {
		r.configure(d, false)
		return grpcMessage(d, a)
	}
	if d == nil {
		return ""
	}
	if d.Body != "" && d.ContentType != "" {
		r.set(contentType, d.ContentType)
	}
	r.configure(d, true)
	return d.Body
}

// fromGRPC reports whether a descriptor says that the client speaks gRPC, by an
// entry with the header's name: Envoy tells nothing of the request but entries.
func fromGRPC(req *descriptors.Request) bool {
	return slices.ContainsFunc(req.Entries, func(e descriptors.Entry) bool { return e.Key == contentType && isGRPC(e.Value) })
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
