// Command load asks a running server of Envoy's services for a while, and prints
// what came of it: for profiling it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/extauthz/extauthz/bench/internal/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var o load.Options
	flag.StringVar(&o.Address, "grpc", "127.0.0.1:8081", "the server's address")
	pid := flag.Int("pid", os.Getpid(), "the server's process, whose CPU time is measured")
	flag.IntVar(&o.Conns, "conns", 1, "connections")
	flag.IntVar(&o.InFlight, "inflight", 16, "calls at a time")
	flag.Float64Var(&o.Rate, "rate", 0, "calls a second, however long they take; 0: as many as there are answers")
	flag.BoolVar(&o.Count, "count", false, "count the server's instructions")
	flag.DurationVar(&o.Warmup, "warmup", time.Second, "unmeasured time before the run")
	flag.DurationVar(&o.Duration, "duration", 5*time.Second, "measured time")
	authz := flag.Bool("authz", false, "ask ext_authz, not RLS")
	limit := flag.String("limit", load.Open, "the limit to ask for, of bench/extauthz.yaml: open or tight")
	tenants := flag.Int("tenants", 1, "how many tenants ask")
	repeat := flag.Int("repeat", 1, "how often each request is asked before the warmup: with no warmup and no duration, exactly so many calls")
	flag.Parse()
	o.PIDs = []int{*pid}
	if *authz {
		o.Protocol = load.ExtAuthz
	}
	var err error
	if o.Requests, err = o.Protocol.Requests(*limit, *tenants); err != nil {
		return err
	}
	o.Requests = slices.Repeat(o.Requests, max(1, *repeat))
	r, err := load.Run(ctx, o)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(r)
}
