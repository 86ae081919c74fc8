package envoy

import (
	"encoding/binary"
	"strings"
	"sync"
	"unicode/utf8"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// reply is an answer in wire form, and what it is made of; used again for others.
type reply struct {
	wire    []byte
	headers []header
	texts   []byte // those of the headers' values
	pool    *replyPool
}

const (
	// replySize is more than gRPC holds too small to be given back.
	replySize = 2 << 10
	// mostReply is how much room a reply may have to be kept.
	mostReply = 64 << 10
)

// buffer hands the answer to gRPC, which gives the reply back when it has written
// it.
func (r *reply) buffer() mem.BufferSlice { return mem.BufferSlice{mem.NewBuffer(&r.wire, r)} }

var _ mem.BufferPool = (*reply)(nil)

// Put gives the reply back, when gRPC is done with its bytes.
func (r *reply) Put(*[]byte) { r.free() }

// Get is there to be a pool of gRPC's; nothing is ever got of a reply.
func (r *reply) Get(length int) *[]byte {
	b := make([]byte, length)
	return &b
}

// free gives the reply back.
func (r *reply) free() {
	if cap(r.wire) > mostReply || cap(r.texts) > mostReply {
		return
	}
	clear(r.headers)
	r.wire, r.headers, r.texts = r.wire[:0], r.headers[:0], r.texts[:0]
	r.pool.pool.Put(r)
}

// replyPool is a pool of replies.
type replyPool struct{ pool sync.Pool }

func (p *replyPool) get() *reply {
	if r, ok := p.pool.Get().(*reply); ok {
		return r
	}
	return &reply{pool: p, wire: make([]byte, 0, replySize)}
}

// begin appends the beginning of a field that is a message; its contents follow,
// and then end is given where they began. All numbers of fields are below 16.
func begin(to []byte, field protowire.Number) (message []byte, at int) {
	to = append(to, tagOf(field, protowire.BytesType), 0)
	return to, len(to)
}

// end ends the message whose contents begin at a place. Its length takes the byte
// that begin has left for it; where it needs more, the contents move.
func end(to []byte, at int) []byte {
	size := len(to) - at
	if size < 1<<7 {
		to[at-1] = byte(size) //nolint:gosec // just looked at
		return to
	}
	var length [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(length[:], uint64(size))
	to = append(to, length[1:n]...)
	copy(to[at+n-1:], to[at:at+size])
	copy(to[at-1:], length[:n])
	return to
}

func tagOf(field protowire.Number, kind protowire.Type) byte {
	return byte(protowire.EncodeTag(field, kind)) //nolint:gosec // fields are below 16
}

// appendUint appends a field that is a number, unless it is 0.
func appendUint(to []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return to
	}
	return binary.AppendUvarint(append(to, tagOf(field, protowire.VarintType)), n)
}

// appendBytes appends a field that is bytes, or a text that is UTF-8, unless it is
// empty.
func appendBytes[T string | []byte](to []byte, field protowire.Number, value T) []byte {
	if len(value) == 0 {
		return to
	}
	to = append(to, tagOf(field, protowire.BytesType))
	return append(binary.AppendUvarint(to, uint64(len(value))), value...)
}

// utf8Text is a text as an answer may have it. Parts of what is long may end within
// a character, and Envoy admits where it can't read an answer.
func utf8Text(s string) string {
	if isASCII(s) || utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, string(utf8.RuneError))
}
