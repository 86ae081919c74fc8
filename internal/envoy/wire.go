package envoy

import (
	"time"
	"unicode/utf8"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/proto"

	"github.com/extauthz/extauthz/pkg/descriptors"
)

// The functions of this file read requests by hand: through messages it takes an
// allocation for each text, and for ext_authz reflection for each header. They
// are false for whatever isn't as Envoy sends it, which is then read through a
// message; a fuzz test holds that both read the same. Texts are parts of the
// text that is read.

// The kinds of fields that are read by hand.
const (
	numberKind = 0
	bytesKind  = 2
)

// fields goes over the fields of a message in wire form. Where they aren't as they
// should be it ends, and is bad.
type fields struct {
	message string
	begun   int    // where the field begins
	ended   int    // where it ends
	tag     uint64 // its number << 3 | its kind
	number  uint64 // what a field of numberKind is
	value   string // what one of bytesKind is
	bad     bool
}

// next goes to the next field, if there is one.
func (f *fields) next() bool {
	m, at := f.message, f.ended
	f.begun = at
	if at+1 < len(m) && m[at] < 1<<7 && m[at]&7 == bytesKind && m[at+1] < 1<<7 { // nearly always
		from, size := at+2, int(m[at+1])
		if size > len(m)-from {
			f.bad = true
			return false
		}
		f.tag, f.ended, f.value = uint64(m[at]), from+size, m[from:from+size]
		return true
	}
	if at == len(m) || f.bad {
		return false
	}
	return f.other()
}

// other goes to a field that is a number, or that is longer.
func (f *fields) other() bool {
	f.tag = f.varint()
	n := f.varint()
	switch {
	case f.bad:
	case f.tag&7 == numberKind:
		f.number = n
	case f.tag&7 == bytesKind && n <= uint64(len(f.message[f.ended:])):
		from := f.ended
		f.ended += int(n) //nolint:gosec // not more than there is
		f.value = f.message[from:f.ended]
	default:
		f.bad = true
	}
	return !f.bad
}

func (f *fields) varint() uint64 {
	var n uint64
	for i, m := 0, f.message[f.ended:]; i < len(m); i++ {
		b := m[i]
		if i == 9 && b > 1 { // more than 64 bits
			break
		}
		n |= uint64(b&(1<<7-1)) << (7 * i)
		if b < 1<<7 {
			f.ended += i + 1
			return n
		}
	}
	f.bad = true
	return 0
}

// text takes the field as a text.
func (f *fields) text(to *string) bool {
	*to = f.value
	return isASCII(f.value) || utf8.ValidString(f.value)
}

// isASCII is true of most texts, which are short: looked at in words that overlap
// it takes a tenth of utf8.ValidString's time.
func isASCII(s string) bool {
	const high = 0x8080808080808080
	n := len(s)
	switch {
	case n >= 8:
		bits := word(s[n-8:])
		for ; len(s) > 8; s = s[8:] {
			bits |= word(s)
		}
		return bits&high == 0
	case n >= 4:
		return (half(s)|half(s[n-4:]))&(high>>32) == 0
	case n == 0:
		return true
	}
	return s[0]|s[n/2]|s[n-1] < 1<<7
}

// word is the first 8 bytes, which the compiler reads at once.
func word(s string) uint64 {
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// half is the first 4 bytes.
func half(s string) uint32 {
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

// once takes the field as a message that is there once, and isn't empty: of several
// all count together.
func (f *fields) once(to *string) bool {
	if *to != "" || f.value == "" {
		return false
	}
	*to = f.value
	return true
}

// byNumber takes a field whose number is an index of texts.
func (f *fields) byNumber(texts []*string) bool {
	n := f.tag >> 3
	return f.tag&7 == bytesKind && n < uint64(len(texts)) && texts[n] != nil && f.text(texts[n])
}

// readTexts reads a message of texts alone, by the numbers of their fields.
func readTexts(text string, into ...*string) bool {
	f := fields{message: text}
	for f.next() {
		if !f.byNumber(into) {
			return false
		}
	}
	return !f.bad
}

// readRateLimit reads a RateLimitRequest without limits of its own.
func readRateLimit(text string, c *call) bool {
	hits, n := uint32(0), 0
	f := fields{message: text}
	for f.next() {
		switch f.tag {
		case 1<<3 | bytesKind:
			if !f.text(&c.domain) {
				return false
			}
		case 2<<3 | bytesKind:
			n++
		case 3<<3 | numberKind:
			hits = uint32(f.number) //nolint:gosec // as messages have it
		default:
			return false
		}
	}
	if f.bad || n > maxDescriptors {
		return false
	}
	c.size(n)
	f, n = fields{message: text}, 0
	for f.next() {
		if f.tag != 2<<3|bytesKind {
			continue
		}
		req := &c.reqs[n]
		req.Protocol, req.Domain, req.Hits = descriptors.ProtocolRateLimit, c.domain, max(1, uint64(hits))
		if !readDescriptor(f.value, req) {
			return false
		}
		n++
	}
	return true
}

// readDescriptor reads a descriptor: its entries, and hits of its own.
func readDescriptor(text string, into *descriptors.Request) bool {
	own := false
	f := fields{message: text}
	for f.next() {
		switch f.tag {
		case 1<<3 | bytesKind:
			var e descriptors.Entry
			if !readTexts(f.value, nil, &e.Key, &e.Value) {
				return false
			}
			into.Entries = append(into.Entries, e)
		case 3<<3 | bytesKind:
			if own {
				return false
			}
			own = true
			var ok bool
			if into.Hits, ok = readNumber(f.value); !ok {
				return false
			}
		case 4<<3 | numberKind:
			into.Refund = f.number != 0
		default:
			return false
		}
	}
	return !f.bad
}

// readNumber reads a message that is a number alone.
func readNumber(text string) (n uint64, ok bool) {
	f := fields{message: text}
	for f.next() {
		if f.tag != 1<<3|numberKind {
			return 0, false
		}
		n = f.number
	}
	return n, !f.bad
}

// rateLimitMessage reads any RateLimitRequest.
func rateLimitMessage(wire []byte, c *call) error {
	message := new(rlsv3.RateLimitRequest)
	if err := unmarshal(wire, message); err != nil {
		return err
	}
	c.rateLimit(message)
	return nil
}

// rateLimit takes a message.
func (c *call) rateLimit(message *rlsv3.RateLimitRequest) {
	c.domain = message.GetDomain()
	n := len(message.GetDescriptors())
	if c.tooMany = n > maxDescriptors; c.tooMany {
		return
	}
	c.size(n)
	for i := range c.reqs {
		descriptors.FromRateLimit(message, i, &c.reqs[i])
	}
}

// readCheck reads a CheckRequest. What is around the HTTP request and its peers is
// read through a message.
func readCheck(text string, c *call) bool {
	attributes := ""
	f := fields{message: text}
	for f.next() {
		if f.tag != 1<<3|bytesKind || !f.once(&attributes) {
			return false
		}
	}
	var source, destination, request string
	var rest []byte
	of, ok := fields{message: attributes}, !f.bad
	for ok && of.next() {
		switch of.tag {
		case 1<<3 | bytesKind:
			ok = of.once(&source)
		case 2<<3 | bytesKind:
			ok = of.once(&destination)
		case 4<<3 | bytesKind:
			ok = of.once(&request)
		case 10<<3 | bytesKind:
			ok = readPair(of.value, &c.extensions)
		default:
			rest = of.appendAttribute(rest)
		}
	}
	if !ok || of.bad {
		return false
	}
	c.size(1)
	req := &c.reqs[0]
	return around(rest, req) && readPeer(source, &req.Source) && readPeer(destination, &req.Destination) && readRequest(request, c)
}

// appendAttribute appends an attribute that is to be read through a message. Envoy
// sends metadata also where there is none, which is as if it didn't.
func (f *fields) appendAttribute(to []byte) []byte {
	if f.value == "" && (f.tag == 11<<3|bytesKind || f.tag == 13<<3|bytesKind) {
		return to
	}
	return append(to, f.message[f.begun:f.ended]...)
}

// around begins a check with what is in attributes that aren't read by hand.
func around(rest []byte, req *descriptors.Request) bool {
	if len(rest) == 0 {
		req.Protocol, req.Hits = descriptors.ProtocolExtAuthz, 1
		return true
	}
	message := &authv3.CheckRequest{Attributes: new(authv3.AttributeContext)}
	if proto.Unmarshal(rest, message.Attributes) != nil {
		return false
	}
	descriptors.FromCheck(message, req)
	return true
}

// readPair reads an entry of a map.
func readPair(text string, into *map[string]string) bool {
	var name, value string
	if !readTexts(text, nil, &name, &value) {
		return false
	}
	if *into == nil {
		*into = make(map[string]string, mostKept)
	}
	(*into)[name] = value
	return true
}

// readPeer reads a peer whose address is a socket's.
func readPeer(text string, into *descriptors.Peer) bool {
	var address, socket string
	f, ok := fields{message: text}, true
	for ok && f.next() {
		switch f.tag {
		case 1<<3 | bytesKind:
			ok = f.once(&address)
		case 4<<3 | bytesKind:
			ok = f.text(&into.Principal)
		case 5<<3 | bytesKind:
			ok = f.text(&into.Certificate)
		default:
			return false
		}
	}
	of := fields{message: address}
	for ok && of.next() {
		ok = of.tag == 1<<3|bytesKind && of.once(&socket)
	}
	return ok && !f.bad && !of.bad && readSocket(socket, &into.Address)
}

// readSocket reads a SocketAddress: TCP or UDP, the address and the port.
func readSocket(text string, address *string) bool {
	f, ok := fields{message: text}, true
	for ok && f.next() {
		switch f.tag {
		case 1<<3 | numberKind, 3<<3 | numberKind:
		case 2<<3 | bytesKind:
			ok = f.text(address)
		default:
			return false
		}
	}
	return ok && !f.bad
}

// readRequest reads when the request began, and the HTTP request.
func readRequest(text string, c *call) bool {
	var began, http string
	f, ok := fields{message: text}, true
	for ok && f.next() {
		switch f.tag {
		case 1<<3 | bytesKind:
			ok = f.once(&began)
		case 2<<3 | bytesKind:
			ok = f.once(&http)
		default:
			return false
		}
	}
	return ok && !f.bad && readTime(began, &c.reqs[0].Began) && readHTTP(http, c)
}

// readTime reads a Timestamp; an empty text is none.
func readTime(text string, nanoseconds *int64) bool {
	var seconds, nanos uint64
	f := fields{message: text}
	for f.next() {
		switch f.tag {
		case 1<<3 | numberKind:
			seconds = f.number
		case 2<<3 | numberKind:
			nanos = f.number
		default:
			return false
		}
	}
	if text != "" {
		*nanoseconds = time.Unix(int64(seconds), int64(int32(nanos))).UnixNano()
	}
	return !f.bad
}

// readHTTP reads the texts, the size, the body and the headers.
func readHTTP(text string, c *call) bool {
	req := &c.reqs[0]
	var raw, unused string
	texts := [...]*string{
		1: &req.ID, 2: &req.Method, 4: &req.Path, 5: &req.Host, 6: &req.Scheme, 7: &unused, 8: &unused, 10: &unused, 11: &req.Body,
	}
	f := fields{message: text}
	for f.next() {
		ok := true
		switch f.tag {
		case 3<<3 | bytesKind:
			ok = readPair(f.value, &c.headers)
		case 9<<3 | numberKind: // the size
		case 12<<3 | bytesKind:
			raw = f.value
		default:
			ok = f.byNumber(texts[:])
		}
		if !ok {
			return false
		}
	}
	if raw != "" {
		req.Body = raw
	}
	req.Headers, req.ContextExtensions = c.headers, c.extensions
	return !f.bad
}

// checkMessage reads any CheckRequest.
func checkMessage(wire []byte, c *call) error {
	message := new(authv3.CheckRequest)
	if err := unmarshal(wire, message); err != nil {
		return err
	}
	c.check(message)
	return nil
}

// check takes a message.
func (c *call) check(message *authv3.CheckRequest) {
	c.size(1)
	descriptors.FromCheck(message, &c.reqs[0])
}
