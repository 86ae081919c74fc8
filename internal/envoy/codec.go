package envoy

import (
	"bytes"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/encoding"
	stock "google.golang.org/grpc/encoding/proto" // registers the codec that this one rests on
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// Codec is gRPC's own protobuf codec, and reads requests of the two services
// also where their text isn't UTF-8.
//
// Envoy copies header and query bytes into descriptors unchecked, the stock
// codec fails such a request before any handler runs, and Envoy's default is to
// let through what fails: one byte in a header would switch the limiter off.
// So bytes that aren't UTF-8 are escaped (see appendEscaped), and the request
// is decided like any other. Different texts stay different.
type Codec struct{ encoding.CodecV2 }

var _ encoding.CodecV2 = Codec{}

// NewCodec makes the codec for grpc.ForceServerCodecV2.
func NewCodec() Codec { return Codec{encoding.GetCodecV2(stock.Name)} }

// Unmarshal reads a message. The bytes are copied: data may be reused.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	request := requestOf(v)
	if request == nil {
		return c.CodecV2.Unmarshal(data, v)
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	return unmarshal(buf.ReadOnlyData(), request)
}

// generated is a message that has code of its own to be written by. Those of
// go-control-plane do where the program is built with the tag vtprotobuf, as `make
// build` does; what they write means the same.
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

// requestOf is v as a request of one of the services, or nil.
func requestOf(v any) proto.Message {
	switch request := v.(type) {
	case *rlsv3.RateLimitRequest:
		return request
	case *authv3.CheckRequest:
		return request
	}
	return nil
}

// unmarshal reads a request, escaping its text where that is needed: nearly
// never, so that finding out must cost next to nothing.
func unmarshal(wire []byte, request proto.Message) error {
	clean := !bytes.Contains(wire, []byte(reservedPrefix))
	if check, ok := request.(*authv3.CheckRequest); ok && clean && readCheck(wire, check) {
		return nil
	}
	if clean && proto.Unmarshal(wire, request) == nil { // which empties the request first
		return nil
	}
	repaired, ok := repair(wire, request.ProtoReflect().Descriptor(), 0)
	if !ok {
		repaired = wire // not protobuf at all: the stock error says so
	}
	return proto.Unmarshal(repaired, request)
}
