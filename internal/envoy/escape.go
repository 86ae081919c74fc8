package envoy

import (
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The runes that stand for bytes which aren't UTF-8: the last 128 of Unicode's
// last private use area, one for each byte from 0x80. A request may hold these
// runes itself; their bytes are then escaped too. So a text that is escaped
// equals no text that isn't, and two texts are equal after escaping exactly
// when they were before.
const (
	reservedFirst = utf8.MaxRune - 0x7f
	reservedBase  = reservedFirst - 0x80 // reservedBase + byte is the byte's rune
	// reservedPrefix begins the UTF-8 form of each of them, and of no rune that
	// is in common use.
	reservedPrefix = "\xf4\x8f"
)

// needsEscape reports whether appendEscaped would change the text.
func needsEscape(s string) bool {
	if !utf8.ValidString(s) {
		return true
	}
	if !strings.Contains(s, reservedPrefix) {
		return false
	}
	return strings.ContainsFunc(s, func(r rune) bool { return r >= reservedFirst })
}

// appendEscaped appends s with each byte that isn't part of valid UTF-8, and
// each byte of the runes that stand for such bytes, replaced by its rune. What
// is appended is valid UTF-8 and at most four times as long.
func appendEscaped(to []byte, s string) []byte {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if bad := r == utf8.RuneError && n == 1; !bad && r < reservedFirst {
			to = append(to, s[i:i+n]...)
			i += n
			continue
		}
		for range n {
			to = utf8.AppendRune(to, reservedBase+rune(s[i]))
			i++
		}
	}
	return to
}

// Text is a text of a request as the services have to be given it: valid UTF-8,
// escaped where it isn't, as the Codec does with what comes over gRPC.
func Text(s string) string {
	if !needsEscape(s) {
		return s
	}
	return string(appendEscaped(nil, s))
}

// maxDepth is how deep messages may be nested in one that is repaired. Envoy's
// requests nest six deep, plus what is in metadata.
const maxDepth = 64

// repair is a message in wire format with each text in it made UTF-8. It is
// false for what isn't protobuf, and for what is nested too deep.
func repair(wire []byte, desc protoreflect.MessageDescriptor, depth int) (out []byte, ok bool) {
	if depth > maxDepth {
		return nil, false
	}
	out = make([]byte, 0, len(wire)+len(wire)/8)
	for len(wire) > 0 {
		number, wireType, tagLen := protowire.ConsumeTag(wire)
		if tagLen < 0 {
			return nil, false
		}
		valueLen := protowire.ConsumeFieldValue(number, wireType, wire[tagLen:])
		if valueLen < 0 {
			return nil, false
		}
		field, value := wire[:tagLen+valueLen], wire[tagLen:tagLen+valueLen]
		wire = wire[len(field):]
		known := desc.Fields().ByNumber(number)
		if wireType != protowire.BytesType || known == nil {
			out = append(out, field...)
			continue
		}
		content, _ := protowire.ConsumeBytes(value)
		switch known.Kind() {
		case protoreflect.StringKind:
			out = appendText(append(out, field[:tagLen]...), string(content))
		case protoreflect.MessageKind:
			inner, ok := repair(content, known.Message(), depth+1)
			if !ok {
				return nil, false
			}
			out = protowire.AppendBytes(append(out, field[:tagLen]...), inner)
		default:
			out = append(out, field...)
		}
	}
	return out, true
}

// appendText appends a text with its length before it, escaped where needed.
func appendText(out []byte, s string) []byte {
	if !needsEscape(s) {
		return protowire.AppendString(out, s)
	}
	return protowire.AppendBytes(out, appendEscaped(make([]byte, 0, len(s)+32), s))
}
