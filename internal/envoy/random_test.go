package envoy

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// drawn makes messages at random.
type drawn struct{ *rand.Rand }

func of[T any](d drawn, all ...T) T { return all[d.IntN(len(all))] }

// message is a message of a kind in wire form: its fields in any order, some of them
// missing or several times, and now and then one that isn't as it should be.
func (d drawn) message(kind protoreflect.MessageDescriptor, depth int) (wire []byte) {
	fields := fieldsOf(kind)
	seen := map[protoreflect.Name]bool{}
	for range d.IntN(10) {
		field := of(d, fields...)
		if seen[field.Name()] && field.Message() != nil && !field.IsList() && !field.IsMap() && d.IntN(50) > 0 {
			continue // several messages of one are read as one
		}
		seen[field.Name()] = true
		wire = d.field(wire, field, depth)
	}
	return wire
}

func (d drawn) field(to []byte, field protoreflect.FieldDescriptor, depth int) []byte {
	number, kind, text := field.Number(), protowire.VarintType, of(d, "", "a", "GET", "\u00e9", "x-tenant", strings.Repeat("long", 40))
	switch field.Kind() {
	case protoreflect.MessageKind:
		kind, text = protowire.BytesType, ""
		if depth > 0 {
			text = string(d.message(field.Message(), depth-1))
		}
	case protoreflect.StringKind, protoreflect.BytesKind:
		kind = protowire.BytesType
	case protoreflect.DoubleKind:
		kind = protowire.Fixed64Type
	default:
	}
	switch d.IntN(1000) {
	case 0:
		number = of(d, protowire.Number(1), 9, 11, 12, 13, 14, 15, 16, 99, protowire.MaxValidNumber)
	case 1:
		kind = of(d, protowire.VarintType, protowire.Fixed32Type, protowire.Fixed64Type, protowire.BytesType)
	case 2:
		text = of(d, "\xff", "\xf4\x8f\xbf\xbf", "\x0a", "\x0a\x7f")
	}
	to = protowire.AppendTag(to, number, kind)
	switch kind {
	case protowire.VarintType:
		return protowire.AppendVarint(to, of(d, uint64(0), 1, 2, 80, 127, 128, 1<<31, 1<<32+5, 1<<64-1))
	case protowire.Fixed32Type:
		return protowire.AppendFixed32(to, 1)
	case protowire.Fixed64Type:
		return protowire.AppendFixed64(to, 1)
	default:
		return protowire.AppendString(to, text)
	}
}

// seldom are fields that Envoy seldom sends, each by a part of its name.
var seldom = []string{
	"limit", "service", "labels", "pipe", "internal", "named", "resolver", "network", "ipv4", "header_map", "metadata", "tls", "shadow",
}

// fieldsOf are those of a message, and more often those that Envoy sends.
func fieldsOf(kind protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	var all []protoreflect.FieldDescriptor
	for i := range kind.Fields().Len() {
		field := kind.Fields().Get(i)
		all = append(all, field)
		if !slices.ContainsFunc(seldom, func(part string) bool { return strings.Contains(string(field.Name()), part) }) {
			all = append(all, slices.Repeat([]protoreflect.FieldDescriptor{field}, 40)...)
		}
	}
	return all
}

// TestAnyCallIsReadAsItsMessage, by hand or not.
func TestAnyCallIsReadAsItsMessage(t *testing.T) {
	const calls = 4000
	for i, kind := range []protoreflect.MessageDescriptor{
		new(rlsv3.RateLimitRequest).ProtoReflect().Descriptor(), new(authv3.CheckRequest).ProtoReflect().Descriptor(),
	} {
		long := 0
		for seed := range uint64(calls) {
			wire := drawn{rand.New(rand.NewPCG(seed, 0))}.message(kind, 6)
			if sameAsMessages(t, readers[i].reader, wire) && len(wire) > 100 {
				long++
			}
		}
		t.Logf("%s: %d were long and read by hand", readers[i].name, long)
		if long < calls/20 {
			t.Errorf("%s: of %d only %d were long and read by hand", readers[i].name, calls, long)
		}
	}
}
