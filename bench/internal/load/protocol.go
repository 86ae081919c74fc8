package load

import (
	"fmt"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Protocol is one of Envoy's two.
type Protocol uint8

// The protocols.
const (
	RateLimit Protocol = iota // RLS, ShouldRateLimit
	ExtAuthz                  // Authorization, Check
)

// String is the protocol's name.
func (p Protocol) String() string { return [...]string{"RLS", "ext_authz"}[p] }

func (p Protocol) method() string {
	if p == RateLimit {
		return rlsv3.RateLimitService_ShouldRateLimit_FullMethodName
	}
	return authv3.Authorization_Check_FullMethodName
}

// verdict is what an answer says.
type verdict uint8

const (
	failed verdict = iota
	allowed
	rejected
)

// verdict reads no more of an answer than its code. The error is of one that is
// neither.
func (p Protocol) verdict(answer []byte) (verdict, error) {
	var code uint64
	yes, no := uint64(codes.OK), uint64(codes.ResourceExhausted)
	if p == RateLimit {
		yes, no = uint64(rlsv3.RateLimitResponse_OK), uint64(rlsv3.RateLimitResponse_OVER_LIMIT)
		code = varint(answer, 1) // overall_code
	} else {
		code = varint(message(answer, 1), 1) // status.code
	}
	switch code {
	case yes:
		return allowed, nil
	case no:
		return rejected, nil
	}
	return failed, fmt.Errorf("an answer of %s has code %d", p, code)
}

// varint is a field of a message, 0 where it is absent.
func varint(message []byte, field protowire.Number) (v uint64) {
	fields(message, func(n protowire.Number, t protowire.Type, value []byte) {
		if n == field && t == protowire.VarintType {
			v, _ = protowire.ConsumeVarint(value)
		}
	})
	return v
}

// message is a field of a message that is one too, empty where it is absent.
func message(outer []byte, field protowire.Number) (inner []byte) {
	fields(outer, func(n protowire.Number, t protowire.Type, value []byte) {
		if n == field && t == protowire.BytesType {
			inner, _ = protowire.ConsumeBytes(value)
		}
	})
	return inner
}

func fields(message []byte, f func(protowire.Number, protowire.Type, []byte)) {
	for len(message) > 0 {
		number, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return
		}
		value := protowire.ConsumeFieldValue(number, kind, message[tag:])
		if value < 0 {
			return
		}
		f(number, kind, message[tag:tag+value])
		message = message[tag+value:]
	}
}

// The limits that the configuration of the service under test knows, as the
// domain of a descriptor and as the first part of a path.
const (
	Open  = "open"  // never exceeded
	Tight = "tight" // always, after the first request of a tenant
)

// Requests are marshalled requests of one limit, for each of a number of
// tenants one.
func (p Protocol) Requests(limit string, tenants int) ([][]byte, error) {
	all := make([][]byte, tenants)
	for i := range all {
		tenant := "tenant-" + strconv.Itoa(i)
		m := proto.Message(rateLimitRequest(limit, tenant))
		if p == ExtAuthz {
			m = checkRequest(limit, tenant)
		}
		wire, err := proto.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("marshalling a request: %w", err)
		}
		all[i] = wire
	}
	return all, nil
}

func rateLimitRequest(domain, tenant string) *rlsv3.RateLimitRequest {
	return &rlsv3.RateLimitRequest{Domain: domain, Descriptors: []*ratelimitv3.RateLimitDescriptor{{
		Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "tenant", Value: tenant}, {Key: "path", Value: "/v1/items"}},
	}}}
}

// checkRequest is what Envoy sends for a plain GET.
func checkRequest(limit, tenant string) *authv3.CheckRequest {
	path := "/" + limit + "/items/42"
	peer := func(port uint32) *authv3.AttributeContext_Peer {
		return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "10.0.0.7", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}},
		}}}
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: peer(40312), Destination: peer(8443),
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "1234567890123456789", Method: "GET", Path: path, Host: "api.example.com", Scheme: "https", Protocol: "HTTP/1.1",
			Headers: map[string]string{
				":authority": "api.example.com", ":method": "GET", ":path": path, ":scheme": "https",
				"user-agent": "curl/8.5.0", "accept": "*/*", "x-forwarded-proto": "https",
				"x-request-id": "0b6f5a2c-9d3e-4a57-8d1c-2f60f7f3a1be", "x-tenant": tenant,
			},
		}},
	}}
}
