package noop

import (
	"unicode/utf8"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/encoding"
	stock "google.golang.org/grpc/encoding/proto" // registers the codec that this one rests on
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Codec is gRPC's own protobuf codec, with what a server that handles messages can
// do to be quick: it reads the HTTP request of a CheckRequest by hand, which the
// stock decoder reads through reflection, and writes by generated code. The
// service handles no messages, and has a codec of its own.
type Codec struct{ encoding.CodecV2 }

// NewCodec makes the codec for grpc.ForceServerCodecV2.
func NewCodec() Codec { return Codec{encoding.GetCodecV2(stock.Name)} }

// Unmarshal reads a message.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	if check, ok := v.(*authv3.CheckRequest); ok {
		buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
		defer buf.Free()
		if readCheck(buf.ReadOnlyData(), check) {
			return nil
		}
	}
	return c.CodecV2.Unmarshal(data, v)
}

// generated is a message that has code of its own to be written by, as those of
// go-control-plane do in a program that is built with the tag vtprotobuf.
type generated interface {
	MarshalVTStrict() ([]byte, error)
}

// Marshal writes a message.
func (c Codec) Marshal(v any) (mem.BufferSlice, error) {
	message, ok := v.(generated)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	wire, err := message.MarshalVTStrict()
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(wire)}, nil
}

// The numbers of the fields on the way to the HTTP request.
const (
	checkAttributes   protowire.Number = 1
	attributesRequest protowire.Number = 4
	requestHTTP       protowire.Number = 2
	httpHeaders       protowire.Number = 3
)

// requestHeaders is how many headers of a request there is room for at first.
const requestHeaders = 16

// readCheck reads a CheckRequest into an empty one.
func readCheck(wire []byte, to *authv3.CheckRequest) bool {
	outer, attributes := cut(wire, checkAttributes)
	inner, request := cut(attributes, attributesRequest)
	rest, http := cut(request, requestHTTP)
	if http == nil || len(outer[0])+len(outer[1]) > 0 {
		return false
	}
	to.Reset()
	to.Attributes = &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: new(authv3.AttributeContext_HttpRequest)}}
	return merge(to.Attributes, inner) && merge(to.Attributes.Request, rest) && readHTTP(http, to.Attributes.Request.Http)
}

// cut finds the message of a field that is there once, and what is before and
// after it; nil when there is none.
func cut(wire []byte, number protowire.Number) (rest [2][]byte, message []byte) {
	for at := 0; at < len(wire); {
		n, kind, tag := protowire.ConsumeTag(wire[at:])
		if tag < 0 {
			return rest, nil
		}
		size := protowire.ConsumeFieldValue(n, kind, wire[at+tag:])
		if size < 0 {
			return rest, nil
		}
		end := at + tag + size
		if n == number {
			if message != nil || kind != protowire.BytesType {
				return rest, nil
			}
			content, _ := protowire.ConsumeBytes(wire[at+tag : end])
			message, rest = content, [2][]byte{wire[:at], wire[end:]}
		}
		at = end
	}
	return rest, message
}

// merge has the stock decoder read what is around a message.
func merge(to proto.Message, rest [2][]byte) bool {
	for _, wire := range rest {
		if len(wire) > 0 && (proto.UnmarshalOptions{Merge: true}).Unmarshal(wire, to) != nil {
			return false
		}
	}
	return true
}

// readHTTP reads the texts, the size and the headers; a body of bytes is rare.
func readHTTP(wire []byte, to *authv3.AttributeContext_HttpRequest) bool {
	to.Headers = make(map[string]string, requestHeaders)
	texts := [...]*string{1: &to.Id, 2: &to.Method, 4: &to.Path, 5: &to.Host, 6: &to.Scheme, 7: &to.Query, 8: &to.Fragment, 10: &to.Protocol, 11: &to.Body}
	return readFields(wire, func(n protowire.Number, value []byte) bool {
		if n == httpHeaders {
			return readHeader(value, to.Headers)
		}
		return int(n) < len(texts) && texts[n] != nil && readText(value, texts[n])
	})
}

// readHeader reads an entry of the map: a name, a value.
func readHeader(wire []byte, to map[string]string) bool {
	var entry [3]string // by number of the field
	ok := readFields(wire, func(n protowire.Number, value []byte) bool {
		return int(n) < len(entry) && readText(value, &entry[n])
	})
	to[entry[1]] = entry[2]
	return ok
}

func readText(value []byte, to *string) bool {
	*to = string(value)
	return utf8.Valid(value)
}

// readFields calls field for each field of a message; false when one is no text
// or message, or isn't taken.
func readFields(wire []byte, field func(protowire.Number, []byte) bool) bool {
	for len(wire) > 0 {
		n, kind, tag := protowire.ConsumeTag(wire)
		if tag < 0 || kind != protowire.BytesType {
			return false
		}
		value, size := protowire.ConsumeBytes(wire[tag:])
		if size < 0 || !field(n, value) {
			return false
		}
		wire = wire[tag+size:]
	}
	return true
}
