package envoy

import (
	"bytes"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rlcommon "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/extauthz/extauthz/pkg/descriptors"
)

// readers are those of the two services.
var readers = []struct {
	name string
	reader
}{
	{"RLS", reader{readRateLimit, rateLimitMessage}},
	{"ext_authz", reader{readCheck, checkMessage}},
}

// asked is what is known of a call, to be compared.
type asked struct {
	Domain   string
	TooMany  bool
	Requests []descriptors.Request
	Metadata []map[string]any
}

func askedOf(c *call) asked {
	a := asked{Domain: c.domain, TooMany: c.tooMany}
	for _, r := range c.reqs {
		a.Metadata = append(a.Metadata, known(r.Metadata), known(r.RouteMetadata))
		r.Metadata, r.RouteMetadata = nil, nil
		a.Requests = append(a.Requests, r)
	}
	return a
}

// known are the values of metadata.
func known(v descriptors.Values) map[string]any {
	if v == nil {
		return nil
	}
	all := map[string]any{}
	for _, name := range v.Names() {
		value, _ := v.Get(name)
		switch inner := value.(type) {
		case descriptors.Values:
			all[name] = known(inner)
		case descriptors.List:
			all[name] = inner.Len()
		case float64: // NaN is equal to nothing
			all[name] = math.Float64bits(inner)
		default:
			all[name] = value
		}
	}
	return all
}

var likeness = cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateErrors()}

// sameAsMessages fails where a call that is read by hand isn't what it is when it
// is read through a message, and says whether it is read by hand.
func sameAsMessages(t *testing.T, read reader, wire []byte) (byHand bool) {
	t.Helper()
	hand, message := &call{read: read}, &call{read: read}
	if strings.Contains(string(wire), reservedPrefix) || !read.byHand(string(wire), hand) {
		return false
	}
	err := read.message(wire, message)
	if err != nil {
		t.Fatalf("read by hand, and it is no message: %v", err)
	}
	if diff := cmp.Diff(askedOf(message), askedOf(hand), likeness); diff != "" {
		t.Fatalf("read differently (-message +hand):\n%s", diff)
	}
	return true
}

// TestCallsOfEnvoyAreReadByHand: what is as Envoy sends it needs no message.
func TestCallsOfEnvoyAreReadByHand(t *testing.T) {
	limit := &rlsv3.RateLimitRequest{Domain: "edge", HitsAddend: 3, Descriptors: []*rlcommon.RateLimitDescriptor{
		descriptor("tenant", "acme", "path", "/\u00e9"),
		{Entries: descriptor("generic_key", strings.Repeat("x", 300)).Entries, HitsAddend: wrapperspb.UInt64(1 << 40), IsNegativeHits: true},
		{HitsAddend: wrapperspb.UInt64(0)},
	}}
	wire, err := proto.Marshal(limit)
	if err != nil {
		t.Fatal(err)
	}
	if !sameAsMessages(t, readers[0].reader, wire) {
		t.Error("descriptors aren't read by hand")
	}
	if !sameAsMessages(t, readers[1].reader, checkWire(t, "acme")) {
		t.Error("a check isn't read by hand")
	}
	if !sameAsMessages(t, readers[1].reader, fullCheck(t)) {
		t.Error("a check with all that Envoy can send isn't read by hand")
	}
}

// fullCheck is a check with metadata, a body and a size.
func fullCheck(t testing.TB) []byte {
	t.Helper()
	jwt, err := structpb.NewStruct(map[string]any{"sub": "alice", "roles": []any{"a", 1.0}, "tier": map[string]any{"name": "gold"}})
	if err != nil {
		t.Fatal(err)
	}
	wire, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:      &authv3.AttributeContext_Peer{Address: tcp("2001:db8::1", 50408), Principal: "spiffe://a/b", Certificate: "-----BEGIN%20CERTIFICATE-----%0A"},
		Destination: &authv3.AttributeContext_Peer{Address: tcp("127.0.0.1", 18102)},
		Request: &authv3.AttributeContext_Request{
			Time: &timestamppb.Timestamp{Seconds: -5, Nanos: 999_999_999},
			Http: &authv3.AttributeContext_HttpRequest{
				Id: "1", Method: "POST", Path: "/", Host: "h", Scheme: "http", Protocol: "HTTP/2", Query: "q", Fragment: "f",
				Size: -1, Body: "{}", Headers: map[string]string{"a": "b", "": ""},
			},
		},
		ContextExtensions:    map[string]string{"resource": "orders"},
		MetadataContext:      &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"jwt": jwt}},
		RouteMetadataContext: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"route": jwt}},
		TlsSession:           &authv3.AttributeContext_TLSSession{Sni: "example.com"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// TestOddCallsAreReadAsMessages: by hand or not.
func TestOddCallsAreReadAsMessages(t *testing.T) {
	text := func(n protowire.Number, parts ...string) string {
		return string(protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), strings.Join(parts, "")))
	}
	number := func(n protowire.Number, value uint64) string {
		return string(protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), value))
	}
	attributes := func(parts ...string) string { return text(1, parts...) }
	request := func(parts ...string) string { return text(4, parts...) }
	http := func(parts ...string) string { return attributes(request(text(2, parts...))) }
	get, post, header := text(2, "GET"), text(2, "POST"), text(3, text(1, "a"), text(2, "b"))
	peer := func(parts ...string) string { return attributes(text(1, parts...), request(text(2, get))) }
	socket := func(parts ...string) string { return text(1, text(1, parts...)) }
	for name, wire := range map[string]string{
		"empty":                 "",
		"no HTTP request":       attributes(text(4)),
		"two HTTP requests":     http(get) + http(header),
		"two in one":            attributes(request(text(2, get), text(2, header))),
		"two requests":          attributes(request(text(2, get)), request(text(2, header))),
		"then a number":         http(get) + number(1, 5),
		"two texts":             http(get, post),
		"no headers":            http(get),
		"a header twice":        http(header, text(3, text(1, "a"))),
		"no name":               http(text(3, text(2, "b"))),
		"a field of a header":   http(text(3, text(1, "a"), text(3, "c"))),
		"a name twice":          http(text(3, text(1, "a"), text(1, "b"))),
		"a size":                http(get, number(9, 5)),
		"an unknown field":      http(get, text(99, "x")),
		"unknown around":        http(get) + text(99, "x"),
		"unknown attributes":    attributes(request(text(2, get)), text(99, "x"), number(98, 1)),
		"a number as a text":    http(number(2, 5)),
		"a body":                http(text(12, "\x00\xff")),
		"two bodies":            http(text(12, "\x00\xff"), text(11, "b")),
		"an empty body":         http(text(12, ""), text(11, "b")),
		"headers as bytes":      http(text(13, text(1, text(1, "A"), text(3, "\xff")))),
		"a source in two parts": attributes(text(1, text(2, "s")), request(text(2, get)), text(1, text(4, "p"))),
		"two principals":        peer(text(4, "p"), text(4, "q")),
		"two addresses":         peer(socket(text(2, "a")), socket(number(3, 1))),
		"a pipe":                peer(text(1, text(2, text(1, "/p")))),
		"a pipe, then a socket": peer(text(1, text(2, text(1, "/p")), text(1, text(2, "a")))),
		"a named port":          peer(socket(text(2, "a"), text(4, "http"))),
		"a certificate":         peer(text(4, "p"), text(5, "c")),
		"no address":            peer(text(1), text(4, "p")),
		"an empty time":         attributes(request(text(1), text(2, get))),
		"two times":             attributes(request(text(1, number(1, 1)), text(1, number(2, 1)), text(2, get))),
		"a time far away":       attributes(request(text(1, number(1, 1<<62), number(2, 1<<40)), text(2, get))),
		"extensions":            attributes(request(text(2, get)), text(10, text(1, "a"), text(2, "b")), text(10, text(2, "c"))),
		"no metadata":           attributes(text(11), request(text(2, get)), text(13)),
		"metadata, then none":   attributes(text(11, text(1, text(1, "a"), text(2))), request(text(2, get)), text(11)),
		"metadata in two parts": attributes(text(11, text(1, text(1, "a"), text(2))), request(text(2, get)), text(11, text(1, text(1, "b"), text(2)))),
		"metadata in rubble":    attributes(text(11, "\xff"), request(text(2, get))),

		"descriptors":               text(1, "d") + text(2, text(1, text(1, "k"), text(2, "v"))),
		"the domain last":           text(2, text(1, text(1, "k"))) + text(1, "c") + text(1, "d"),
		"hits last":                 text(1, "d") + text(2) + number(3, 7),
		"hits that are too many":    number(3, 1<<32+2) + text(1, "d") + text(2),
		"no hits":                   text(1, "d") + text(2, text(3)),
		"hits in two parts":         text(1, "d") + text(2, text(3, number(1, 5)), text(3)),
		"hits twice":                text(1, "d") + text(2, text(3, number(1, 5), number(1, 6))),
		"hits and more":             text(1, "d") + text(2, text(3, number(1, 5), number(2, 6))),
		"given back":                text(1, "d") + text(2, number(4, 2)),
		"given back, then not":      text(1, "d") + text(2, number(4, 1), number(4, 0)),
		"a limit":                   text(1, "d") + text(2, text(2, number(1, 5), number(2, 2))),
		"an entry with more":        text(1, "d") + text(2, text(1, text(1, "k"), number(3, 1))),
		"a tag in two bytes":        "\x8a\x00\x01d" + text(2),
		"a tag without a number":    text(1, "d") + "\x02\x00",
		"a length in ten bytes":     "\x0a\x81\x80\x80\x80\x80\x80\x80\x80\x80\x00d" + text(2),
		"a length in eleven bytes":  "\x0a\x81\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00d" + text(2),
		"a number beyond 64 bits":   text(1, "d") + "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
		"the largest number":        text(1, "d") + text(2) + "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"a group":                   text(1, "d") + "\x13\x14",
		"a fixed number":            text(1, "d") + "\x1d\x00\x00\x00\x00",
		"cut short":                 text(1, "d") + "\x12\x05a",
		"cut within a length":       text(1, "d") + "\x12\x80",
		"text that isn't UTF-8":     text(1, "d\xff"),
		"an entry that isn't UTF-8": text(1, "d") + text(2, text(1, text(1, "k\xff"))),
	} {
		for _, r := range readers {
			t.Run(r.name+"/"+name, func(t *testing.T) { sameAsMessages(t, r.reader, []byte(wire)) })
		}
	}
}

// TestManyFieldsCostWhatTheyAre: what is read of a call takes memory as it is long,
// whatever it consists of.
func TestManyFieldsCostWhatTheyAre(t *testing.T) {
	const n = 1 << 15
	within := func(field string, numbers ...byte) []byte { // the outermost first
		wire := []byte(strings.Repeat(field, n))
		for i := len(numbers) - 1; i >= 0; i-- {
			wire = protowire.AppendBytes([]byte{numbers[i]<<3 | bytesKind}, wire)
		}
		return wire
	}
	for name, c := range map[string]struct {
		reader
		wire []byte
	}{
		"descriptors": {readers[0].reader, []byte("\x0a\x01d" + strings.Repeat("\x12\x00", n))},
		"entries":     {readers[0].reader, protowire.AppendString([]byte("\x0a\x01d\x12"), strings.Repeat("\x0a\x00", n))},
		"attributes":  {readers[1].reader, within("\x7a\x00", 1)},
		"metadata":    {readers[1].reader, within("\x5a\x02\x0a\x00", 1)},
		"sources":     {readers[1].reader, within("\x0a\x02\x22\x00", 1)},
		"extensions":  {readers[1].reader, within("\x52\x00", 1)},
		"headers":     {readers[1].reader, within("\x1a\x00", 1, 4, 2)},
		"raw headers": {readers[1].reader, within("\x0a\x06\x0a\x01x\x1a\x01y", 1, 4, 2, 13)},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := (&call{read: c.reader}).unmarshal(c.wire)
		runtime.ReadMemStats(&after)
		if taken := after.TotalAlloc - before.TotalAlloc; err != nil || taken > 500*n {
			t.Errorf("%s: %v, %d bytes for each", name, err, taken/n)
		}
	}
}

// TestMostDescriptors: what is read by hand has no more than a call may have, and
// of what has more nothing is kept.
func TestMostDescriptors(t *testing.T) {
	wire := func(n int) []byte { return []byte("\x0a\x01d" + strings.Repeat("\x12\x00", n)) }
	for n, want := range map[int]asked{maxDescriptors: {Domain: "d"}, maxDescriptors + 1: {Domain: "d", TooMany: true}} {
		c := &call{read: readers[0].reader}
		if err := c.unmarshal(wire(n)); err != nil {
			t.Fatal(err)
		}
		if c.domain != want.Domain || c.tooMany != want.TooMany || (len(c.reqs) == maxDescriptors) == want.TooMany {
			t.Errorf("%d descriptors: domain %q, too many %v, %d requests", n, c.domain, c.tooMany, len(c.reqs))
		}
	}
}

// TestNothingIsLeftOfACall: a call that is used again knows nothing of the one
// before, however far that was read.
func TestNothingIsLeftOfACall(t *testing.T) {
	for _, r := range readers {
		full := [][]byte{fullCheck(t), checkWire(t, "acme")}
		if r.name == "RLS" {
			full = [][]byte{rateLimitWire("edge", "tenant", "acme"), rateLimitWire("edge", "tenant", "a\xff"), append(rateLimitWire("edge", "tenant", "acme"), 0x0f)}
		}
		for _, wire := range full {
			pool := callPool{read: r.reader}
			c := pool.get()
			_ = c.unmarshal(wire) // or not: what was read of it must go too
			c.empty()
			for _, req := range c.reqs[:cap(c.reqs)] {
				for _, e := range req.Entries[:cap(req.Entries)] {
					if e != (descriptors.Entry{}) {
						t.Errorf("%s: the entry %v is left", r.name, e)
					}
				}
				req.Entries = nil
				if diff := cmp.Diff(descriptors.Request{}, req); diff != "" {
					t.Errorf("%s (-want +left):\n%s", r.name, diff)
				}
			}
			if len(c.headers)+len(c.extensions) > 0 || c.domain != "" {
				t.Errorf("%s: %v, %v and %q are left", r.name, c.headers, c.extensions, c.domain)
			}
		}
	}
}

func TestIsASCII(t *testing.T) {
	for n := range 40 {
		text := []byte(strings.Repeat("\x7f", n))
		if !isASCII(string(text)) {
			t.Errorf("%d bytes that are", n)
		}
		for i := range text {
			text[i] = 0x80
			if isASCII(string(text)) {
				t.Errorf("%d bytes of which the %dth isn't", n, i)
			}
			text[i] = 0x7f
		}
	}
}

// TestACallIsReadAnew: where a client sends a second message, gRPC has it read into
// the call of the first before it refuses both. Nothing of either is left.
func TestACallIsReadAnew(t *testing.T) {
	wires := map[string][]byte{"none": nil}
	for name, n := range map[string]int{"one": 1, "many": mostKept} {
		for kind, value := range map[string]string{"": "acme", ", as a message": "a\xff"} {
			wires[name+kind] = bytes.Repeat(rateLimitWire("edge", "tenant", value), n)
		}
	}
	for first, before := range wires {
		for second, wire := range wires {
			pool := callPool{read: readers[0].reader}
			c, fresh := pool.get(), pool.get()
			if err := errors.Join(c.unmarshal(before), c.unmarshal(wire), fresh.unmarshal(wire)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(askedOf(fresh), askedOf(c), likeness); diff != "" {
				t.Errorf("%s after %s (-want +got):\n%s", second, first, diff)
			}
			c.empty()
			for i, req := range c.reqs[:cap(c.reqs)] {
				if len(req.Entries) > 0 || req.Hits > 0 {
					t.Errorf("%s after %s: of request %d there is left %v", second, first, i, req)
				}
			}
		}
	}
}
