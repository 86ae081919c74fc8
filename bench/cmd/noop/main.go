// Command noop serves Envoy's two services with the settings of extauthz serve,
// and decides nothing.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"

	"github.com/extauthz/extauthz/bench/internal/noop"
	"github.com/extauthz/extauthz/internal/server"
)

func main() {
	address := flag.String("grpc", "127.0.0.1:18200", "listen here")
	reject := flag.Bool("reject", false, "reject every request")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := serve(ctx, *address, *reject)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "noop:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, address string, reject bool) error {
	defer server.TuneGC()()
	defer server.TuneProcessors(ctx)()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	s := grpc.NewServer(append(server.GRPCOptions(slog.Default(), func() {}), grpc.ForceServerCodecV2(noop.NewCodec()))...)
	noop.Register(s, reject)
	stopped := context.AfterFunc(ctx, s.Stop)
	defer stopped()
	return s.Serve(listener)
}
