package server

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/extauthz/extauthz/internal/envoy"
)

// ratelimitLoad asks the service again and again until it is stopped, which
// returns how often it did. A call that fails fails the test.
//
// The messages are made by hand: Envoy's protos are known to internal/envoy
// alone. An answer's fields are unknown to Empty, and kept.
func ratelimitLoad(t *testing.T, conn *grpc.ClientConn) (stop func() int64) {
	t.Helper()
	text := func(to []byte, field protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(to, field, protowire.BytesType), s)
	}
	entry := text(text(nil, 1, "tenant"), 2, "acme")
	request := new(emptypb.Empty)
	request.ProtoReflect().SetUnknown(text(text(nil, 1, "edge"), 2, string(text(nil, 1, string(entry)))))

	ctx, cancel := context.WithCancel(t.Context())
	var calls atomic.Int64
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				response := new(emptypb.Empty)
				if err := conn.Invoke(context.WithoutCancel(ctx), "/"+envoy.RateLimitService+"/ShouldRateLimit", request, response); err != nil {
					t.Errorf("a call failed: %v", err)
					return
				}
				code, n := protowire.ConsumeVarint(response.ProtoReflect().GetUnknown()[1:])
				if n < 0 || code != 1 {
					t.Errorf("not admitted: %x", response.ProtoReflect().GetUnknown())
					return
				}
				calls.Add(1)
			}
		})
	}
	return func() int64 {
		cancel()
		group.Wait()
		return calls.Load()
	}
}
