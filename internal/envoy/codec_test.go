package envoy

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"
)

// unescaped is the text that appendEscaped was given.
func unescaped(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r >= reservedFirst {
			b = append(b, byte(r-reservedBase))
		} else {
			b = utf8.AppendRune(b, r)
		}
	}
	return string(b)
}

// placeholder is a text of n bytes that occurs nowhere else, to be replaced in
// wire format by n other bytes.
func placeholder(n int) string { return strings.Repeat("\x01", n) }

// rateLimitWire is a request with one descriptor of one entry, whose texts may
// hold any bytes.
func rateLimitWire(domain, key, value string) []byte {
	text := func(to []byte, field protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(to, field, protowire.BytesType), s)
	}
	entry := text(text(nil, 1, key), 2, value)
	descriptor := text(nil, 1, string(entry))
	wire := text(text(nil, 1, domain), 2, string(descriptor))
	return protowire.AppendVarint(protowire.AppendTag(wire, 3, protowire.VarintType), 3)
}

func decode(t testing.TB, wire []byte, into proto.Message) error {
	t.Helper()
	return unmarshal(wire, into)
}

func TestTextThatIsNotUTF8(t *testing.T) {
	for _, value := range []string{
		"\xff", "a\xffb", "\x80\x80", "\xc3", "\xed\xa0\x80", "ok", "", "é", "\u0000", "\ufffd", "\U0010ffff", "\U0010ff80",
		"\xf4\x8f\xbf\xbf", "\xf4\x8f", "\xf4\x8f\xbd\xbf", strings.Repeat("\xfe", 5000), "\U0010ffff\xff",
	} {
		t.Run(fmt.Sprintf("%.20q", value), func(t *testing.T) {
			var request rlsv3.RateLimitRequest
			if err := decode(t, rateLimitWire("edge", "tenant", value), &request); err != nil {
				t.Fatal(err)
			}
			got := request.GetDescriptors()[0].GetEntries()[0].GetValue()
			if !utf8.ValidString(got) {
				t.Errorf("%q is not UTF-8", got)
			}
			if unescaped(got) != value {
				t.Errorf("%q does not stand for %q", got, value)
			}
			if request.GetDomain() != "edge" || request.GetHitsAddend() != 3 {
				t.Errorf("the rest of the request is %v", &request)
			}
		})
	}
}

func TestCheckRequestTextThatIsNotUTF8(t *testing.T) {
	metadata, err := structpb.NewStruct(map[string]any{"tenant": placeholder(5)})
	if err != nil {
		t.Fatal(err)
	}
	request := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: "/x", Headers: map[string]string{"x-tenant": placeholder(4), "host": "h"},
			RawBody: []byte("\xff\xfe"),
		}},
		MetadataContext: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"jwt": metadata}},
	}}
	wire, err := proto.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	bad := strings.Replace(string(wire), placeholder(5), "a\xff\xfe\xfdz", 1)
	bad = strings.Replace(bad, placeholder(4), "\xf0\xf1\xf2\xf3", 1)

	var got authv3.CheckRequest
	if err := decode(t, []byte(bad), &got); err != nil {
		t.Fatal(err)
	}
	request.Attributes.Request.Http.Headers["x-tenant"] = Text("\xf0\xf1\xf2\xf3")
	metadata.Fields["tenant"] = structpb.NewStringValue(Text("a\xff\xfe\xfdz"))
	if diff := cmp.Diff(request, &got, protocmp.Transform()); diff != "" {
		t.Errorf("the request (-want +got):\n%s", diff)
	}
}

// TestCleanRequestsAreReadAsAlways: what the stock codec can read is the same.
func TestCleanRequestsAreReadAsAlways(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		wire := rateLimitWire(rapid.String().Draw(rt, "domain"), "k", rapid.StringMatching(`[a-zA-Z0-9é漢]*`).Draw(rt, "value"))
		var want, got rlsv3.RateLimitRequest
		if err := proto.Unmarshal(wire, &want); err != nil {
			rt.Skip("not for the stock codec")
		}
		if strings.Contains(string(wire), reservedPrefix) {
			rt.Skip("holds reserved runes")
		}
		if err := decode(t, wire, &got); err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(&want, &got, protocmp.Transform()); diff != "" {
			rt.Errorf("(-stock +ours):\n%s", diff)
		}
	})
}

func TestWhatIsNoProtobufIsAnError(t *testing.T) {
	deep := []byte{}
	for range 200 { // Struct > Value > Struct ...
		deep = protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), deep)
		deep = protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), deep)
		deep = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), deep)
	}
	for name, wire := range map[string][]byte{
		"truncated":  {0x0a, 0x05, 'a'},
		"bad tag":    {0x07},
		"bad nested": {0x12, 0x02, 0x0a, 0x7f},
	} {
		if err := decode(t, wire, new(rlsv3.RateLimitRequest)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// Valid, and far deeper than repair goes: read as always.
	if err := decode(t, deep, new(structpb.Struct)); err != nil {
		t.Errorf("deep: %v", err)
	}
	if _, ok := repair(deep, new(structpb.Struct).ProtoReflect().Descriptor(), 0); ok {
		t.Error("repair has no depth limit")
	}
}

func TestEscapeIsInjective(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := string(rapid.SliceOf(rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte("\xf4\x8f\xbe\xbf\x80")))).Draw(rt, "bytes"))
		got := Text(s)
		if !utf8.ValidString(got) || len(got) > 4*len(s) {
			rt.Fatalf("%q is escaped as %q", s, got)
		}
		if unescaped(got) != s {
			rt.Fatalf("%q is escaped as %q, which stands for %q", s, got, unescaped(got))
		}
		if !needsEscape(s) && string(appendEscaped(nil, s)) != s {
			rt.Fatalf("%q needs no escape and has one", s)
		}
	})
}

func FuzzRateLimitRequest(f *testing.F) {
	f.Add(rateLimitWire("edge", "tenant", "acme"))
	f.Add(rateLimitWire("edge", "tenant", "\xff\xf4\x8f\xbf\xbf"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		sameAsMessages(t, readers[0].reader, wire)
		fuzzDecode(t, wire, new(rlsv3.RateLimitRequest), new(rlsv3.RateLimitRequest))
	})
}

func FuzzCheckRequest(f *testing.F) {
	f.Add(checkWire(f, "acme"))
	f.Add([]byte(strings.Replace(string(checkWire(f, "acme")), "acme", "ac\xffe", 1)))
	f.Add(fullCheck(f))
	f.Fuzz(func(t *testing.T, wire []byte) {
		sameAsMessages(t, readers[1].reader, wire)
		fuzzDecode(t, wire, new(authv3.CheckRequest), new(authv3.CheckRequest))
	})
}

// fuzzDecode: whatever the stock codec reads is read, and read the same; what
// is read can be written, and isn't much larger than what came.
func fuzzDecode(t *testing.T, wire []byte, ours, theirs proto.Message) {
	err := decode(t, wire, ours)
	if stockErr := proto.Unmarshal(wire, theirs); stockErr == nil {
		if err != nil {
			t.Fatalf("the stock codec reads it, and we say %v", err)
		}
		if !bytes.Contains(wire, []byte(reservedPrefix)) && !proto.Equal(ours, theirs) {
			t.Fatalf("read differently:\n%v\n%v", ours, theirs)
		}
	}
	if err != nil {
		return
	}
	out, err := proto.Marshal(ours)
	if err != nil {
		t.Fatalf("read and not to be written: %v", err)
	}
	if len(out) > 8*len(wire)+64 {
		t.Errorf("%d bytes became %d", len(wire), len(out))
	}
}

// checkWire is a request as Envoy sends it, with a header's value given.
func checkWire(t testing.TB, value string) []byte {
	t.Helper()
	wire, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:      &authv3.AttributeContext_Peer{Address: tcp("127.0.0.1", 50408), Principal: "spiffe://a/b"},
		Destination: &authv3.AttributeContext_Peer{Address: tcp("127.0.0.1", 18102)},
		Request: &authv3.AttributeContext_Request{
			Time: &timestamppb.Timestamp{Seconds: 1795300000, Nanos: 492832000},
			Http: &authv3.AttributeContext_HttpRequest{
				Id: "14283501709013499195", Method: "GET", Path: "/orders/1?a=b", Host: "127.0.0.1:18102", Scheme: "http", Protocol: "HTTP/1.1",
				Headers: map[string]string{
					":authority": "127.0.0.1:18102", ":method": "GET", ":path": "/orders/1?a=b", ":scheme": "http", "accept-encoding": "identity",
					"x-forwarded-proto": "http", "x-request-id": "8650b17f-1234-5678", "x-tenant": value,
				},
			},
		},
		ContextExtensions: map[string]string{"resource": "orders"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

func tcp(address string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func BenchmarkUnmarshal(b *testing.B) {
	rls, check := newRateLimit(Config{}), newExtAuthz(Config{})
	for name, tc := range map[string]struct {
		wire  []byte
		calls *callPool
	}{
		"rls":               {rateLimitWire("edge", "tenant", "acme"), &rls.calls},
		"rls/escaped":       {rateLimitWire("edge", "tenant", "\xff"), &rls.calls},
		"ext_authz":         {checkWire(b, "acme"), &check.calls},
		"ext_authz/escaped": {bytes.Replace(checkWire(b, "acme"), []byte("acme"), []byte("ac\xffe"), 1), &check.calls},
	} {
		data, codec := mem.BufferSlice{mem.SliceBuffer(tc.wire)}, NewCodec(nil)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c := tc.calls.get()
				if err := codec.Unmarshal(data, c); err != nil {
					b.Fatal(err)
				}
				tc.calls.put(c)
			}
		})
	}
}

// gRPC reads outside of interceptors: a fault there would end the process.
func TestAFaultInReadingFailsTheCallAlone(t *testing.T) {
	var told any
	codec := NewCodec(func(fault any) { told = fault })
	faulty := &call{read: reader{byHand: func(string, *call) bool { panic("out of range") }}}
	if err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer("x")}, faulty); err == nil || strings.Contains(err.Error(), "range") {
		t.Errorf("%v, want an error that says nothing of the fault", err)
	}
	if told != "out of range" {
		t.Errorf("told %v", told)
	}
}
