package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/extauthz/extauthz/bench/internal/load"
	"github.com/extauthz/extauthz/bench/internal/meter"
)

// question is what all subjects are asked.
type question struct {
	name     string
	limit    string
	tenants  int
	inFlight int
	rate     float64 // 0: a closed loop
}

func (q *question) rejects() bool { return q.limit == load.Tight }

// cell is a row of a table.
type cell struct {
	question question
	subject  string
}

// sample is what one run gave.
type sample struct {
	load.Result
	Resident float64 // MB, of the service, and of its store
}

// measurement is all runs.
type measurement struct {
	*options
	subjects []*subject
	raw      *json.Encoder // nil: nobody wants it
	samples  map[cell][]sample
}

// manyInFlight is of the open loop: enough that calls begin when they are due.
const manyInFlight = 256

func (o *options) questions() []question {
	var all []question
	for _, n := range o.levels {
		all = append(all,
			question{name: "allowed, 1 key", limit: load.Open, tenants: 1, inFlight: n},
			question{name: "allowed, 10,000 keys", limit: load.Open, tenants: 10_000, inFlight: n},
			question{name: "rejected, 1,000 keys", limit: load.Tight, tenants: 1000, inFlight: n})
	}
	return append(all, question{name: fmt.Sprintf("allowed, 10,000 keys, %.0f/s", o.rate), limit: load.Open, tenants: 10_000, inFlight: manyInFlight, rate: o.rate})
}

func (m *measurement) run(ctx context.Context) error {
	for round := range m.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, m.rounds)
		for _, q := range m.questions() {
			requests, err := load.RateLimit.Requests(q.limit, q.tenants)
			if err != nil {
				return err
			}
			subjects := slices.Clone(m.subjects)
			if round%2 == 1 { // what comes first is not always the same
				slices.Reverse(subjects)
			}
			for _, s := range subjects {
				if q.rejects() && s.rejects == nil {
					continue
				}
				if err := m.ask(ctx, s, q, requests); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// rightAnswers is the share of the answers that must be what was asked for.
const rightAnswers = 0.999

func (m *measurement) ask(ctx context.Context, s *subject, q question, requests [][]byte) error {
	p := s.allows
	if q.rejects() {
		p = s.rejects
	}
	meter.Quiet(ctx, m.patience)
	r, err := load.Run(ctx, load.Options{
		Address: p.Address, Requests: requests, Conns: 1, InFlight: q.inFlight, Rate: q.rate,
		Warmup: m.warmup, Duration: m.duration, PIDs: s.pids(p),
	})
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, errors.Join(err, p.Gone()))
	}
	right := r.Allowed
	if q.rejects() {
		right = r.Rejected
	}
	if r.Requests == 0 || float64(right) < rightAnswers*float64(r.Requests) {
		return fmt.Errorf("%s, %s: of %d answers %d allowed, %d rejected, %d failed (%w)",
			s.name, q.name, r.Requests, r.Allowed, r.Rejected, r.Failed, r.Err)
	}
	x := sample{Result: r}
	for _, pid := range s.pids(p) {
		resident, err := meter.Resident(pid)
		if err != nil {
			return err
		}
		x.Resident += float64(resident) / 1e6
	}
	key := cell{question: q, subject: s.name}
	m.samples[key] = append(m.samples[key], x)
	if m.raw == nil {
		return nil
	}
	return m.raw.Encode(struct {
		Subject, Question string
		InFlight          int
		sample
	}{s.name, q.name, q.inFlight, x})
}
