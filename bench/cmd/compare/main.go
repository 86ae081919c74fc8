// Command compare measures extauthz serve side by side with a gRPC server that
// decides nothing. It starts both, runs every scenario against one and the other,
// round after round, so that the drift of the machine falls on both alike, and
// prints a table of medians with the ratios that were taken within each round.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	extauthz, noop         string
	config, plain, full    string
	levels                 []int
	rounds, counted, conns int
	warmup, duration       time.Duration
	patience               time.Duration
	only, raw              string
	check                  bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	met, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	case !met:
		os.Exit(2)
	}
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := new(options)
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.extauthz, "extauthz", "../bin/extauthz", "the service's binary")
	flags.StringVar(&o.noop, "noop", "../bin/bench/noop", "the binary of the server that decides nothing")
	flags.StringVar(&o.config, "config", "extauthz.yaml", "the service's configuration")
	flags.StringVar(&o.plain, "plain", "plain.yaml", "the configuration of the plain path")
	flags.StringVar(&o.full, "full", "full.yaml", "the configuration with everything switched on, compared with the plain path")
	levels := flags.String("inflight", "16,64", "calls in flight, several levels between commas")
	flags.IntVar(&o.conns, "conns", 1, "connections that they are spread over")
	flags.IntVar(&o.rounds, "rounds", 5, "rounds that measure time")
	flags.IntVar(&o.counted, "counted-rounds", 2, "rounds that count instructions, where the machine can: apart, because counting slows")
	flags.DurationVar(&o.duration, "duration", time.Second, "measured time of each run")
	flags.DurationVar(&o.warmup, "warmup", 200*time.Millisecond, "unmeasured time before each run")
	flags.DurationVar(&o.patience, "patience", time.Second, "how long to wait before a run for neighbours to be quiet")
	flags.StringVar(&o.only, "only", "", "run the scenarios with this in their name, and those they are compared with")
	flags.StringVar(&o.raw, "raw", "", "write every run's result to this file, as a line of JSON")
	flags.BoolVar(&o.check, "check", false, "exit with 2 when a goal is missed")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	for field := range strings.SplitSeq(*levels, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-inflight: %q is no number of calls", field)
		}
		o.levels = append(o.levels, n)
	}
	if o.conns < 1 || o.rounds < 1 {
		return nil, fmt.Errorf("-conns and -rounds are at least 1")
	}
	return o, nil
}

// run reports whether every goal is met, or that nobody asked.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (met bool, err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return false, err
	}
	debug.SetGCPercent(400) // the generator's own garbage
	scenarios := plan(o.levels, o.only)
	if len(scenarios) == 0 {
		return false, fmt.Errorf("no scenario has %q in its name", o.only)
	}
	servers, err := startAll(ctx, o, stderr)
	defer func() { servers.Stop() }()
	if err != nil {
		return false, err
	}
	c := &comparison{options: o, scenarios: scenarios, servers: servers, log: stderr, samples: map[scenario][]sample{}}
	if o.raw != "" {
		f, err := os.Create(o.raw)
		if err != nil {
			return false, err
		}
		defer f.Close()
		c.raw = json.NewEncoder(f)
	}
	if err := c.run(ctx); err != nil {
		return false, err
	}
	missed := c.report(stdout)
	return missed == 0 || !o.check, nil
}
