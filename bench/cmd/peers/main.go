// Command peers measures extauthz serve side by side with others that do its
// work: envoyproxy/ratelimit with Redis, and Limitador in memory, and with a gRPC
// server that decides nothing. It starts all, asks each the same, round after
// round, so that the drift of the machine falls on all alike, and prints tables of
// medians with ratios that were taken within each round. README.md beside
// bench/go.mod says how the others are built.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
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
	extauthz, noop, standIn     string
	ratelimit, redis, limitador string // empty: not run
	configs                     string
	levels                      []int
	rounds                      int
	warmup, duration, patience  time.Duration
	rate                        float64
	accuracy                    bool
	raw, plot                   string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func parse() (*options, error) {
	o := new(options)
	flag.StringVar(&o.extauthz, "extauthz", "../bin/extauthz", "the service's binary")
	flag.StringVar(&o.noop, "noop", "../bin/bench/noop", "the binary of the server that decides nothing")
	flag.StringVar(&o.standIn, "standin", "../bin/bench/store", "the binary of the stand-in for DynamoDB; empty: not run")
	flag.StringVar(&o.ratelimit, "ratelimit", "", "envoyproxy/ratelimit's binary; empty: not run")
	flag.StringVar(&o.redis, "redis", "redis-server", "Redis's binary")
	flag.StringVar(&o.limitador, "limitador", "", "Limitador's binary; empty: not run")
	flag.StringVar(&o.configs, "configs", "peers", "the folder of all configurations")
	levels := flag.String("inflight", "16,64", "calls in flight, several levels between commas")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds")
	flag.DurationVar(&o.duration, "duration", time.Second, "measured time of each run")
	flag.DurationVar(&o.warmup, "warmup", 200*time.Millisecond, "unmeasured time before each run")
	flag.DurationVar(&o.patience, "patience", time.Second, "how long to wait before a run for neighbours to be quiet")
	flag.Float64Var(&o.rate, "rate", 5000, "calls a second where latency is measured")
	flag.BoolVar(&o.accuracy, "accuracy", true, "measure accuracy too, which takes two minutes")
	flag.StringVar(&o.raw, "raw", "", "write every run's result to this file, as a line of JSON")
	flag.StringVar(&o.plot, "plot", "", "plot the medians into this SVG file")
	flag.Parse()
	for field := range strings.SplitSeq(*levels, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-inflight: %q is no number of calls", field)
		}
		o.levels = append(o.levels, n)
	}
	if o.rounds < 1 || o.rate <= 0 {
		return nil, fmt.Errorf("-rounds is at least 1, -rate above 0")
	}
	return o, nil
}

func run(ctx context.Context) error {
	o, err := parse()
	if err != nil {
		return err
	}
	debug.SetGCPercent(400) // the generator's own garbage
	group, subjects, err := startAll(ctx, o)
	defer group.Stop()
	if err != nil {
		return err
	}
	m := &measurement{options: o, subjects: subjects, samples: map[cell][]sample{}}
	if o.raw != "" {
		f, err := os.Create(o.raw)
		if err != nil {
			return err
		}
		defer f.Close()
		m.raw = json.NewEncoder(f)
	}
	if err := m.run(ctx); err != nil {
		return err
	}
	m.report(os.Stdout)
	var admitted map[string]admissions
	if o.accuracy {
		if admitted, err = accuracy(ctx, subjects); err != nil {
			return err
		}
		reportAccuracy(os.Stdout, subjects, admitted)
	}
	if o.plot == "" {
		return nil
	}
	return m.plot(o.plot, admitted)
}
