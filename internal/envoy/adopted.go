package envoy

import (
	"math"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
)

// sayAdopted has the status of a descriptor speak of its limit as the rule does,
// where that is one of another format: by the configured name and unit, and also
// of a limit that is none, or of 0. A limit that the store has in the place of
// the rule's speaks for itself.
func sayAdopted(s *rlsv3.RateLimitResponse_DescriptorStatus, p *decision.Part) {
	adopted := p.Outcome.Rule.Adopted()
	switch {
	case adopted == nil:
	case adopted.Unlimited:
		s.LimitRemaining = math.MaxUint32
	case adopted.Unit == "": // it came with the descriptor
		if s.CurrentLimit != nil {
			s.CurrentLimit.Name = ""
		}
	case p.Limit == nil && p.Outcome.Action == descriptors.Deny, p.Limit != nil && p.Limit.Limit == adopted.Limit:
		unit := rlsv3.RateLimitResponse_RateLimit_Unit_value[adopted.Unit]
		s.CurrentLimit = &rlsv3.RateLimitResponse_RateLimit{
			Name: adopted.Name, Unit: rlsv3.RateLimitResponse_RateLimit_Unit(unit),
			RequestsPerUnit: saturate(adopted.Limit.Burst),
		}
	}
}
