package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/extauthz/extauthz/bench/internal/meter"
)

// goal is what the service is to be beside another.
type goal struct {
	peer, question string // of the questions those with this in their name
	what           string
	figure         func(*sample) float64
	most, least    float64 // of the ratio; 0: none
}

func goals() []goal {
	cost, _ := costs()
	all := []goal{
		{peer: ratelimit, question: "allowed", what: cost, figure: cpu, most: 1. / 3},
		{peer: ratelimit, question: "rejected", what: cost, figure: cpu, most: 1. / 2},
		{peer: ratelimit, question: "key", what: "throughput", figure: throughput, least: 1.5},
		{peer: limitador, question: "key", what: cost, figure: cpu, most: 1},
	}
	if meter.Emulated() {
		all = append(all, goal{peer: noop, question: "key", what: cost, figure: cpu, most: 1.15})
	}
	return all
}

// costs are what a call costs, and its unit: where a nanosecond is an instruction,
// a microsecond is a thousand.
func costs() (what, unit string) {
	if meter.Emulated() {
		return "instructions", "k instr"
	}
	return "CPU", "CPU µs"
}

func throughput(x *sample) float64 { return x.PerSecond }
func cpu(x *sample) float64        { return micros(x.CPU) }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func (m *measurement) report(w io.Writer) {
	fmt.Fprintf(w, "%d processors, %d rounds of %v, 1 connection. Medians (least–most).\n\n", runtime.NumCPU(), m.rounds, m.duration)
	_, unit := costs()
	fmt.Fprintln(w, "| | in flight | | calls/s | "+unit+"/call | p50 µs | p99 µs | p99.9 µs | resident MB |")
	fmt.Fprintln(w, "|---|--:|---|--:|--:|--:|--:|--:|--:|")
	for _, q := range m.questions() {
		for _, s := range m.subjects {
			samples := m.samples[cell{question: q, subject: s.name}]
			if len(samples) == 0 {
				continue
			}
			of := func(form string, f func(*sample) float64) string { return spread(form, samples, f) }
			fmt.Fprintf(w, "| %s | %d | %s | %s | %s | %s | %s | %s | %s |\n", q.name, q.inFlight, s.name,
				of("%.0f", throughput), of("%.1f", cpu),
				of("%.0f", func(x *sample) float64 { return micros(x.P50) }),
				of("%.0f", func(x *sample) float64 { return micros(x.P99) }),
				of("%.0f", func(x *sample) float64 { return micros(x.P999) }),
				of("%.0f", func(x *sample) float64 { return x.Resident }))
		}
	}
	fmt.Fprintln(w, "\nBeside the others, ratios within a round:")
	fmt.Fprintln(w, "\n| | in flight | extauthz ÷ | of | ratio | goal | |")
	fmt.Fprintln(w, "|---|--:|---|---|--:|--:|---|")
	for _, g := range goals() {
		m.judge(w, &g)
	}
	fmt.Fprintln(w)
}

func (m *measurement) judge(w io.Writer, g *goal) {
	for _, q := range m.questions() {
		if !strings.Contains(q.name, g.question) || q.rate > 0 {
			continue
		}
		ours, theirs := m.samples[cell{q, extauthz}], m.samples[cell{q, g.peer}]
		var ratios []float64
		for i := range min(len(ours), len(theirs)) {
			ratios = append(ratios, g.figure(&ours[i])/g.figure(&theirs[i]))
		}
		if len(ratios) == 0 {
			continue
		}
		verdict, limit := "met", fmt.Sprintf("≤ %.2f", g.most)
		if g.least > 0 {
			limit = fmt.Sprintf("≥ %.2f", g.least)
		}
		if r := median(ratios); g.most > 0 && r > g.most || r < g.least {
			verdict = "**missed**"
		}
		fmt.Fprintf(w, "| %s | %d | %s | %s | %.2f (%.2f–%.2f) | %s | %s |\n", q.name, q.inFlight, g.peer, g.what,
			median(ratios), slices.Min(ratios), slices.Max(ratios), limit, verdict)
	}
}

// figures are a figure of each sample.
func figures(samples []sample, f func(*sample) float64) []float64 {
	all := make([]float64, len(samples))
	for i := range samples {
		all[i] = f(&samples[i])
	}
	return all
}

// spread is the median of a figure, with the least and the most.
func spread(form string, samples []sample, f func(*sample) float64) string {
	all := figures(samples, f)
	return fmt.Sprintf(form+" ("+form+"–"+form+")", median(all), slices.Min(all), slices.Max(all))
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func reportAccuracy(w io.Writer, subjects []*subject, admitted map[string]admissions) {
	fmt.Fprintf(w, "| | of %d at once, %d allowed | in %v over the edge of a minute, %d a minute allowed |\n", crowd, onceLimit, edgeTime, edgeLimit)
	fmt.Fprintln(w, "|---|--:|--:|")
	for _, s := range subjects {
		if a, ok := admitted[s.name]; ok {
			fmt.Fprintf(w, "| %s | %d | %d |\n", s.name, a.once, a.edge)
		}
	}
}
