package descriptors

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// FromRateLimit sets into to the request that is the ith descriptor of a
// RateLimitService call. It uses the entries that into has room for.
func FromRateLimit(req *rlsv3.RateLimitRequest, i int, into *Request) {
	*into = Request{Protocol: ProtocolRateLimit, Domain: req.GetDomain(), Entries: into.Entries[:0]}
	into.Hits = max(1, uint64(req.GetHitsAddend()))
	descriptors := req.GetDescriptors()
	if i < 0 || i >= len(descriptors) {
		return
	}
	d := descriptors[i]
	for _, e := range d.GetEntries() {
		into.Entries = append(into.Entries, Entry{Key: e.GetKey(), Value: e.GetValue()})
	}
	if own := d.GetHitsAddend(); own != nil {
		into.Hits = own.GetValue()
	}
	into.Refund = d.GetIsNegativeHits()
	if limit := d.GetLimit(); limit != nil {
		into.Override = overrideOf(limit)
	}
}

// ErrUnknownUnit is matched by the error of an [Override] whose unit isn't one
// of Envoy's, or UNKNOWN, which is what Envoy sends where none was set.
var ErrUnknownUnit = errors.New("the descriptor's limit has no unit that is known")

// overrideName is the name of a limit that a descriptor brings with it.
const overrideName = "override"

// unitPeriods are the periods of Envoy's units, as Envoy itself counts them.
var unitPeriods = map[typev3.RateLimitUnit]time.Duration{
	typev3.RateLimitUnit_SECOND: time.Second,
	typev3.RateLimitUnit_MINUTE: time.Minute,
	typev3.RateLimitUnit_HOUR:   time.Hour,
	typev3.RateLimitUnit_DAY:    24 * time.Hour,
	typev3.RateLimitUnit_MONTH:  30 * 24 * time.Hour,
	typev3.RateLimitUnit_YEAR:   365 * 24 * time.Hour,
}

func overrideOf(limit *ratelimitv3.RateLimitDescriptor_RateLimitOverride) *Override {
	unit, ok := unitPeriods[limit.GetUnit()]
	if !ok {
		return &Override{Err: fmt.Errorf("%w: %d", ErrUnknownUnit, limit.GetUnit())}
	}
	times := int64(max(1, limit.GetUnitMultiplier().GetValue()))
	o := &Override{Variant: limit.GetUnit().String() + "x" + strconv.FormatInt(times, 10)}
	if times > int64(ratelimit.MaxPeriod/unit) {
		o.Err = fmt.Errorf("the descriptor's limit has a period of %s, longer than 1e9 seconds", o.Variant)
		return o
	}
	rate := int64(limit.GetRequestsPerUnit())
	o.Limit = ratelimit.Custom(overrideName, rate, rate, unit*time.Duration(times))
	o.Err = o.Limit.Validate()
	return o
}

// FromCheck sets into to the request of an Authorization call.
func FromCheck(req *authv3.CheckRequest, into *Request) {
	attributes := req.GetAttributes()
	http := attributes.GetRequest().GetHttp()
	*into = Request{
		Protocol:          ProtocolExtAuthz,
		Hits:              1,
		Entries:           into.Entries[:0],
		ID:                http.GetId(),
		Method:            http.GetMethod(),
		Scheme:            http.GetScheme(),
		Host:              http.GetHost(),
		Path:              http.GetPath(),
		Headers:           http.GetHeaders(),
		Body:              http.GetBody(),
		Source:            peerOf(attributes.GetSource()),
		Destination:       peerOf(attributes.GetDestination()),
		ContextExtensions: attributes.GetContextExtensions(),
		Metadata:          metadataOf(attributes.GetMetadataContext()),
		RouteMetadata:     metadataOf(attributes.GetRouteMetadataContext()),
	}
	if raw := http.GetRawBody(); len(raw) > 0 {
		into.Body = string(raw)
	}
	if t := attributes.GetRequest().GetTime(); t != nil {
		into.Began = t.AsTime().UnixNano()
	}
	if raw := http.GetHeaderMap().GetHeaders(); len(into.Headers) == 0 && len(raw) > 0 {
		into.Headers = headersOf(raw)
	}
}

// headersOf are headers that came as bytes (encode_raw_headers). Several of a
// name are one, with commas between, as Envoy has it in the other form.
func headersOf(raw []*corev3.HeaderValue) map[string]string {
	headers := make(map[string]string, len(raw))
	var several map[string][]string // :: name -> its values
	for _, h := range raw {
		name, value := strings.ToLower(h.GetKey()), h.GetValue()
		if value == "" {
			value = string(h.GetRawValue())
		}
		before, again := headers[name]
		if !again {
			headers[name] = value
			continue
		}
		if several == nil {
			several = map[string][]string{}
		}
		if several[name] == nil {
			several[name] = []string{before}
		}
		several[name] = append(several[name], value)
	}
	for name, values := range several {
		headers[name] = strings.Join(values, ",")
	}
	return headers
}

func peerOf(p *authv3.AttributeContext_Peer) Peer {
	address := p.GetAddress().GetSocketAddress().GetAddress()
	if address == "" {
		address = p.GetAddress().GetPipe().GetPath()
	}
	return Peer{Address: address, Principal: p.GetPrincipal(), Certificate: p.GetCertificate()}
}

func metadataOf(m *corev3.Metadata) Values {
	if all := m.GetFilterMetadata(); len(all) > 0 {
		return filterMetadata(all)
	}
	return nil
}

// filterMetadata reads metadata by the name of the filter that set it.
type filterMetadata map[string]*structpb.Struct

// Get is what a filter set.
func (f filterMetadata) Get(name string) (any, bool) {
	s, ok := f[name]
	return protoObject(s.GetFields()), ok
}

// Names are the filters'.
func (f filterMetadata) Names() []string { return slices.Collect(maps.Keys(f)) }

// protoObject reads an object where it lies.
type protoObject map[string]*structpb.Value

// Get is the value of a name.
func (o protoObject) Get(name string) (any, bool) {
	v, ok := o[name]
	return protoValue(v), ok
}

// Names are those that have a value.
func (o protoObject) Names() []string { return slices.Collect(maps.Keys(o)) }

// protoList reads a list where it lies.
type protoList []*structpb.Value

// Len is the number of values.
func (l protoList) Len() int { return len(l) }

// At is the value at an index.
func (l protoList) At(i int) any { return protoValue(l[i]) }

func protoValue(v *structpb.Value) any {
	switch k := v.GetKind().(type) {
	case *structpb.Value_BoolValue:
		return k.BoolValue
	case *structpb.Value_NumberValue:
		return k.NumberValue
	case *structpb.Value_StringValue:
		return k.StringValue
	case *structpb.Value_StructValue:
		return protoObject(k.StructValue.GetFields())
	case *structpb.Value_ListValue:
		return protoList(k.ListValue.GetValues())
	}
	return nil
}
