package harness

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// WantTokens is the request header that tells the backend which TokensUsed to
// answer with, as a model's server would say what a request cost.
const (
	WantTokens = "X-Want-Tokens" //nolint:gosec // tokens of a language model, no secret
	TokensUsed = "X-Tokens"
)

// Backend is what stands behind Envoy: over HTTP it answers 200 with the headers
// that reached it, as JSON; over gRPC it serves the health service.
type Backend struct {
	http *httptest.Server
	grpc *grpc.Server
	addr net.Addr
}

// StartBackend starts a backend on two free ports of the loopback. The caller
// closes it.
func StartBackend() (*Backend, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the backend: %w", err)
	}
	b := &Backend{http: httptest.NewServer(http.HandlerFunc(echo)), grpc: grpc.NewServer(), addr: l.Addr()}
	healthpb.RegisterHealthServer(b.grpc, health.NewServer())
	// Serve ends with Close, and has nothing to say that its clients don't see.
	go func() { _ = b.grpc.Serve(l) }()
	return b, nil
}

// HTTPPort is where it speaks HTTP.
func (b *Backend) HTTPPort() int { return portOf(b.http.Listener.Addr()) }

// GRPCPort is where it speaks gRPC.
func (b *Backend) GRPCPort() int { return portOf(b.addr) }

// Close ends it at once.
func (b *Backend) Close() {
	b.grpc.Stop()
	b.http.CloseClientConnections()
	b.http.Close()
}

func portOf(a net.Addr) int {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}

// echo answers with the request's headers.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if n := r.Header.Get(WantTokens); n != "" {
		w.Header().Set(TokensUsed, n)
	}
	// The client sees a body that is cut short.
	_ = json.NewEncoder(w).Encode(r.Header)
}
