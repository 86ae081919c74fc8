// Package noop answers both of Envoy's services with one fixed verdict and no
// other work: the floor under any server of them in grpc-go. It imports gRPC and
// Envoy's messages; start at Register.
package noop

import (
	"context"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// Register adds both services to a server: they reject every request, or allow
// every one.
func Register(s grpc.ServiceRegistrar, reject bool) {
	rlsv3.RegisterRateLimitServiceServer(s, &rateLimit{reject: reject})
	authv3.RegisterAuthorizationServer(s, &extAuthz{reject: reject})
}

type rateLimit struct {
	rlsv3.UnimplementedRateLimitServiceServer
	reject bool
}

// ShouldRateLimit answers with as little as Envoy takes: a code for the request
// and one for its descriptor.
func (s *rateLimit) ShouldRateLimit(context.Context, *rlsv3.RateLimitRequest) (*rlsv3.RateLimitResponse, error) {
	code := rlsv3.RateLimitResponse_OK
	if s.reject {
		code = rlsv3.RateLimitResponse_OVER_LIMIT
	}
	return &rlsv3.RateLimitResponse{OverallCode: code, Statuses: []*rlsv3.RateLimitResponse_DescriptorStatus{{Code: code}}}, nil
}

type extAuthz struct {
	authv3.UnimplementedAuthorizationServer
	reject bool
}

// Check answers with as little as Envoy takes; a denial has its status and
// Retry-After.
func (s *extAuthz) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	if !s.reject {
		return &authv3.CheckResponse{
			Status:       &rpcstatus.Status{Code: int32(codes.OK)},
			HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
		}, nil
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.ResourceExhausted)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode_TooManyRequests},
			Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "retry-after", Value: "1"}}},
		}},
	}, nil
}
