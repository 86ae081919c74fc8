package main

import (
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	"github.com/extauthz/extauthz/bench/internal/figure"
)

// panel is a plot of bars: groups beside each other, a bar of each for every
// subject.
type panel struct {
	title  string
	groups []string
	value  func(group int, subject string) float64 // 0: there is none
}

// plot writes medians into a file; admitted is nil where accuracy wasn't measured.
func (m *measurement) plot(path string, admitted map[string]admissions) error {
	var asked []question
	var paced question
	for _, q := range m.questions() {
		switch {
		case q.rate > 0:
			paced = q
		case q.inFlight == m.levels[0]:
			asked = append(asked, q)
		}
	}
	of := func(q question, subject string, f func(*sample) float64) float64 {
		samples := m.samples[cell{q, subject}]
		if len(samples) == 0 {
			return 0
		}
		return median(figures(samples, f))
	}
	groups := []string{"1 key", "10,000 keys", "rejected"} // in the order of questions
	_, unit := costs()
	panels := []panel{
		{"thousand calls a second", groups, func(g int, s string) float64 { return of(asked[g], s, throughput) / 1000 }},
		{unit + " a call", groups, func(g int, s string) float64 { return of(asked[g], s, cpu) }},
		{"p99 at a steady rate, ms", []string{""}, func(_ int, s string) float64 {
			return of(paced, s, func(x *sample) float64 { return micros(x.P99) / 1000 })
		}},
	}
	if admitted != nil {
		panels = append(panels, panel{"passed at a minute's edge", []string{""}, func(_ int, s string) float64 { return float64(admitted[s].edge) }})
	}
	row := make([]*plot.Plot, len(panels))
	for i := range panels {
		var err error
		if row[i], err = m.panel(&panels[i], i == 0); err != nil {
			return err
		}
	}
	return figure.Write(path, row)
}

func (m *measurement) panel(c *panel, legend bool) (*plot.Plot, error) {
	p := figure.New(c.title, "")
	width := vg.Points(5)
	shown := slices.DeleteFunc(slices.Clone(m.subjects), func(s *subject) bool {
		return s.name == dynamodb // beside the stand-in's milliseconds nothing else would be seen
	})
	for i, s := range shown {
		values := make(plotter.Values, len(c.groups))
		for g := range c.groups {
			values[g] = c.value(g, s.name)
		}
		bars, err := plotter.NewBarChart(values, width)
		if err != nil {
			return nil, err
		}
		bars.LineStyle.Width = 0
		bars.Color, bars.Offset = plotutil.Color(i), width*vg.Length(float64(i)-float64(len(shown)-1)/2)
		p.Add(bars)
		if legend {
			p.Legend.Add(s.name, bars)
		}
	}
	p.NominalX(c.groups...)
	figure.FromZero(p, 1.5)
	return p, nil
}
