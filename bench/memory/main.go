// Command memory measures what buckets in the process take in memory: how much a
// million of them hold, how much is resident while they are charged, how long the
// collection of garbage stops the process, and whether memory stays flat while
// ever new keys come, over an hour of virtual time.
//
// The process collects garbage as the service does. It prints a table, and ends
// with an error where a goal is not met and -strict is given. Start reading at
// measurement.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/extauthz/extauthz/internal/server"
)

// The goals.
const (
	mostHeld  = 300 << 20            // bytes, for a million buckets
	mostPause = 2 * time.Millisecond // p99
	mostDrift = 1.1                  // the last quarter of the churn beside the second
)

func main() {
	defer server.TuneGC()()
	m := measurement{}
	flag.IntVar(&m.live, "live", 1_000_000, "buckets that are held at once")
	flag.IntVar(&m.churn, "churn", 10_000_000, "keys that come, each new, in an hour of virtual time")
	flag.IntVar(&m.callers, "callers", 16, "that charge at the same time")
	flag.DurationVar(&m.charging, "charging", 10*time.Second, "how long the buckets that are held are charged")
	strict := flag.Bool("strict", false, "fail where a goal is not met")
	flag.Parse()
	if err := run(&m, *strict, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "memory:", err)
		os.Exit(1)
	}
}

func run(m *measurement, strict bool, out io.Writer) error {
	paused := pauses()
	held, err := m.held(context.Background())
	if err != nil {
		return err
	}
	churned, err := m.churned(context.Background())
	if err != nil {
		return err
	}
	h := paused()
	_, p50 := quantile(h, .5)
	pauses, p99 := quantile(h, .99)
	w := tabwriter.NewWriter(out, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintln(w, "| \t measured\t goal\t")
	fmt.Fprintln(w, "|--\t--:\t--:\t")
	fmt.Fprintf(w, "| %d live buckets: held\t %s (%d B each)\t %s\t\n", m.live, megabytes(held.bytes), held.bytes/int64(m.live), megabytes(mostHeld))
	fmt.Fprintf(w, "| resident while they are charged\t %s\t \t\n", megabytes(held.resident))
	fmt.Fprintf(w, "| %d new keys in an hour: most buckets at once\t %d\t \t\n", m.churn, churned.most)
	for i, b := range churned.quarters {
		fmt.Fprintf(w, "| held after quarter %d\t %s\t \t\n", i+1, megabytes(b))
	}
	drift := float64(churned.quarters[3]) / float64(churned.quarters[1])
	fmt.Fprintf(w, "| the last beside the second\t %.2f\t %.1f\t\n", drift, mostDrift)
	fmt.Fprintf(w, "| pauses for garbage, median of %d\t %v\t \t\n", pauses, p50.Round(time.Microsecond))
	fmt.Fprintf(w, "| p99\t %v\t %v\t\n", p99.Round(time.Microsecond), mostPause)
	if err := w.Flush(); err != nil {
		return err
	}
	met := held.bytes*1_000_000/int64(m.live) <= mostHeld && p99 <= mostPause && drift <= mostDrift
	if strict && !met {
		return errors.New("a goal is not met")
	}
	return nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/(1<<20)) }
