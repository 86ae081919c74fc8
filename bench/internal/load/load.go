// Package load drives one of Envoy's two services over gRPC, in a closed loop or
// an open one, and measures what that gives and what it costs the server. Requests are
// marshalled before the run and answers are only scanned for their code, so that
// the generator, which shares the machine with the server, takes little of it.
//
// It imports gRPC, Envoy's messages, internal/hist and internal/meter. Start at
// Run.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/extauthz/extauthz/bench/internal/hist"
	"github.com/extauthz/extauthz/bench/internal/meter"
)

// Options say what to run.
type Options struct {
	Address  string // host:port
	Requests [][]byte
	Protocol Protocol
	Conns    int // HTTP/2 connections
	InFlight int // calls at a time, over all connections
	Warmup   time.Duration
	Duration time.Duration
	// Rate has calls begin so often a second, whatever comes of those before,
	// as long as InFlight allows it: an open loop. A call's time then counts from
	// when it was due, so that a server which stops for a while doesn't hide the
	// calls that waited for it. 0 is a closed loop: each worker asks again as soon
	// as it has an answer.
	Rate float64
	// PIDs are the processes whose cost is measured, the server's and its store's.
	PIDs []int
	// Count has its instructions counted: where it slows the server, the times
	// of such a run mean nothing.
	Count bool
}

// Result is what a run came to.
type Result struct {
	Requests                  uint64
	Allowed, Rejected, Failed uint64 // of Requests
	PerSecond                 float64
	P50, P99, P999, Max       time.Duration
	CPU                       time.Duration // of the server, for a request
	Instructions              float64       // of the server, for a request; 0: not counted
	// Others is the share of the machine, from 0 to 1, that neither the server
	// nor the generator used: neighbours, and work that the kernel books to
	// nobody.
	Others float64
	// Err is why a call failed, of one of those that did.
	Err error
}

// Run asks each request once, warms up, and measures. It blocks until it is
// done or ctx ends.
func Run(ctx context.Context, o Options) (Result, error) {
	g, closeAll, err := connect(&o)
	if err != nil {
		return Result{}, err
	}
	defer closeAll()
	if t := g.run(ctx, g.once()); t.failed > 0 {
		return Result{}, fmt.Errorf("asking %s before the run: %w", o.Address, t.err)
	}
	g.run(ctx, g.until(o.Warmup))
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	return g.measure(ctx)
}

// connect makes the connections; they are to be closed.
func connect(o *Options) (g *generator, closeAll func(), err error) {
	g = &generator{Options: o}
	closeAll = func() {
		for _, conn := range g.conns {
			_ = conn.Close() // nothing is under way any more
		}
	}
	for range o.Conns {
		conn, err := grpc.NewClient("passthrough:///"+o.Address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.WaitForReady(true)), grpc.WithDisableServiceConfig())
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("connecting to %s: %w", o.Address, err)
		}
		g.conns = append(g.conns, conn)
	}
	return g, closeAll, nil
}

// generator makes calls.
type generator struct {
	*Options
	conns []*grpc.ClientConn
}

// pick gives the index of a worker's next request and when that is due (the zero
// time: at once), or false at the end.
type pick func() (index int, due time.Time, ok bool)

// once has every request asked once, by the workers together.
func (g *generator) once() func(worker int) pick {
	return func(worker int) pick {
		next := worker - g.InFlight
		return func() (int, time.Time, bool) {
			next += g.InFlight
			return next, time.Time{}, next < len(g.Requests)
		}
	}
}

// until has requests asked in random order for a time.
func (g *generator) until(d time.Duration) func(worker int) pick {
	start := time.Now()
	end := start.Add(d)
	var calls atomic.Int64 // of the open loop
	return func(worker int) pick {
		random := rand.New(rand.NewPCG(1, uint64(worker))) //nolint:gosec // the same each time
		return func() (int, time.Time, bool) {
			i := random.IntN(len(g.Requests))
			if g.Rate <= 0 {
				return i, time.Time{}, time.Now().Before(end)
			}
			due := start.Add(time.Duration(float64(calls.Add(1)-1) / g.Rate * float64(time.Second)))
			time.Sleep(time.Until(due))
			return i, due, due.Before(end)
		}
	}
}

// tally is what came of calls.
type tally struct {
	times                     hist.H
	allowed, rejected, failed uint64
	err                       error
}

func (t *tally) merge(o *tally) {
	t.times.Merge(&o.times)
	t.allowed += o.allowed
	t.rejected += o.rejected
	t.failed += o.failed
	if t.err == nil {
		t.err = o.err
	}
}

// run has every worker make calls until its pick ends.
func (g *generator) run(ctx context.Context, picks func(worker int) pick) *tally {
	tallies := make([]tally, g.InFlight)
	var workers sync.WaitGroup
	for w := range tallies {
		workers.Go(func() { g.work(ctx, g.conns[w%len(g.conns)], picks(w), &tallies[w]) })
	}
	workers.Wait()
	sum := &tallies[0]
	for i := range tallies[1:] {
		sum.merge(&tallies[i+1])
	}
	return sum
}

func (g *generator) work(ctx context.Context, conn *grpc.ClientConn, next pick, t *tally) {
	var reply []byte
	for {
		i, start, ok := next()
		if !ok || ctx.Err() != nil {
			return
		}
		if start.IsZero() {
			start = time.Now()
		}
		err := conn.Invoke(ctx, g.Protocol.method(), g.Requests[i], &reply)
		t.times.Add(time.Since(start))
		verdict := failed
		if err == nil {
			verdict, err = g.Protocol.verdict(reply)
		}
		switch verdict {
		case allowed:
			t.allowed++
		case rejected:
			t.rejected++
		case failed:
			t.failed++
			t.err = err
		}
	}
}

// reading is the state of every meter at a moment.
type reading struct {
	at                 time.Time
	server, self, busy time.Duration
}

func (g *generator) read() (r reading, err error) {
	var errs [3]error
	for _, pid := range g.PIDs {
		cpu, err := meter.CPU(pid)
		r.server += cpu
		errs[0] = errors.Join(errs[0], err)
	}
	r.self, errs[1] = meter.CPU(os.Getpid())
	r.busy, errs[2] = meter.Busy()
	r.at = time.Now()
	return r, errors.Join(errs[:]...)
}

func (g *generator) measure(ctx context.Context) (r Result, err error) {
	runtime.GC() // of what came before, not during the run
	var counters []*meter.Instructions
	if g.Count {
		for _, pid := range g.PIDs {
			counter, err := meter.CountInstructions(pid)
			if err != nil {
				return Result{}, err
			}
			defer func() { _ = counter.Close() }()
			counters = append(counters, counter)
		}
	}
	before, err := g.read()
	if err != nil {
		return Result{}, err
	}
	t := g.run(ctx, g.until(g.Duration))
	after, err := g.read()
	if err != nil {
		return Result{}, err
	}
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	r = resultOf(t, &before, &after)
	for _, counter := range counters {
		n, err := counter.Read()
		if err != nil {
			return Result{}, err
		}
		r.Instructions += float64(n) / float64(max(1, r.Requests))
	}
	return r, nil
}

func resultOf(t *tally, before, after *reading) Result {
	n := t.times.Count()
	took, server := after.at.Sub(before.at), after.server-before.server
	others := after.busy - before.busy - server - (after.self - before.self)
	return Result{
		Requests: n, Allowed: t.allowed, Rejected: t.rejected, Failed: t.failed, Err: t.err,
		PerSecond: float64(n) / took.Seconds(),
		P50:       t.times.Quantile(.5), P99: t.times.Quantile(.99), P999: t.times.Quantile(.999), Max: t.times.Max(),
		CPU:    server / time.Duration(max(1, n)), //nolint:gosec // a count
		Others: max(0, others.Seconds()/(took.Seconds()*float64(runtime.NumCPU()))),
	}
}
