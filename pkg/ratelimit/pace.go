package ratelimit

import (
	"sync"
	"time"
)

// The pace of writes to one bucket from one process. One item of the store
// takes 1,000 writes a second from all processes together, so each begins
// below its share of a few and backs off when told to.
const (
	startPace = 200.0 // writes per second
	minPace   = 1.0
	ahead     = 2.0                    // writes that an idle time may be made up for with
	backOff   = 0.7                    // the pace after a throttled write
	recovery  = 0.005                  // of the start pace, regained each second
	settleFor = 200 * time.Millisecond // throttles this close together are one
)

// pace spaces the writes to one bucket.
type pace struct {
	rate      float64   // writes per second
	next      time.Time // not before this
	throttled time.Time // when it backed off last
	grown     time.Time // when it was raised last
}

// wait is how long until the next write may be sent.
func (p *pace) wait(now time.Time) time.Duration { return max(0, p.next.Sub(now)) }

// hold has the next write wait until then at least.
func (p *pace) hold(until time.Time) {
	if p.next.Before(until) {
		p.next = until
	}
}

// sent notes that a write was sent.
func (p *pace) sent(now time.Time) {
	if p.rate < startPace {
		p.rate = min(startPace, p.rate+recovery*startPace*now.Sub(p.grown).Seconds())
	}
	p.grown = now
	gap := float64(time.Second) / p.rate
	if earliest := now.Add(-time.Duration(ahead * gap)); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(time.Duration(gap))
}

// throttle backs off after a write that the store refused to take.
func (p *pace) throttle(now time.Time) {
	if now.Sub(p.throttled) < settleFor {
		return
	}
	p.throttled, p.grown = now, now
	p.rate = max(minPace, p.rate*backOff)
}

// budget is the most writes that a process makes: a token bucket in real time.
// It is safe for concurrent use.
type budget struct {
	rate float64 // per second; 0: no bound

	mu     sync.Mutex
	tokens float64
	last   time.Time
}

const (
	budgetBurst = 0.1 // seconds of the rate
	knownOnly   = 0.5 // below this share of the burst only known buckets are written
)

// take takes one write; known buckets go before new ones.
func (b *budget) take(now time.Time, known bool) bool {
	if b.rate <= 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	burst := max(1, b.rate*budgetBurst)
	if b.last.IsZero() {
		b.tokens, b.last = burst, now
	} else if d := now.Sub(b.last); d > 0 { // who read the clock first may come last
		b.tokens, b.last = min(burst, b.tokens+d.Seconds()*b.rate), now
	}
	need := 1.0
	if !known {
		need = max(need, burst*knownOnly)
	}
	if b.tokens < need {
		return false
	}
	b.tokens--
	return true
}
