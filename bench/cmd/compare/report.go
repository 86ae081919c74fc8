package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The goals, against the server that decides nothing.
const (
	mostInstructions = 1.15
	leastThroughput  = 0.85
)

// mostOfPlain is the goal of what has everything switched on, against the plain
// path.
const mostOfPlain = 1.5

const header = `
| in flight | | req/s | p50 µs | p99 µs | CPU µs/req | k instr/req | req/s ÷ floor | CPU ÷ floor | instr ÷ floor | others |
|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
`

// report prints the table and what it says about the goals, and returns how many
// are missed.
func (c *comparison) report(w io.Writer) (missed int) {
	fmt.Fprintf(w, "\n%d processors, %d rounds of %v, %d connections. Medians; ratios: median (least–most) of those within a round.\n",
		runtime.NumCPU(), c.rounds, c.duration, c.conns)
	fmt.Fprintln(w, "The floor is the no-op server; of ten rules and all headers, the plain path.")
	fmt.Fprint(w, header)
	for _, s := range c.scenarios {
		c.row(w, s)
	}
	fmt.Fprintln(w)
	if c.uncounted != nil {
		fmt.Fprintf(w, "No instructions: this machine doesn't count them (%v). CPU time stands in for them below; it moves with neighbours and caches.\n", c.uncounted)
	}
	for _, s := range c.scenarios {
		if s.compared() {
			missed += c.judge(w, s)
		}
	}
	if missed == 0 {
		fmt.Fprintln(w, "Every goal is met.")
	}
	return missed
}

// judge says which goals a scenario misses.
func (c *comparison) judge(w io.Writer, s scenario) (missed int) {
	cost, what := c.ratios(s, instructions), "instructions"
	if c.uncounted != nil {
		cost, what = c.ratios(s, cpu), "CPU time"
	}
	name := fmt.Sprintf("%s, %d in flight", s.name(), s.inFlight)
	whose, most := "the no-op's", mostInstructions
	if s.server == full {
		whose, most = "the plain path's", mostOfPlain
	}
	if m := median(cost); m > most {
		fmt.Fprintf(w, "Missed: %s: %s %.2f of %s, at most %.2f is the goal.\n", name, what, m, whose, most)
		missed++
	}
	if s.server == full {
		return missed
	}
	if m := median(c.ratios(s, throughput)); m < leastThroughput {
		fmt.Fprintf(w, "Missed: %s: throughput %.2f of the no-op's, at least %.2f is the goal.\n", name, m, leastThroughput)
		missed++
	}
	return missed
}

// figure is one of a sample's; 0 when it wasn't measured.
type figure func(*sample) float64

func throughput(x *sample) float64   { return x.timed.PerSecond }
func cpu(x *sample) float64          { return micros(x.timed.CPU) }
func instructions(x *sample) float64 { return x.counted.Instructions / 1000 }
func p50(x *sample) float64          { return micros(x.timed.P50) }
func p99(x *sample) float64          { return micros(x.timed.P99) }
func others(x *sample) float64       { return 100 * x.timed.Others }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func (c *comparison) row(w io.Writer, s scenario) {
	cells := []string{fmt.Sprint(s.inFlight), s.name()}
	for _, col := range []struct {
		figure figure
		form   string
	}{{throughput, "%.0f"}, {p50, "%.0f"}, {p99, "%.0f"}, {cpu, "%.1f"}, {instructions, "%.1f"}} {
		cell := ""
		if m := median(c.figures(s, col.figure)); m > 0 {
			cell = fmt.Sprintf(col.form, m)
		}
		cells = append(cells, cell)
	}
	for _, f := range []figure{throughput, cpu, instructions} {
		ratios := c.ratios(s, f)
		if len(ratios) == 0 || !s.compared() {
			cells = append(cells, "")
			continue
		}
		cells = append(cells, fmt.Sprintf("%.2f (%.2f–%.2f)", median(ratios), slices.Min(ratios), slices.Max(ratios)))
	}
	cells = append(cells, fmt.Sprintf("%.0f %%", median(c.figures(s, others))))
	fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
}

// figures are those of every round that measured them.
func (c *comparison) figures(s scenario, f figure) []float64 {
	var all []float64
	for i := range c.samples[s] {
		all = append(all, f(&c.samples[s][i]))
	}
	return all
}

// ratios are those to the floor of the same round.
func (c *comparison) ratios(s scenario, f figure) []float64 {
	var all []float64
	floors := c.samples[s.floor()]
	for i := range c.samples[s] {
		if x, floor := f(&c.samples[s][i]), f(&floors[i]); x > 0 && floor > 0 {
			all = append(all, x/floor)
		}
	}
	return all
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
