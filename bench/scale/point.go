package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// point is one run of the simulation, by the names of its columns.
type point map[string]float64

// series are runs that vary one thing.
type series struct {
	name   string
	points []point
}

// perMillion is the price of a million write units, on demand, us-east-1.
const perMillion = 0.625

// A write is 1 unit, a refused one too; one that is throttled costs nothing.
func (p point) writes() float64   { return (p["writes"] - p["throttled"]) / p["requests"] }
func (p point) price() float64    { return p.writes() * perMillion }
func (p point) accuracy() float64 { return p["admitted"] / p["ideal"] }
func (p point) fallback() float64 { return (p["late"] + p["failed"]) / p["requests"] }
func (p point) overload() float64 { return p["requests"] / p["ideal"] }

// read reads the series in their order.
func read(r io.Reader) (out []series, err error) {
	rows, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(rows) < 2 {
		return nil, errors.New("no run is there")
	}
	for _, row := range rows[1:] {
		p := point{}
		for i, name := range rows[0][1:] {
			if p[name], err = strconv.ParseFloat(row[i+1], 64); err != nil {
				return nil, fmt.Errorf("column %s: %w", name, err)
			}
		}
		if n := len(out); n == 0 || out[n-1].name != row[0] {
			out = append(out, series{name: row[0]})
		}
		s := &out[len(out)-1]
		s.points = append(s.points, p)
	}
	return out, nil
}

// table prints a series in Markdown.
func (s *series) table(w io.Writer) error {
	name := s.name
	if len(s.points) == 1 { // nothing is varied
		name = "run"
	}
	_, err := fmt.Fprintf(w, "\n**By %s**\n\n| %s | requests/s | requests | allowed by exact buckets | writes per request | $ per million requests | admitted ÷ exact | fallback | p50, p99 of those that wait | kB remembered, per process |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n", s.name, name)
	for _, p := range s.points {
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "| %g | %.0f | %.0f | %.0f %% | %.3f | %.3f | %.4f | %.2f %% | %.0f, %.0f ms | %.0f |\n",
			p["x"], p["requests_per_second"], p["requests"], 100/p.overload(),
			p.writes(), p.price(), p.accuracy(), 100*p.fallback(), p["p50_ms"], p["p99_ms"], p["kilobytes"])
	}
	return err
}
