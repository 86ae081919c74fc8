package envoy

import (
	"math"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
)

// sayAdopted has a descriptor speak of its limit as the rule does, where that is
// one of another format: by the configured name and unit, and also of a limit that
// is none, or of 0. A limit that the store has in the place of the rule's speaks
// for itself.
func sayAdopted(said saidLimit, remaining uint32, p *decision.Part) (saidLimit, uint32) {
	adopted := p.Outcome.Rule.Adopted()
	switch {
	case adopted == nil:
	case adopted.Unlimited:
		remaining = math.MaxUint32
	case adopted.Unit == "": // it came with the descriptor
		said.name = ""
	case p.Limit == nil && p.Outcome.Action == descriptors.Deny, p.Limit != nil && p.Limit.Limit == adopted.Limit:
		unit := rlsv3.RateLimitResponse_RateLimit_Unit_value[adopted.Unit]
		said = saidLimit{
			is: true, name: adopted.Name, unit: rlsv3.RateLimitResponse_RateLimit_Unit(unit), requests: saturate(adopted.Limit.Burst),
		}
	}
	return said, remaining
}

// appendAdopted appends what rules of another format have go with the answers of
// the descriptors that passed: all of it as one, where the first that says
// something of a name counts.
func appendAdopted(to []byte, a *decision.Answer) []byte {
	var all map[string]any
	for i := range a.Parts {
		p := &a.Parts[i]
		adopted := p.Outcome.Rule.Adopted()
		if adopted == nil || len(adopted.Metadata) == 0 || p.Verdict != decision.Allow || p.Outcome.Action == descriptors.Allow {
			continue
		}
		if all == nil {
			all = map[string]any{}
		}
		mergeMissing(all, adopted.Metadata)
	}
	if all == nil {
		return to
	}
	s, err := structpb.NewStruct(all)
	if err != nil { // a text that isn't UTF-8, which a file can't have
		return to
	}
	value, err := proto.Marshal(structpb.NewStructValue(s))
	if err != nil {
		return to
	}
	to, entry := beginEntry(to, metaAdopted)
	return end(appendBytes(to, entryValue, value), entry)
}

// mergeMissing adds what isn't there, also within mappings that both have. It changes
// nothing that is merged.
func mergeMissing(into, from map[string]any) {
	for name, value := range from {
		add, isMap := value.(map[string]any)
		own, has := into[name]
		if within, ok := own.(map[string]any); ok && isMap {
			mergeMissing(within, add)
			continue
		}
		switch {
		case has:
		case isMap:
			copied := map[string]any{}
			mergeMissing(copied, add)
			into[name] = copied
		default:
			into[name] = value
		}
	}
}
