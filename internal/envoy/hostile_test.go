package envoy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rlcommon "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
)

// hostileRules read whatever a request may have, and say it again wherever an
// answer may.
const hostileRules = `
client_ip: xff:1
response_headers: [retry-after, ratelimit, ratelimit-policy, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset]
rules:
  - {name: everyone, continue: true, entity: "${client_ip}", default_limits: {n: 1000000/s}}
  - {name: shadowed, match: 'has(descriptor.tenant)', entity: "${descriptor.tenant}", enforce: 0%, default_limits: {n: 1/day}}
  - name: descriptor
    protocol: ratelimit
    entity: ${domain}/${descriptor.tenant}
    resource: ${string(entries.size())}
    default_limits: {n: 1/day}
    on_deny: {body: '{"entity":"${entity.id}","tenant":"${descriptor.tenant}"}', headers: {x-why: limited}}
  - {name: each, protocol: ratelimit, entity: '${domain}', consume: {n: hits}, default_limits: {n: 1/day}}
  - name: check
    protocol: ext_authz
    entity: ${request.method}|${request.scheme}|${request.host}|${request.path}|${request.headers["x-tenant"]}|${source.principal}|${source.address}
    tier: ${metadata["jwt"].tier}
    default_limits: {n: 1/day}
    on_allow: {headers: {x-entity: "${entity.id}", x-path: "${request.url_path}", x-tenant: "${request.headers['x-tenant']}", x-context: "${context_extensions.resource}"}}
    on_deny: {body: '<p>${request.path} ${request.headers["x-tenant"]}</p>', content_type: text/html}
  - {name: any, protocol: ext_authz, entity: '${request.id}', default_limits: {n: 1/day}}
dynamic_metadata: true
`

// hostileTexts are what is put where a text or bytes may be.
func hostileTexts() map[string]string {
	return map[string]string{
		"a line that ends":       "a\r\nset-cookie: injected=1\r\n\r\n<script>",
		"half a line":            "a\nset-cookie: injected=1",
		"controls":               "\x00\x01\x07\x1b[2J\x7f",
		"no UTF-8":               "\xff\xfe\xed\xa0\x80",
		"no UTF-8 in a line":     "\xc3\r\nset-cookie: injected=1",
		"60 KB":                  strings.Repeat("x", 60<<10),
		"60 KB that isn't UTF-8": strings.Repeat("\xf8", 60<<10),
		"60 KB of lines":         strings.Repeat("\r\n", 30<<10),
		"empty":                  "",
		"a template":             `${1/0}"'` + "`",
		"private characters":     "\U0010ff80\U0010ffff\ue000",
	}
}

// a field of a message, and of messages in it: the path to a value.
type path []protoreflect.FieldDescriptor

func (p path) String() string {
	names := make([]string, len(p))
	for i, f := range p {
		names[i] = string(f.Name())
	}
	return strings.Join(names, ".")
}

// leaves calls f for every value that a message may hold: texts, bytes and
// numbers, and messages that hold themselves, once more.
func leaves(m protoreflect.MessageDescriptor, at path, f func(path)) {
	for i := range m.Fields().Len() {
		field := m.Fields().Get(i)
		p := append(at[:len(at):len(at)], field)
		inner := field.Message()
		if inner == nil {
			f(p)
			continue
		}
		again := 0
		for _, before := range at {
			if before.Message() != nil && before.Message().FullName() == inner.FullName() {
				again++
			}
		}
		f(p)
		if again < 2 {
			leaves(inner, p, f)
		}
	}
}

// wire is a message whose field at the path has a value, in wire form.
func (p path) wire(value []byte, kind protowire.Type) []byte {
	for i := len(p) - 1; i >= 0; i-- {
		to := protowire.AppendTag(nil, p[i].Number(), kind)
		if kind == protowire.BytesType {
			value = protowire.AppendBytes(to, value)
		} else {
			value = append(to, value...)
		}
		kind = protowire.BytesType
	}
	return value
}

// hostile are wire forms of a field with what may be hostile in it, by name; a
// message that is none may be an error.
func (p path) hostile() map[string][]byte {
	all := map[string][]byte{}
	switch field := p[len(p)-1]; field.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		all["nothing"] = p.wire(nil, protowire.BytesType)
		all[noMessage] = p.wire([]byte("\x0f\xff\xff"), protowire.BytesType)
	case protoreflect.StringKind, protoreflect.BytesKind:
		for name, text := range hostileTexts() {
			all[name] = p.wire([]byte(text), protowire.BytesType)
		}
	case protoreflect.DoubleKind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		for name, f := range map[string]float64{"NaN": math.NaN(), "infinity": math.Inf(-1), "most": math.MaxFloat64} {
			all[name] = p.wire(protowire.AppendFixed64(nil, math.Float64bits(f)), protowire.Fixed64Type)
		}
	case protoreflect.FloatKind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		all["most"] = p.wire(protowire.AppendFixed32(nil, math.MaxUint32), protowire.Fixed32Type)
	default:
		for _, n := range []uint64{0, 1, math.MaxInt32, math.MaxUint32, math.MaxInt64, 1 << 63, math.MaxUint64} {
			all[fmt.Sprint(n)] = p.wire(protowire.AppendVarint(nil, n), protowire.VarintType)
		}
	}
	return all
}

const noMessage = "no message"

// wireCodec sends bytes as they are.
type wireCodec struct{ encoding.CodecV2 }

func (wireCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (wireCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// service is one of the two, as the tests of hostile input call it.
type service struct {
	method  string
	request protoreflect.MessageDescriptor
	base    []byte // a request that is decided
	answer  func() proto.Message
}

func hostileServices(t testing.TB) []service {
	return []service{
		{
			"/" + RateLimitService + "/ShouldRateLimit", new(rlsv3.RateLimitRequest).ProtoReflect().Descriptor(),
			rateLimitWire("edge", "tenant", "acme"), func() proto.Message { return new(rlsv3.RateLimitResponse) },
		},
		{
			"/" + AuthorizationService + "/Check", new(authv3.CheckRequest).ProtoReflect().Descriptor(),
			checkWire(t, "acme"), func() proto.Message { return new(authv3.CheckResponse) },
		},
	}
}

// newHostileWorld has no time limit for decisions: the store answers at once, and
// the machine may be busy.
func newHostileWorld(t *testing.T) *world {
	t.Helper()
	policy := policyOf(t, hostileRules)
	policy.InProcess = true
	return newWorldOf(t, policy)
}

// ask sends a request in wire form. What comes back is a decision that Envoy can
// read, or an error that says what is wrong, in time.
func (w *world) ask(t *testing.T, s *service, name string, wire []byte) codes.Code {
	t.Helper()
	// No deadline, which the service would compare with its clock that stands.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	defer time.AfterFunc(time.Minute, cancel).Stop()
	var raw []byte
	err := w.conn.Invoke(ctx, s.method, wire, &raw, grpc.ForceCodecV2(wireCodec{NewCodec(nil)}), grpc.MaxCallSendMsgSize(64<<20))
	if err != nil {
		code := status.Code(err)
		switch code {
		case codes.InvalidArgument, codes.Internal, codes.ResourceExhausted:
			if status.Convert(err).Message() == "" {
				t.Errorf("%s: %v without a word", name, code)
			}
		default:
			t.Errorf("%s: %v", name, err)
		}
		return code
	}
	answer := s.answer()
	wellWritten(t, name, raw, answer)
	cleanHeaders(t, name, answer.ProtoReflect())
	return codes.OK
}

// cleanHeaders fails for a header of an answer that would end before its end.
func cleanHeaders(t *testing.T, name string, m protoreflect.Message) {
	t.Helper()
	if h, ok := m.Interface().(*corev3.HeaderValue); ok {
		text := h.GetKey() + h.GetValue() + string(h.GetRawValue())
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) || !utf8.ValidString(text) || len(text) > 8<<10 {
			t.Errorf("%s: the answer has the header %.100q", name, text)
		}
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() || f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				cleanHeaders(t, name, v.List().Get(i).Message())
			}
		default:
			cleanHeaders(t, name, v.Message())
		}
		return true
	})
}

// TestHostileFields puts what is hostile into every field that a request of
// Envoy's has, found by reflection: each is decided, or refused with a reason,
// and no answer carries a line of it in a header. Each is sent twice, so that
// the second is over its limit.
func TestHostileFields(t *testing.T) {
	for _, s := range hostileServices(t) {
		t.Run(string(s.request.Name()), func(t *testing.T) {
			w := newHostileWorld(t)
			before := heap()
			fields, texts := 0, 0
			leaves(s.request, nil, func(p path) {
				fields++
				for name, wire := range p.hostile() {
					name = p.String() + ": " + name
					for range 2 {
						code := w.ask(t, &s, name, append(bytes.Clone(s.base), wire...))
						if k := p[len(p)-1].Kind(); code == codes.Internal && k != protoreflect.MessageKind {
							t.Errorf("%s: %v: what is no text, or no number that is known, is still a request", name, code)
						}
					}
					texts++
				}
			})
			if fields < 10 || texts < 80 {
				t.Errorf("only %d fields were found", fields)
			}
			t.Logf("%d fields, %d requests", fields, 2*texts)
			// What is kept of a request are its bucket and its names.
			if grown := heap() - before; grown > 48<<20 {
				t.Errorf("%d MB more are held after it", grown>>20)
			}
		})
	}
}

// heap is what is held, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestHostileSizes sends what is large: much of it, long, and deep.
func TestHostileSizes(t *testing.T) {
	w := newHostileWorld(t)
	services := hostileServices(t)
	rls, check := &services[0], &services[1]
	descriptors := func(n int, value string) []byte {
		return bytes.Repeat(rateLimitWire("edge", "tenant", value), n)
	}
	headers := func(n int, value string) []byte {
		m := map[string]string{"x-tenant": value}
		for i := range n {
			m[fmt.Sprint("x-", i)] = value
		}
		wire, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/", Headers: m}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return wire
	}
	for name, c := range map[string]struct {
		service *service
		wire    []byte
		want    codes.Code
	}{
		"1,000 descriptors":                        {rls, descriptors(1000, "acme"), codes.OK},
		"1,001 descriptors":                        {rls, descriptors(1001, "acme"), codes.InvalidArgument},
		"20 descriptors of 60 KB":                  {rls, descriptors(20, strings.Repeat("x", 60<<10)), codes.OK},
		"20 descriptors of 60 KB that isn't UTF-8": {rls, descriptors(20, strings.Repeat("\xf1", 60<<10)), codes.OK},
		"more than a call may have":                {rls, descriptors(100, strings.Repeat("x", 60<<10)), codes.ResourceExhausted},
		"no domain":                                {rls, rateLimitWire("", "tenant", "acme"), codes.InvalidArgument},
		"nothing":                                  {rls, nil, codes.InvalidArgument},
		"nothing to check":                         {check, nil, codes.OK},
		"20,000 headers":                           {check, headers(20_000, "v"), codes.OK},
		"60 headers of 60 KB":                      {check, headers(60, strings.Repeat("x", 60<<10)), codes.OK},
		"metadata 1,000 deep":                      {check, deepMetadata(t, 1000, "gold"), codes.OK},
		"metadata 15 deep, not UTF-8":              {check, deepMetadata(t, 15, "a\xffb"), codes.OK},
		"metadata 40 deep, not UTF-8":              {check, deepMetadata(t, 40, "a\xffb"), codes.Internal}, // repaired so far and no further
		"metadata 5,000 deep":                      {check, deepMetadata(t, 5000, "gold"), codes.Internal},
		"metadata 5,000 deep, not UTF-8":           {check, deepMetadata(t, 5000, "a\xffb"), codes.Internal},
		"a message that is none":                   {rls, []byte("\x0f\xff"), codes.Internal},
		"a check that is none":                     {check, []byte("\x0f\xff"), codes.Internal},
	} {
		start := time.Now()
		if got := w.ask(t, c.service, name, c.wire); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

// TestASecondMessageIsRefused, and nothing of either is found in the calls of others.
func TestASecondMessageIsRefused(t *testing.T) {
	w := newWorld(t, `rules: [{name: tenant, entity: "${descriptor.tenant}", default_limits: {n: 1/day}}]`)
	others := make([]*rlcommon.RateLimitDescriptor, mostKept)
	for round := range 50 {
		stream, err := w.conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, hostileServices(t)[0].method, grpc.ForceCodecV2(wireCodec{NewCodec(nil)}))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{mostKept, 1} {
			if err := stream.SendMsg(bytes.Repeat(rateLimitWire("edge", "tenant", "hostile"), n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(stream.CloseSend(), stream.RecvMsg(new([]byte))); status.Code(err) != codes.Internal {
			t.Errorf("two messages are answered with %v", err)
		}
		for i := range others {
			others[i] = descriptor("tenant", fmt.Sprint(round, i))
		}
		if answer := w.limit(t, "edge", others...); answer.GetOverallCode() != rlsv3.RateLimitResponse_OK {
			t.Fatalf("round %d: others are answered %v", round, answer)
		}
	}
}

// deepMetadata is a check whose metadata holds objects within objects.
func deepMetadata(t *testing.T, depth int, leaf string) []byte {
	t.Helper()
	v := structpb.NewStringValue(strings.Repeat("\x01", len(leaf)))
	text, err := proto.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	value := bytes.Replace(text, bytes.Repeat([]byte{1}, len(leaf)), []byte(leaf), 1)
	field := func(to []byte, n protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(to, n, protowire.BytesType), b)
	}
	entry := func(value []byte) []byte { return field(field(nil, 1, []byte("tier")), 2, value) }
	for range depth { // Value.struct_value.fields[tier]
		value = field(nil, 5, field(nil, 1, entry(value)))
	}
	filter := field(field(nil, 1, []byte("jwt")), 2, field(nil, 1, entry(value)))
	attributes := new(authv3.AttributeContext).ProtoReflect().Descriptor().Fields().ByName("metadata_context").Number()
	return append(checkWire(t, "acme"), field(nil, 1, field(nil, attributes, field(nil, 1, filter)))...)
}

// FuzzServices decides whatever is a message at all.
func FuzzServices(f *testing.F) {
	for _, s := range hostileServices(f) {
		leaves(s.request, nil, func(p path) {
			all := p.hostile()
			for _, name := range []string{noMessage, "no UTF-8 in a line", "NaN", fmt.Sprint(uint64(math.MaxUint64))} {
				if wire, ok := all[name]; ok {
					f.Add(append(bytes.Clone(s.base), wire...))
				}
			}
		})
	}
	services := newServices(f, hostileRules)
	f.Fuzz(func(t *testing.T, wire []byte) {
		for _, s := range []struct {
			service any
			answer  proto.Message
		}{{services.RateLimit, new(rlsv3.RateLimitResponse)}, {services.Authorization, new(authv3.CheckResponse)}} {
			readable := false
			answer, err := handle(s.service, t.Context(), func(v any) error {
				err := v.(*call).unmarshal(wire)
				readable = err == nil
				return err
			}, nil)
			if err != nil {
				if readable && status.Code(err) != codes.InvalidArgument {
					t.Error(err)
				}
				continue
			}
			r := answer.(*reply)
			wellWritten(t, "fuzzed", r.wire, s.answer)
			cleanHeaders(t, "fuzzed", s.answer.ProtoReflect())
			r.free()
		}
	})
}
