package server

import (
	"context"
	"math"
	"os"
	"runtime"
	"time"
)

// TuneProcessors has the process use as many processors as its load takes, and not
// all that there are, until the function that it returns has been called, or ctx
// ends.
//
// Calls are short, and come in bursts over few connections. With idle processors at
// hand, Go's scheduler spreads each burst over them, wakes threads for it, and has
// them look for more when it is over. On two processors that took half of the CPU
// time of 5,000 calls a second, and made each wait longer: bench/ has the figures.
// GOMAXPROCS in the environment says otherwise.
func TuneProcessors(ctx context.Context) (stop func()) {
	if _, ok := cpuTime(); !ok || os.Getenv("GOMAXPROCS") != "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	p := &processors{used: usedTime, most: mostProcessors, set: func(n int) { runtime.GOMAXPROCS(n) }}
	go func() {
		defer close(done)
		p.run(ctx)
	}()
	return func() { cancel(); <-done }
}

func usedTime() time.Duration {
	used, _ := cpuTime()
	return used
}

// mostProcessors is how many there may be: what Go takes of itself, which follows
// the limit of a container.
func mostProcessors() int {
	runtime.SetDefaultGOMAXPROCS()
	return runtime.GOMAXPROCS(0)
}

const (
	// look is how often the load is looked at.
	look = 50 * time.Millisecond
	// busy is the share of the processors in use above which there are to be more.
	busy = 0.85
	// hot is how many looks in a row have to find them busy: one may be a collection
	// of garbage, which takes what there is.
	hot = 2
	// calm is after how many looks there are to be fewer, if as many would have been
	// too many in each.
	calm = 20
)

// processors are how many processors the process uses.
type processors struct {
	used func() time.Duration // the CPU time of the process so far
	most func() int           // how many there may be; they are used then
	set  func(n int)

	n, limit  int
	limitAge  int     // looks since the limit was asked for
	hot, calm int     // looks in a row
	peak      float64 // processors that were used at most in the calm looks
}

func (p *processors) run(ctx context.Context) {
	p.limit, p.n = p.most(), 1
	p.set(p.n)
	defer func() { p.set(p.limit) }()
	tick := time.NewTicker(look)
	defer tick.Stop()
	at, used := time.Now(), p.used()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, total := time.Now(), p.used()
		if elapsed := now.Sub(at); elapsed > 0 {
			p.look(float64(total-used) / float64(elapsed))
		}
		at, used = now, total
	}
}

// look takes in how many processors the process has used since the last look.
func (p *processors) look(used float64) {
	p.limitAge++
	if used > busy*float64(p.n) {
		p.calm, p.peak = 0, 0
		if p.hot++; p.hot >= hot {
			p.change(2 * p.n)
		}
		return
	}
	p.hot = 0
	p.peak = max(p.peak, used)
	if p.calm++; p.calm >= calm {
		p.change(int(math.Ceil(p.peak / busy)))
	}
}

// change has n of them used, as far as there may be so many.
func (p *processors) change(n int) {
	p.hot, p.calm, p.peak = 0, 0, 0
	asked := n > p.limit && p.limitAge >= calm
	if asked { // it may have been raised; to ask sets it
		p.limit, p.limitAge = p.most(), 0
	}
	if n = min(max(1, n), p.limit); n != p.n || asked {
		p.n = n
		p.set(n)
	}
}
