// Command scale shows what a simulation of the engine at scale found: it reads
// the comma-separated values that TestSimulatedScale of pkg/ratelimit writes,
// prints them as tables, and plots each series into an SVG file. Run by `make
// bench-scale`. Start reading at point.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	in := flag.String("in", "", "the file of comma-separated values")
	out := flag.String("out", ".", "the folder of the plots")
	flag.Parse()
	if err := run(*in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	f, err := os.Open(in) //nolint:gosec // where the user says
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	all, err := read(f)
	if err != nil {
		return fmt.Errorf("reading %s: %w", in, err)
	}
	for _, s := range all {
		if err := s.table(os.Stdout); err != nil {
			return err
		}
		if len(s.points) < 2 {
			continue
		}
		if err := s.plot(filepath.Join(out, "scale-"+s.name+".svg")); err != nil {
			return fmt.Errorf("plotting %s: %w", s.name, err)
		}
	}
	return nil
}
