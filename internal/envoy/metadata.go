package envoy

import (
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// The dynamic metadata of answers is for Envoy's access log and the filters
// after ours: the rule that decided, whom and what it charged, the limit that
// decided or is nearest its end with what is left of it, what the decision rests
// on, and the rules that were decided beside it without being enforced. What
// isn't known isn't there.
const (
	metaRule      = "rule"
	metaEntity    = "entity"
	metaResource  = "resource"
	metaLimit     = "limit"
	metaRemaining = "remaining"
	metaSource    = "source"
	metaShadow    = "shadow" // the rules' names, with commas between
	// metaAdopted is what rules of another format have go with their answers.
	metaAdopted = "metadata"
	// metaOverride is that limit as a ratelimit filter takes it for a descriptor
	// (`limit: {dynamic_metadata: ...}`), in ext_authz alone.
	metaOverride        = "override"
	metaRequestsPerUnit = "requests_per_unit"
	metaUnit            = "unit"
)

// appendMetadata appends the metadata, a Struct, to an answer. As a map of messages
// it would take a dozen allocations to make, and as long to write as all else
// that the answer holds.
func appendMetadata(to []byte, field protowire.Number, a *decision.Answer, p *decision.Policy) []byte {
	if !p.DynamicMetadata {
		return to
	}
	without := len(to)
	to, at := begin(to, field)
	if a.Rule != nil {
		to = appendTextEntry(to, metaRule, a.Rule.Name())
	}
	entity, resource, limit := charged(a)
	to = appendTextEntry(to, metaEntity, entity)
	to = appendTextEntry(to, metaResource, resource)
	if limit != nil {
		to = appendTextEntry(to, metaLimit, limit.Limit.Name)
		to = appendNumberEntry(to, metaRemaining, limit.Remaining())
	}
	if len(a.Decision.Buckets) > 0 || a.Source == ratelimit.SourceFallback {
		to = appendTextEntry(to, metaSource, a.Source.String())
	}
	to = appendShadows(to, a)
	to = appendAdopted(to, a)
	if limit != nil && field == checkMetadata {
		to = appendOverride(to, &limit.Limit)
	}
	if len(to) == at {
		return to[:without]
	}
	return end(to, at)
}

// charged are whom and what the answer is about, and the limit.
func charged(a *decision.Answer) (entity, resource string, l *ratelimit.LimitStatus) {
	b, l := a.Decision.Primary()
	if !b.Key.IsZero() {
		return a.Entity.ID, b.Key.Resource(), l
	}
	// Nothing is known of any limit; what was to be charged is.
	for i := range a.Parts {
		for j := range a.Parts[i].Outcome.Charges {
			if c := &a.Parts[i].Outcome.Charges[j]; c.Rule == a.Rule {
				return c.Query.Key.Entity(), c.Query.Key.Resource(), nil
			}
		}
	}
	return "", "", nil
}

// appendShadows appends the names of the rules that aren't enforced and took a
// request, with commas between.
func appendShadows(to []byte, a *decision.Answer) []byte {
	var entry, value, names int // where they begin; 0: they haven't
	for i := range a.Parts {
		for j := range a.Parts[i].Outcome.Shadows {
			rule := a.Parts[i].Outcome.Shadows[j].Rule
			switch {
			case rule == nil:
				continue
			case names > 0:
				to = append(to, ',')
			default:
				to, entry = beginEntry(to, metaShadow)
				to, value = begin(to, entryValue)
				to, names = begin(to, valueString)
			}
			to = append(to, utf8Text(rule.Name())...)
		}
	}
	if names == 0 {
		return to
	}
	return end(end(end(to, names), value), entry)
}

// overrideUnits are the units that Envoy can be told of.
var overrideUnits = map[time.Duration]string{
	time.Second: "SECOND", time.Minute: "MINUTE", time.Hour: "HOUR",
	24 * time.Hour: "DAY", 30 * 24 * time.Hour: "MONTH", 365 * 24 * time.Hour: "YEAR",
}

// appendOverride appends the limit as an override, where it can be one.
func appendOverride(to []byte, l *ratelimit.Limit) []byte {
	unit, ok := overrideUnits[l.Period]
	if !ok || l.Rate > math.MaxUint32 {
		return to
	}
	to, entry := beginEntry(to, metaOverride)
	to, value := begin(to, entryValue)
	to, fields := begin(to, valueStruct)
	to = appendNumberEntry(to, metaRequestsPerUnit, l.Rate)
	to = appendTextEntry(to, metaUnit, unit)
	return end(end(end(to, fields), value), entry)
}

// The fields of google.protobuf.Struct, of the entries of its map, and of Value.
const (
	structFields protowire.Number = 1
	entryKey     protowire.Number = 1
	entryValue   protowire.Number = 2
	valueNumber  protowire.Number = 2
	valueString  protowire.Number = 3
	valueStruct  protowire.Number = 5
)

// beginEntry begins an entry of a Struct, whose value is to follow.
func beginEntry(to []byte, name string) (entry []byte, at int) {
	to, at = begin(to, structFields)
	return appendBytes(to, entryKey, name), at
}

// appendTextEntry appends an entry whose value is text, unless it is empty.
func appendTextEntry(to []byte, name, text string) []byte {
	if text == "" {
		return to
	}
	text = utf8Text(text)
	if size := len(name) + len(text) + 6; size < 1<<7 { // nearly always: each length takes a byte
		field, key, value := byte(size), byte(len(name)), byte(len(text)) //nolint:gosec // of which size is the sum
		to = append(to, tagOf(structFields, protowire.BytesType), field, tagOf(entryKey, protowire.BytesType), key)
		to = append(to, name...)
		to = append(to, tagOf(entryValue, protowire.BytesType), value+2, tagOf(valueString, protowire.BytesType), value)
		return append(to, text...)
	}
	to, entry := beginEntry(to, name)
	to, value := begin(to, entryValue)
	return end(end(appendBytes(to, valueString, text), value), entry)
}

// appendNumberEntry appends an entry whose value is a number.
func appendNumberEntry(to []byte, name string, n int64) []byte {
	to, entry := beginEntry(to, name)
	to, value := begin(to, entryValue)
	to = protowire.AppendFixed64(append(to, tagOf(valueNumber, protowire.Fixed64Type)), math.Float64bits(float64(n)))
	return end(end(to, value), entry)
}
