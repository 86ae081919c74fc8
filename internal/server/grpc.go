package server

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/extauthz/extauthz/internal/envoy"
)

const (
	// bufferSize is how much is read from and written to a connection at once.
	// Envoy has one connection for each of its threads, with many calls on it.
	bufferSize = 64 << 10
	// streamWindow and connWindow are how much a client may send before it is read: a
	// call with the whole body that Envoy may send, and many at once. As long as they
	// are fixed, gRPC doesn't measure what the connection can take, by a ping and its
	// answer for nearly every call where calls are few.
	streamWindow = 1 << 20
	connWindow   = 4 << 20
	// streamWorkers is how many goroutines stand ready for calls. With one for
	// each processor most calls that come together find none free, and each gets
	// a goroutine of its own whose stack grows, and is copied, several times: that
	// took more than a third of a call. More cost memory, about 8 KiB each.
	streamWorkers = 128
	// minPing is how often clients may ping at most; Envoy can be configured to.
	minPing = 5 * time.Second
	// helloTimeout is how long a new connection may take to speak HTTP/2.
	helloTimeout = 10 * time.Second
)

// healthNames are the services whose health is served; "" is the whole.
var healthNames = [...]string{"", "ratelimit", envoy.RateLimitService, envoy.AuthorizationService}

// GRPCOptions are what helps a server of many small calls, measured beside one
// that answers without deciding: bench/ has the figures.
func GRPCOptions(log *slog.Logger, panicked func()) []grpc.ServerOption {
	failed := func(doing string, fault any) {
		panicked()
		log.Error("a call has failed by a fault of this program", "method", doing, "panic", fault, "stack", string(debug.Stack()))
	}
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(envoy.NewCodec(func(fault any) { failed("reading", fault) })),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.ReadBufferSize(bufferSize),
		grpc.WriteBufferSize(bufferSize),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.ConnectionTimeout(helloTimeout),
		grpc.WaitForHandlers(true),
		grpc.UnaryInterceptor(recovery(failed)),
	}
}

// newGRPC makes the server of both services, health and reflection.
func newGRPC(services *envoy.Services, log *slog.Logger, panicked func(), more ...grpc.ServerOption) (*grpc.Server, *health.Server) {
	s := grpc.NewServer(append(GRPCOptions(log, panicked), more...)...)
	services.Register(s)
	h := health.NewServer()
	for _, name := range healthNames {
		h.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
	}
	healthpb.RegisterHealthServer(s, h)
	reflection.Register(s)
	return s, h
}

// recovery answers INTERNAL for a call that panics: a fault of this program
// must not end every other call. Fuzzing is there so that it has nothing to do.
func recovery(failed func(method string, fault any)) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (response any, err error) {
		defer func() {
			if fault := recover(); fault != nil {
				failed(info.FullMethod, fault)
				response, err = nil, status.Error(codes.Internal, "a fault of the service")
			}
		}()
		return next(ctx, req)
	}
}
