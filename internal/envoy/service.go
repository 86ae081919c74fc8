package envoy

import (
	"context"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/internal/telemetry"
)

// The names of the two services, as health checks and reflection have them.
const (
	RateLimitService     = "envoy.service.ratelimit.v3.RateLimitService"
	AuthorizationService = "envoy.service.auth.v3.Authorization"
)

// Config is what the services decide by.
type Config struct {
	Decider *decision.Decider
	// Policy is the configuration in force; it is asked once for each call and
	// is never nil.
	Policy func() *decision.Policy
	// Calls beside decisions, by protocol; nil counts nothing.
	RateLimit, ExtAuthz *telemetry.Calls
}

// Services are both of Envoy's, as a gRPC server serves them and as others in
// the process call them: what they are asked is decided the same.
type Services struct {
	RateLimit     rlsv3.RateLimitServiceServer
	Authorization authv3.AuthorizationServer
}

// New makes both services.
func New(cfg Config) *Services {
	return &Services{RateLimit: newRateLimit(cfg), Authorization: newExtAuthz(cfg)}
}

// Register adds both services to a server. The server needs the Codec: it reads
// and writes what the handlers take and give in place of messages.
func (s *Services) Register(server grpc.ServiceRegistrar) {
	server.RegisterService(served(rlsv3.RateLimitService_ServiceDesc), s.RateLimit)
	server.RegisterService(served(authv3.Authorization_ServiceDesc), s.Authorization)
}

// served is the description of a service with one method, which its endpoint
// serves.
func served(desc grpc.ServiceDesc) *grpc.ServiceDesc {
	desc.Methods = []grpc.MethodDesc{{MethodName: desc.Methods[0].MethodName, Handler: handle}}
	return &desc
}

// handle has the endpoint of a service answer a call.
func handle(service any, ctx context.Context, read func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // the order is gRPC's
	return service.(answerer).answer(ctx, read, intercept)
}

// answerer is a service, as its endpoint makes it one.
type answerer interface {
	answer(ctx context.Context, read func(any) error, intercept grpc.UnaryServerInterceptor) (any, error)
}

// endpoint answers the calls of a service's one method. Nothing of a call is a
// message: it is read straight into requests, and its answer written straight in
// wire form, where a message takes an allocation for each of its parts.
type endpoint struct {
	calls   callPool
	replies replyPool
	info    grpc.UnaryServerInfo
	decide  func(ctx context.Context, c *call) (*reply, error)
	handler grpc.UnaryHandler // decide, as interceptors call it
}

func newEndpoint(method string, read reader, decide func(context.Context, *call) (*reply, error)) *endpoint {
	e := &endpoint{info: grpc.UnaryServerInfo{FullMethod: method}, decide: decide}
	e.calls.read = read
	e.handler = func(ctx context.Context, c any) (any, error) {
		r, err := decide(ctx, c.(*call))
		if err != nil {
			return nil, err
		}
		return r, nil
	}
	return e
}

// answer answers a call of gRPC's: what it gives is a *reply.
func (e *endpoint) answer(ctx context.Context, read func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	c := e.calls.get()
	defer e.calls.put(c)
	if err := read(c); err != nil {
		return nil, err
	}
	if intercept == nil {
		return e.handler(ctx, c)
	}
	return intercept(ctx, c, &e.info, e.handler)
}

// tell answers with a message what is asked by one, which take takes into a call.
func (e *endpoint) tell(ctx context.Context, take func(*call), response proto.Message) error {
	c := e.calls.get()
	defer e.calls.put(c)
	take(c)
	r, err := e.decide(ctx, c)
	if err != nil {
		return err
	}
	defer r.free()
	return proto.Unmarshal(r.wire, response)
}
