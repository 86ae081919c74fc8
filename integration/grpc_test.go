//go:build integration

package integration

import (
	"slices"
	"strconv"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// TestGRPCClientIsToldProperly limits a gRPC client of a gRPC backend: it sees
// RESOURCE_EXHAUSTED, which its retry policy understands, and when to come back.
func TestGRPCClientIsToldProperly(t *testing.T) {
	w := newWorld(t, `
rules:
  - name: edge
    match: domain == "edge"
    entity: ${descriptor.tenant}
    default_limits: {requests: 2/min}
  - name: api
    entity: ${request.headers["x-tenant"]}
    resource: ${request.url_path}
    default_limits: {requests: 2/min}
`)
	for filter, addr := range w.filters() {
		t.Run(filter, func(t *testing.T) {
			conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			client := healthpb.NewHealthClient(conn)
			ctx := metadata.AppendToOutgoingContext(t.Context(), "x-tenant", "acme")

			var codesSeen []codes.Code
			var header, trailer metadata.MD
			for range 3 {
				header, trailer = nil, nil
				_, err = client.Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Header(&header), grpc.Trailer(&trailer))
				codesSeen = append(codesSeen, status.Code(err))
			}
			if want := []codes.Code{codes.OK, codes.OK, codes.ResourceExhausted}; !slices.Equal(codesSeen, want) {
				t.Fatalf("three calls: %v, want %v (%v)", codesSeen, want, err)
			}
			// A denial has no message, so that its headers may come as trailers.
			after := append(header.Get("retry-after"), trailer.Get("retry-after")...)
			if len(after) != 1 {
				t.Fatalf("retry-after is %q, want one value; header %v, trailer %v", after, header, trailer)
			}
			if n, err := strconv.Atoi(after[0]); err != nil || n < 28 || n > 30 {
				t.Errorf("retry-after is %q, want about 30: two a minute were taken at once", after[0])
			}
		})
	}
	w.noFaults(t)
}
