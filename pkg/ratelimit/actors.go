package ratelimit

import (
	"hash/maphash"
	"sync"
	"time"
)

// env is what the engine needs of the world. The simulation has its own, with
// virtual time.
type env interface {
	now() instant
	// after calls f once, not before d has passed. It does not call it itself.
	after(d time.Duration, f func())
	// apply and get ask the store, and call done with the answer. They neither
	// block nor call done themselves.
	apply(w *Write, done func(State, error))
	get(k Key, done func(State, error))
	// jitter is a random time of at most d.
	jitter(d time.Duration) time.Duration
}

// instant is one reading of both clocks. By one the buckets are charged: it is
// the caller's, and may stand still or step. By the other the engine waits: it
// runs whatever the first does, so that every wait ends.
type instant struct {
	clock  time.Time
	steady time.Time
}

// actors is the engine for a store that is somewhere else: one actor for each
// bucket that has work.
type actors struct {
	env    env
	slack  int64 // milliseconds, see situation
	seen   *seen
	budget budget
	seed   maphash.Seed
	shards [64]shard
}

// shard is a share of the actors.
type shard struct {
	mu       sync.Mutex
	actors   map[string]*actor // :: Key.ID -> actor
	finished jobs              // to be told once mu is released
	spare    *actor            // one that was not needed
}

// jobs is a list of jobs in order.
type jobs struct{ first, last *job }

func (l *jobs) add(j *job) {
	if l.first == nil {
		l.first = j
	} else {
		l.last.next = j
	}
	l.last = j
}

// unlock releases the shard and tells the jobs that were finished.
func (s *shard) unlock() {
	j := s.finished.first
	s.finished = jobs{}
	s.mu.Unlock()
	for j != nil {
		next := j.next
		j.next = nil
		j.done(j) // who is told may use it again
		j = next
	}
}

func newActors(e env, slack time.Duration, s *seen, maxWrites float64) *actors {
	a := &actors{env: e, slack: slack.Milliseconds(), seen: s, budget: budget{rate: maxWrites}, seed: maphash.MakeSeed()}
	for i := range a.shards {
		a.shards[i].actors = map[string]*actor{}
	}
	return a
}

func (e *actors) shard(id string) *shard {
	return &e.shards[maphash.String(e.seed, id)%uint64(len(e.shards))]
}

// submit hands a job to its bucket's actor. Its done is called from here when
// nothing needs to be asked, else later.
func (e *actors) submit(k Key, j *job) {
	s := e.shard(k.ID())
	s.mu.Lock()
	now := e.env.now()
	a := s.actors[k.ID()]
	known := a != nil
	if !known {
		a = s.actor()
		*a = actor{engine: e, shard: s, key: k, pace: pace{rate: startPace}}
		if v, ok := e.seen.get(k.ID()); ok {
			a.known, a.sight, a.pace.next = true, v, v.next
		}
	}
	j.since = now.steady
	switch answered := a.answer(j, now, true); {
	case answered && known:
		a.retire(now)
	case answered:
		s.spare = a
	default:
		s.actors[k.ID()] = a
		a.queue = append(a.queue, j)
		a.step(now)
	}
	s.unlock()
}

// actor is one that nobody knows yet.
func (s *shard) actor() *actor {
	if a := s.spare; a != nil {
		s.spare = nil
		return a
	}
	return new(actor)
}

// abandon is called by a caller that waits no longer. One that is not sent yet
// never will be. Of one that is out, keep says whether what it takes stays
// taken, because the caller was admitted all the same; else it is given back.
// It reports whether the outcome is unknown; where it is known, the job is
// done.
func (e *actors) abandon(k Key, j *job, keep bool) (unknown bool) {
	s := e.shard(k.ID())
	s.mu.Lock()
	defer s.unlock()
	switch {
	case j.outcome != outcomeNone:
		return false
	case j.inFlight || j.kind == jobSettle: // what settles is booked whoever waits
		j.abandoned, j.keep = true, keep
		return true
	}
	if a := s.actors[k.ID()]; a != nil {
		now := e.env.now()
		a.drop([]*job{j})
		a.fail(j, ErrNotApplied, now)
		a.retire(now)
	}
	return false
}

// len is how many actors there are.
func (e *actors) len() (n int) {
	for i := range e.shards {
		e.shards[i].mu.Lock()
		n += len(e.shards[i].actors)
		e.shards[i].mu.Unlock()
	}
	return n
}

// busy reports whether any actor has something to do, beside waiting for its
// pace.
func (e *actors) busy() bool {
	for i := range e.shards {
		s := &e.shards[i]
		s.mu.Lock()
		for _, a := range s.actors {
			if len(a.queue) > 0 || len(a.flights) > 0 {
				s.mu.Unlock()
				return true
			}
		}
		s.mu.Unlock()
	}
	return false
}
