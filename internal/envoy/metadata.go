package envoy

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
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

// The fields of the messages that carry it.
const (
	rateLimitMetadata protowire.Number = 6 // RateLimitResponse.dynamic_metadata
	checkMetadata     protowire.Number = 4 // CheckResponse.dynamic_metadata
)

// setMetadata adds the metadata to an answer in wire form. As a map of messages
// it would take a dozen allocations to make, and as long to write as all else
// that the answer holds.
func setMetadata(m proto.Message, field protowire.Number, a *decision.Answer, p *decision.Policy) {
	if !p.DynamicMetadata {
		return
	}
	fields := appendMetadata(make([]byte, 0, 256), a, field == checkMetadata)
	if len(fields) == 0 {
		return
	}
	wire := protowire.AppendTag(make([]byte, 0, len(fields)+8), field, protowire.BytesType)
	m.ProtoReflect().SetUnknown(protowire.AppendBytes(wire, fields))
}

// appendMetadata appends the fields of a Struct.
func appendMetadata(to []byte, a *decision.Answer, override bool) []byte {
	if a.Rule != nil {
		to = appendTextField(to, metaRule, a.Rule.Name())
	}
	entity, resource, limit := charged(a)
	to = appendTextField(to, metaEntity, entity)
	to = appendTextField(to, metaResource, resource)
	if limit != nil {
		to = appendTextField(to, metaLimit, limit.Limit.Name)
		to = appendField(to, metaRemaining, numberValue(limit.Remaining()))
	}
	if len(a.Decision.Buckets) > 0 || a.Source == ratelimit.SourceFallback {
		to = appendTextField(to, metaSource, a.Source.String())
	}
	to = appendTextField(to, metaShadow, shadowsOf(a))
	to = appendAdopted(to, a)
	if override && limit != nil {
		to = appendOverride(to, &limit.Limit)
	}
	return to
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

// shadowsOf are the rules that aren't enforced and took a request.
func shadowsOf(a *decision.Answer) string {
	names := ""
	for i := range a.Parts {
		for _, s := range a.Parts[i].Outcome.Shadows {
			names = join(names, s.Rule)
		}
	}
	return names
}

func join(names string, r *descriptors.Rule) string {
	switch {
	case r == nil:
		return names
	case names == "":
		return r.Name()
	}
	return names + "," + r.Name()
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
	fields := appendField(make([]byte, 0, 64), metaRequestsPerUnit, numberValue(l.Rate))
	fields = appendTextField(fields, metaUnit, unit)
	value := protowire.AppendTag(make([]byte, 0, 80), valueStruct, protowire.BytesType)
	return appendField(to, metaOverride, protowire.AppendBytes(value, fields))
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

// appendField appends an entry of a Struct; the value is a Value in wire form.
func appendField(to []byte, name string, value []byte) []byte {
	size := 1 + protowire.SizeBytes(len(name)) + 1 + protowire.SizeBytes(len(value))
	to = protowire.AppendTag(to, structFields, protowire.BytesType)
	to = protowire.AppendVarint(to, uint64(size)) //nolint:gosec // a length
	to = protowire.AppendTag(to, entryKey, protowire.BytesType)
	to = protowire.AppendString(to, name)
	to = protowire.AppendTag(to, entryValue, protowire.BytesType)
	return protowire.AppendBytes(to, value)
}

// appendTextField appends an entry whose value is text, unless it is empty. Keys
// hold the beginning of what is long, which may end within a character; Envoy
// can't read what isn't UTF-8.
func appendTextField(to []byte, name, text string) []byte {
	if text == "" {
		return to
	}
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, string(utf8.RuneError))
	}
	value := protowire.AppendTag(make([]byte, 0, 80), valueString, protowire.BytesType)
	return appendField(to, name, protowire.AppendString(value, text))
}

func numberValue(n int64) []byte {
	value := protowire.AppendTag(make([]byte, 0, 9), valueNumber, protowire.Fixed64Type)
	return protowire.AppendFixed64(value, math.Float64bits(float64(n)))
}
