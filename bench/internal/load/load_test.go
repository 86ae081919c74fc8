package load

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/extauthz/extauthz/bench/internal/noop"
)

func TestVerdict(t *testing.T) {
	wire := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	over := &rlsv3.RateLimitResponse{
		OverallCode: rlsv3.RateLimitResponse_OVER_LIMIT,
		Statuses:    []*rlsv3.RateLimitResponse_DescriptorStatus{{Code: rlsv3.RateLimitResponse_OK}},
	}
	denied := &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: 8, Message: "no"},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{Body: "x"}},
	}
	for name, tc := range map[string]struct {
		p    Protocol
		wire []byte
		want verdict
	}{
		"over":        {RateLimit, wire(over), rejected},
		"ok":          {RateLimit, wire(&rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OK}), allowed},
		"unknown":     {RateLimit, nil, failed},
		"denied":      {ExtAuthz, wire(denied), rejected},
		"allowed":     {ExtAuthz, wire(&authv3.CheckResponse{Status: &rpcstatus.Status{}}), allowed},
		"unavailable": {ExtAuthz, wire(&authv3.CheckResponse{Status: &rpcstatus.Status{Code: 14}}), failed},
		"cut off":     {RateLimit, []byte{0xff}, failed},
	} {
		got, err := tc.p.verdict(tc.wire)
		if got != tc.want || (err != nil) != (got == failed) {
			t.Errorf("%s: %d (%v), want %d", name, got, err, tc.want)
		}
	}
}

func TestRequestsDifferByTenantAlone(t *testing.T) {
	for _, p := range []Protocol{RateLimit, ExtAuthz} {
		reqs, err := p.Requests(Tight, 12)
		if err != nil || len(reqs) != 12 {
			t.Fatal(len(reqs), err)
		}
		first, last := strings.Count(string(reqs[0]), "tenant-0"), strings.Count(string(reqs[11]), "tenant-11")
		if first != 1 || last != 1 || !strings.Contains(string(reqs[0]), Tight) {
			t.Errorf("%s: %q, %q", p, reqs[0], reqs[11])
		}
	}
}

// TestRun drives the no-op server in this process.
func TestRun(t *testing.T) {
	for name, reject := range map[string]bool{"allowed": false, "rejected": true} {
		t.Run(name, func(t *testing.T) {
			s := grpc.NewServer()
			noop.Register(s, reject)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- s.Serve(l) }()
			t.Cleanup(func() {
				s.Stop()
				if err := <-served; err != nil {
					t.Error(err)
				}
			})
			for _, p := range []Protocol{RateLimit, ExtAuthz} {
				reqs, err := p.Requests(Open, 100)
				if err != nil {
					t.Fatal(err)
				}
				r, err := Run(t.Context(), Options{
					Address: l.Addr().String(), Requests: reqs, Protocol: p, Conns: 2, InFlight: 4,
					Duration: 50 * time.Millisecond, PIDs: []int{os.Getpid()},
				})
				if err != nil || r.Requests == 0 || r.Failed > 0 || r.CPU <= 0 || r.P99 < r.P50 || r.Max < r.P99 {
					t.Errorf("%s: %+v %v", p, r, err)
				}
				got := r.Allowed
				if reject {
					got = r.Rejected
				}
				if got != r.Requests {
					t.Errorf("%s: %+v, want all %s", p, r, name)
				}
			}
		})
	}
}

// TestOpenLoop holds the open loop to its rate, and a call's time to when it was
// due: one caller of a server that takes 5 ms is behind from the second call on.
func TestOpenLoop(t *testing.T) {
	slow := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		time.Sleep(5 * time.Millisecond)
		return next(ctx, req)
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(slow))
	noop.Register(s, false)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	defer func() { s.Stop(); <-served }()
	reqs, err := RateLimit.Requests(Open, 1)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), Options{
		Address: l.Addr().String(), Requests: reqs, Conns: 1, InFlight: 1, Rate: 1000,
		Duration: 50 * time.Millisecond, PIDs: []int{os.Getpid()},
	})
	if err != nil || r.Requests != 50 || r.Max < 49*4*time.Millisecond {
		t.Errorf("%+v %v, want 50 calls, the last 200 ms late", r, err)
	}
}

func TestRunAgainstNobody(t *testing.T) {
	reqs, err := RateLimit.Requests(Open, 1)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer() // serves neither
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	defer func() { s.Stop(); <-served }()
	r, err := Run(t.Context(), Options{Address: l.Addr().String(), Requests: reqs, Conns: 1, InFlight: 1, Duration: time.Millisecond, PIDs: []int{os.Getpid()}})
	if err == nil {
		t.Errorf("%+v, want an error", r)
	}
}
