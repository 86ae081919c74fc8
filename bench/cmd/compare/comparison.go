package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/extauthz/extauthz/bench/internal/load"
	"github.com/extauthz/extauthz/bench/internal/meter"
)

// sample is what the runs of a scenario gave in one round: the first of each of
// its two kinds that there was.
type sample struct {
	timed   load.Result
	counted load.Result // Instructions alone mean something
}

// comparison is all runs.
type comparison struct {
	*options
	scenarios []scenario
	servers   *servers
	log       io.Writer
	raw       *json.Encoder // nil: nobody wants it

	requests map[scenario][][]byte // by what they consist of alone
	samples  map[scenario][]sample // :: scenario -> by round
	// uncounted says why the machine counts no instructions; nil when it does.
	uncounted error
}

// run makes every run.
func (c *comparison) run(ctx context.Context) error {
	counter, err := meter.CountInstructions(os.Getpid())
	if err != nil {
		c.uncounted = err
	} else if err := counter.Close(); err != nil {
		return err
	}
	c.requests = map[scenario][][]byte{}
	free := meter.Emulated() // to count doesn't slow
	for round := range c.rounds {
		fmt.Fprintf(c.log, "round %d of %d\n", round+1, c.rounds)
		for _, s := range order(c.scenarios, round) {
			r, err := c.measure(ctx, s, free)
			if err != nil {
				return err
			}
			x := sample{timed: r}
			if free {
				x.counted = r
			}
			c.samples[s] = append(c.samples[s], x)
		}
	}
	if c.uncounted != nil || free {
		return nil
	}
	for round := range min(c.counted, c.rounds) {
		fmt.Fprintf(c.log, "counting instructions, round %d\n", round+1)
		for _, s := range order(c.scenarios, round) {
			if c.samples[s][round].counted, err = c.measure(ctx, s, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// rightAnswers is the share of the answers that must be what the scenario is
// about.
const rightAnswers = 0.999

func (c *comparison) measure(ctx context.Context, s scenario, count bool) (load.Result, error) {
	requests, err := c.requestsOf(s)
	if err != nil {
		return load.Result{}, err
	}
	meter.Quiet(ctx, c.patience)
	p := c.servers.of(s)
	r, err := load.Run(ctx, load.Options{
		Address: p.Address, Requests: requests, Protocol: s.protocol, Conns: c.conns, InFlight: s.inFlight,
		Warmup: c.warmup, Duration: c.duration, PIDs: []int{p.PID()}, Count: count,
	})
	if err != nil {
		return r, fmt.Errorf("%s: %w", s.name(), errors.Join(err, p.Gone()))
	}
	right := r.Allowed
	if s.reject {
		right = r.Rejected
	}
	if float64(right) < rightAnswers*float64(r.Requests) || r.Requests == 0 {
		return r, fmt.Errorf("%s: of %d answers %d allowed, %d rejected, %d failed (%w)",
			s.name(), r.Requests, r.Allowed, r.Rejected, r.Failed, r.Err)
	}
	if c.raw == nil {
		return r, nil
	}
	return r, c.raw.Encode(struct {
		Scenario string
		InFlight int
		Counted  bool
		load.Result
	}{s.name(), s.inFlight, count, r})
}

// requestsOf marshals the requests of a scenario once for all rounds.
func (c *comparison) requestsOf(s scenario) ([][]byte, error) {
	key := scenario{protocol: s.protocol, reject: s.reject, tenants: s.tenants}
	if r, ok := c.requests[key]; ok {
		return r, nil
	}
	r, err := s.protocol.Requests(s.limit(), s.tenants)
	c.requests[key] = r
	return r, err
}
