package envoy

import (
	"bytes"
	"errors"

	"google.golang.org/grpc/encoding"
	stock "google.golang.org/grpc/encoding/proto" // registers the codec that this one rests on
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// Codec is gRPC's own protobuf codec, and that of the calls and answers of the two
// services: it reads requests also where their text isn't UTF-8.
//
// Envoy copies header and query bytes into descriptors unchecked, the stock
// codec fails such a request before any handler runs, and Envoy's default is to
// let through what fails: one byte in a header would switch the limiter off.
// So bytes that aren't UTF-8 are escaped (see appendEscaped), and the request
// is decided like any other. Different texts stay different.
type Codec struct {
	encoding.CodecV2
	fault func(fault any)
}

var _ encoding.CodecV2 = Codec{}

// NewCodec makes the codec for grpc.ForceServerCodecV2. fault is told when reading
// a call panics, by a fault of this program: gRPC reads outside of interceptors, so
// that nothing else keeps it from ending every other call. It may be nil.
func NewCodec(fault func(fault any)) Codec { return Codec{encoding.GetCodecV2(stock.Name), fault} }

// errFault is all that a caller is told of a fault.
var errFault = errors.New("a fault of the service")

// Unmarshal reads a message. The bytes are copied: data may be reused.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) (err error) {
	call, ok := v.(*call)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	defer func() {
		if fault := recover(); fault != nil {
			if err = errFault; c.fault != nil {
				c.fault(fault)
			}
		}
	}()
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	return call.unmarshal(buf.ReadOnlyData())
}

// Marshal writes a message.
func (c Codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(*reply); ok {
		return r.buffer(), nil
	}
	return c.CodecV2.Marshal(v)
}

// unmarshal reads a request, escaping its text where that is needed.
func unmarshal(wire []byte, request proto.Message) error {
	clean := !bytes.Contains(wire, []byte(reservedPrefix))
	if clean && proto.Unmarshal(wire, request) == nil { // which empties the request first
		return nil
	}
	repaired, ok := repair(wire, request.ProtoReflect().Descriptor(), 0)
	if !ok {
		repaired = wire // not protobuf at all: the stock error says so
	}
	return proto.Unmarshal(repaired, request)
}
