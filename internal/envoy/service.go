package envoy

import (
	"sync"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/internal/telemetry"
	"github.com/extauthz/extauthz/pkg/descriptors"
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

// Register adds both services to a server. The server needs the Codec.
func (s *Services) Register(server grpc.ServiceRegistrar) {
	rlsv3.RegisterRateLimitServiceServer(server, s.RateLimit)
	authv3.RegisterAuthorizationServer(server, s.Authorization)
}

// requests are the neutral requests of one call, used again for others.
type requests struct {
	all  []descriptors.Request
	ptrs []*descriptors.Request
}

// requestPool is a pool of requests.
type requestPool struct{ pool sync.Pool }

// mostKept is how many requests, and entries of each, are kept for the next call.
const mostKept = 16

func (p *requestPool) get(n int) *requests {
	r, ok := p.pool.Get().(*requests)
	if !ok {
		r = new(requests)
	}
	if cap(r.all) < n {
		r.all, r.ptrs = make([]descriptors.Request, n), make([]*descriptors.Request, n)
	}
	r.all, r.ptrs = r.all[:n], r.ptrs[:n]
	for i := range r.all {
		r.ptrs[i] = &r.all[i]
	}
	return r
}

// put takes requests back; nothing of the call is kept in them but room for
// entries.
func (p *requestPool) put(r *requests) {
	if cap(r.all) > mostKept {
		return
	}
	for i := range r.all {
		entries := r.all[i].Entries
		r.all[i] = descriptors.Request{}
		if cap(entries) <= mostKept {
			clear(entries)
			r.all[i].Entries = entries[:0]
		}
	}
	p.pool.Put(r)
}
