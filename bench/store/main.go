// Command store measures what a charge on the DynamoDB store costs its client:
// the limiter with the store, beside the bare SDK's call, on a stand-in for
// DynamoDB with a fixed latency and 1,000 writes a second for each key. The
// stand-in is a process of its own, so that its CPU time is not the client's.
//
// The client collects garbage and uses processors as the service does. It prints a
// table, and ends with an error where a goal is not met. Start reading at compare.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/extauthz/extauthz/internal/server"
)

func main() {
	standing := flag.Bool("stand-in", false, "be the stand-in, until the input ends")
	listen := flag.String("listen", "", "be the stand-in at this `address`, until killed")
	writes := flag.Float64("writes", 1000, "writes per second that a key takes")
	var c comparison
	flag.DurationVar(&c.latency, "latency", 5*time.Millisecond, "how long a write takes")
	flag.DurationVar(&c.duration, "duration", 3*time.Second, "of each measurement")
	flag.IntVar(&c.rounds, "rounds", 5, "each measures all")
	flag.IntVar(&c.callers, "callers", 256, "that charge at the same time")
	flag.IntVar(&c.keys, "keys", 10_000, "buckets, where they are many")
	flag.BoolVar(&c.strict, "strict", false, "fail where a goal is not met")
	profile := flag.String("cpuprofile", "", "write a profile there; with one round")
	flag.StringVar(&c.profiled, "profiled", "hot", "what it is of: hot, many or bare")
	var long soak
	flag.DurationVar(&long.length, "soak", 0, "charge so long at a steady rate instead, and show what that takes")
	flag.DurationVar(&long.each, "soak-row", 30*time.Second, "a row's time of it")
	flag.Float64Var(&long.rate, "soak-rate", 10_000, "charges a second of it")
	flag.IntVar(&long.keys, "soak-keys", 100_000, "buckets of it")
	flag.Parse()
	var err error
	switch {
	case *listen != "":
		server := http.Server{Addr: *listen, Handler: newStandIn(c.latency, *writes), ReadHeaderTimeout: 10 * time.Second}
		err = server.ListenAndServe()
	case *standing:
		err = newStandIn(c.latency, *writes).serve(os.Stdin, os.Stdout)
	default:
		err = run(&c, &long, *profile, *writes)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "store:", err)
		os.Exit(1)
	}
}

func run(c *comparison, long *soak, profile string, writes float64) (err error) {
	defer server.TuneGC()()
	defer server.TuneProcessors(context.Background())()
	url, stop, err := startStandIn(c.latency, writes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if long.length > 0 {
		return long.run(context.Background(), url, os.Stdout)
	}
	if profile != "" {
		f, err := os.Create(profile) //nolint:gosec // where the user says
		if err != nil {
			return err
		}
		c.profile = func(measure func() error) error {
			if err := pprof.StartCPUProfile(f); err != nil {
				return err
			}
			defer pprof.StopCPUProfile()
			return measure()
		}
	}
	return c.run(context.Background(), url, os.Stdout)
}

// startStandIn starts this program as the stand-in, and returns its URL and
// what ends it.
func startStandIn(latency time.Duration, writes float64) (url string, stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	//nolint:gosec // this program itself
	cmd := exec.Command(self, "-stand-in", "-latency", latency.String(), "-writes", fmt.Sprint(writes))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	url, err = bufio.NewReader(out).ReadString('\n')
	stop = func() error {
		return errors.Join(ignore(in.Close(), os.ErrClosed), cmd.Wait())
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("the stand-in says no address: %w", err), stop())
	}
	return strings.TrimSpace(url), stop, nil
}

func ignore(err error, known ...error) error {
	for _, k := range append(known, io.EOF) {
		if errors.Is(err, k) {
			return nil
		}
	}
	return err
}
