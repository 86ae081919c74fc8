package main

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg/draw"

	"github.com/extauthz/extauthz/bench/internal/figure"
)

// panel is one of a series' plots: lines over what the series varies.
type panel struct {
	title string
	lines []line
}

type line struct {
	name string
	of   func(point) float64
}

func column(name string) func(point) float64 { return func(p point) float64 { return p[name] } }

func panels() []panel {
	return []panel{
		{"writes per request", []line{{"", point.writes}}},
		{"latency of those that wait, ms", []line{{"p50", column("p50_ms")}, {"p99", column("p99_ms")}}},
		{"parts", []line{{"admitted ÷ exact", point.accuracy}, {"fallback", point.fallback}}},
		{"remembered per process, MB", []line{{"", func(p point) float64 { return p["kilobytes"] / 1024 }}}},
	}
}

// plot writes a series' panels into a file, beside each other.
func (s *series) plot(path string) error {
	row := make([]*plot.Plot, 0, len(panels()))
	for _, c := range panels() {
		p, err := s.panel(c)
		if err != nil {
			return err
		}
		row = append(row, p)
	}
	return figure.Write(path, row)
}

// panel draws one; what is varied by factors has a logarithmic axis.
func (s *series) panel(c panel) (*plot.Plot, error) {
	p := figure.New(c.title, s.name)
	if s.points[0]["x"] > 0 {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	for i, l := range c.lines {
		xys := make(plotter.XYs, len(s.points))
		for j, at := range s.points {
			xys[j].X, xys[j].Y = at["x"], l.of(at)
		}
		drawn, dots, err := plotter.NewLinePoints(xys)
		if err != nil {
			return nil, err
		}
		drawn.Color, dots.Color, dots.Shape = plotutil.Color(i), plotutil.Color(i), draw.CircleGlyph{}
		p.Add(drawn, dots)
		if l.name != "" {
			p.Legend.Add(l.name, drawn)
		}
	}
	figure.FromZero(p, 1.1)
	return p, nil
}
