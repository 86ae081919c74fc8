package recent

import (
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// How many denials are kept, so that one who sends without end neither costs
// much nor washes the others away.
const (
	// ringSize is how many are held.
	ringSize = 1024
	// perSecond is how many are taken in a second: of one rule and bucket one, of
	// all together these.
	perSecond = 64
	// gateSlots is of how many rules and buckets a process knows that one was
	// taken: of those that share a slot, the last.
	gateSlots = 4096
	// maxErr is how much of an error's text is kept, in bytes.
	maxErr = 400
)

// Denial is one call that was denied, or that a rule which isn't enforced would
// have.
type Denial struct {
	Seq    uint64 // counts those that were kept
	At     time.Time
	Shadow bool // nobody was denied: the rule isn't enforced

	Protocol string // empty of a shadow
	Rule     string // empty where no rule took the request
	Reason   string
	Source   string // what the decision rests on; empty where no bucket was asked
	Err      string // why a request is invalid, or what the store said

	// Whom the rule has charged, empty where it hasn't.
	Namespace, Entity, Resource string
	// Parent is the entity whose limit it was, empty when that is Entity.
	Parent string
	// Limit is the one that was short; a zero Limit where none was.
	Limit      ratelimit.Limit
	Cost       int64 // tokens asked of it
	RetryAfter time.Duration
}

// about says whom the denial is about. What comes from a request is copied, so
// that none is kept for it.
func (d *Denial) about(key ratelimit.Key, b *ratelimit.BucketStatus, l *ratelimit.LimitStatus) {
	if key.IsZero() {
		return
	}
	d.Namespace, d.Entity, d.Resource = strings.Clone(key.Namespace()), strings.Clone(key.Entity()), strings.Clone(key.Resource())
	if b.Parent > 0 {
		d.Parent = strings.Clone(b.Key.Entity())
	}
	if l != nil {
		d.Limit, d.Cost = l.Limit, l.Cost
	}
}

// ring holds the last denials.
type ring struct {
	seen atomic.Uint64
	gate [gateSlots]atomic.Uint64 // :: hash -> the last one that passed, and when

	mu     sync.Mutex
	second int64
	taken  int    // in that second
	next   uint64 // Seq of the next one
	slots  []Denial
}

// pass reports whether a denial is to be kept. Most aren't when there are many,
// and are told so without a lock.
func (r *ring) pass(hash uint64, now time.Time) bool {
	slot, second := &r.gate[hash%gateSlots], now.Unix()
	mark := hash&^math.MaxUint32 | uint64(second)&math.MaxUint32 //nolint:gosec // bits: whose, and when
	if slot.Load() == mark || slot.Swap(mark) == mark {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.second != second {
		r.second, r.taken = second, 0
	}
	r.taken++
	return r.taken <= perSecond
}

// add keeps a denial in the place of the oldest.
func (r *ring) add(d *Denial) {
	if len(d.Err) > maxErr {
		d.Err = d.Err[:maxErr]
	}
	d.Err, d.Rule = strings.Clone(d.Err), strings.Clone(d.Rule)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	d.Seq = r.next
	if len(r.slots) < ringSize {
		r.slots = append(r.slots, *d)
		return
	}
	r.slots[(r.next-1)%ringSize] = *d
}

// Selection says which denials are wanted; what is empty selects all.
type Selection struct {
	Namespace, Entity, Resource, Rule string

	Before uint64 // those with a lower Seq; 0: from the newest on
	Limit  int    // how many at most; 0: all
}

func (s *Selection) takes(d *Denial) bool {
	for _, pair := range [...][2]string{
		{s.Namespace, d.Namespace}, {s.Resource, d.Resource}, {s.Rule, d.Rule},
	} {
		if pair[0] != "" && pair[0] != pair[1] {
			return false
		}
	}
	return s.Entity == "" || s.Entity == d.Entity || s.Entity == d.Parent
}

// list are the denials that are wanted, newest first.
func (r *ring) list(s Selection) []Denial {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []Denial
	for i := range uint64(len(r.slots)) {
		d := &r.slots[(r.next-1-i)%ringSize]
		if s.Before > 0 && d.Seq >= s.Before || !s.takes(d) {
			continue
		}
		found = append(found, *d)
		if len(found) == s.Limit {
			break
		}
	}
	return found
}
