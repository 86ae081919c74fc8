// Package noop answers both of Envoy's services with one fixed verdict, in a
// message of the shape and size of the service's, and no other work: the floor
// under any server of them in grpc-go. It imports gRPC and Envoy's messages;
// start at Register.
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
	"google.golang.org/protobuf/types/known/durationpb"
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

// ShouldRateLimit answers with what the service answers with: a code for the
// request, and the limit of its descriptor.
func (s *rateLimit) ShouldRateLimit(context.Context, *rlsv3.RateLimitRequest) (*rlsv3.RateLimitResponse, error) {
	response := &rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OK}
	perDay, remaining := uint32(10_000), uint32(999_999_999)
	if s.reject {
		response.OverallCode = rlsv3.RateLimitResponse_OVER_LIMIT
		perDay, remaining = 1, 0
		response.ResponseHeadersToAdd = []*corev3.HeaderValue{{Key: "retry-after", Value: "86399"}}
	}
	response.Statuses = []*rlsv3.RateLimitResponse_DescriptorStatus{{
		Code:               response.OverallCode,
		CurrentLimit:       &rlsv3.RateLimitResponse_RateLimit{Name: "requests", RequestsPerUnit: perDay, Unit: rlsv3.RateLimitResponse_RateLimit_DAY},
		LimitRemaining:     remaining,
		DurationUntilReset: &durationpb.Duration{Seconds: 86399},
	}}
	return response, nil
}

type extAuthz struct {
	authv3.UnimplementedAuthorizationServer
	reject bool
}

// deniedBody is as long as the service's.
const deniedBody = `{"error":"rate_limit_exceeded","message":"Too many requests: this limit is exceeded",` +
	`"resource":"http-tight","limit":"requests","retry_after_seconds":86399.123}`

// Check answers with what the service answers with.
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
			Body:    deniedBody,
			Headers: []*corev3.HeaderValueOption{header("retry-after", "86399"), header("content-type", "application/json")},
		}},
	}, nil
}

func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
