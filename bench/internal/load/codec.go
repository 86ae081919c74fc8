package load

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// rawCodec sends marshalled bytes, and hands back those of the answer.
type rawCodec struct{}

var _ encoding.CodecV2 = rawCodec{}

// Name is protobuf's: that is what the bytes are.
func (rawCodec) Name() string { return "proto" }

// Marshal takes a []byte.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	wire, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("sending a %T, not bytes", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(wire)}, nil
}

// Unmarshal fills a *[]byte, using the room that it has.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	into, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("receiving a %T, not bytes", v)
	}
	n := data.Len()
	if cap(*into) < n {
		*into = make([]byte, n)
	}
	*into = (*into)[:n]
	data.CopyTo(*into)
	return nil
}
