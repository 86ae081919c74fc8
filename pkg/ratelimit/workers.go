package ratelimit

import (
	"sync"
	"time"
)

// workers run functions at the same time, each in a goroutine that is used
// again: what asks a store goes deep, and a new goroutine would grow its stack
// each time. One that has nothing to do for a while ends. Safe for concurrent
// use.
type workers struct {
	tasks   chan func()
	closed  chan struct{}
	closing sync.Once
}

// idleWorker is how long a worker waits for something to do.
const idleWorker = time.Second

func newWorkers() workers {
	return workers{tasks: make(chan func()), closed: make(chan struct{})}
}

// do has a worker run f. It does not wait.
func (w *workers) do(f func()) {
	select {
	case w.tasks <- f: // one is waiting
	default:
		go w.work(f)
	}
}

func (w *workers) work(f func()) {
	idle := time.NewTimer(idleWorker)
	defer idle.Stop()
	for {
		f()
		idle.Reset(idleWorker)
		select {
		case f = <-w.tasks:
		case <-idle.C:
			return
		case <-w.closed:
			return
		}
	}
}

// end ends those that wait; the others end with what they do.
func (w *workers) end() { w.closing.Do(func() { close(w.closed) }) }
