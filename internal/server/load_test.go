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

// ask asks whether a tenant may go on, and returns Envoy's code for it.
//
// The messages are made by hand: Envoy's protos are known to internal/envoy
// alone. An answer's fields are unknown to Empty, and kept.
func ask(ctx context.Context, conn *grpc.ClientConn, tenant string) (code uint64, err error) {
	text := func(to []byte, field protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(to, field, protowire.BytesType), s)
	}
	entry := text(text(nil, 1, "tenant"), 2, tenant)
	request, response := new(emptypb.Empty), new(emptypb.Empty)
	request.ProtoReflect().SetUnknown(text(text(nil, 1, "edge"), 2, string(text(nil, 1, string(entry)))))
	if err := conn.Invoke(ctx, "/"+envoy.RateLimitService+"/ShouldRateLimit", request, response); err != nil {
		return 0, err
	}
	code, n := protowire.ConsumeVarint(response.ProtoReflect().GetUnknown()[1:])
	return code, protowire.ParseError(min(n, 0))
}

// ratelimitLoad asks the service again and again until it is stopped, which
// returns how often it did. A call that fails fails the test.
func ratelimitLoad(t *testing.T, conn *grpc.ClientConn) (stop func() int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var calls atomic.Int64
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				if code, err := ask(context.WithoutCancel(ctx), conn, "acme"); err != nil || code != codeOK {
					t.Errorf("not admitted: code %d, %v", code, err)
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
