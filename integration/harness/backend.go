package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"

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

// Hold is the request header that has the backend answer only after Release.
const Hold = "X-Hold"

// Backend is what stands behind Envoy: over HTTP it answers 200 with the headers
// that reached it, as JSON; over gRPC it serves the health service.
type Backend struct {
	http *httptest.Server
	grpc *grpc.Server
	addr net.Addr

	held    atomic.Int64
	release chan struct{}
}

// StartBackend starts a backend on two free ports of the loopback. The caller
// closes it.
func StartBackend() (*Backend, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the backend: %w", err)
	}
	b := &Backend{grpc: grpc.NewServer(), addr: l.Addr(), release: make(chan struct{})}
	b.http = httptest.NewServer(http.HandlerFunc(b.answer))
	healthpb.RegisterHealthServer(b.grpc, health.NewServer())
	// Serve ends with Close, and has nothing to say that its clients don't see.
	go func() { _ = b.grpc.Serve(l) }()
	return b, nil
}

// HTTPPort is where it speaks HTTP.
func (b *Backend) HTTPPort() int { return portOf(b.http.Listener.Addr()) }

// GRPCPort is where it speaks gRPC.
func (b *Backend) GRPCPort() int { return portOf(b.addr) }

// Held is how many requests wait to be answered.
func (b *Backend) Held() int { return int(b.held.Load()) }

// Release answers all that are held, at once. It is called once.
func (b *Backend) Release() { close(b.release) }

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

// answer answers with the request's headers, or, at /json and /sse, as a model's
// server does.
func (b *Backend) answer(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get(Hold) != "" {
		b.held.Add(1)
		select {
		case <-b.release:
		case <-r.Context().Done():
		}
	}
	tokens := r.Header.Get(WantTokens)
	kind, body := "application/json", fmt.Sprintf(`{"usage":{"prompt_tokens":1,"total_tokens":%s}}`, tokens)
	switch r.URL.Path {
	case "/json":
	case "/sse":
		kind = "text/event-stream"
		body = fmt.Sprintf("data: {\"choices\":[]}\n\ndata: %s\n\ndata: [DONE]\n\n", body)
	default:
		if tokens != "" {
			w.Header().Set(TokensUsed, tokens)
		}
		headers, err := json.Marshal(r.Header)
		if err != nil { // a map of texts always can be written
			headers = nil
		}
		body = string(headers)
	}
	w.Header().Set("Content-Type", kind)
	// The client sees a body that is cut short.
	_, _ = io.WriteString(w, body) //nolint:gosec // a stand-in for tests: nobody shows it
}
