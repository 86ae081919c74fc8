package decision

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// once has Envoy's attempts at one check charged once. Where a retry policy is
// set, Envoy sends a check again whose answer it didn't get; each attempt has the
// id of the request, which Envoy draws and no client can choose, and the time
// when it began. An attempt that follows one which was charged for the same costs
// nothing.
//
// This is memory of the process: it is bounded, and an attempt that another
// process answers is charged there too. It is safe for concurrent use.
type once struct {
	seed maphash.Seed // so that nobody can make two keys equal

	mu   sync.Mutex
	seen *simplelru.LRU[uint64, *attempt] // guarded by mu, and so are the attempts
}

// attempt is one that was charged, or is being.
type attempt struct {
	ended   bool
	allowed bool          // what it charged is the whole; else what settles
	next    chan struct{} // closed when it has ended; nil while nobody waits
}

// maxAttempts is how many are remembered: several seconds of a busy process.
const maxAttempts = 1 << 15

func newOnce(most int) *once {
	seen, _ := simplelru.NewLRU[uint64, *attempt](most, nil) // the only error is a size below 1
	return &once{seed: maphash.MakeSeed(), seen: seen}
}

// origin is what the attempts at one request have in common, and no other
// request has; and which of its charges are asked for, since several that are
// independent may be of one bucket.
type origin struct {
	id     string
	began  int64
	charge int // index of the first
}

// originOf is the zero origin for requests that can't be told apart: those of
// RLS, which have no id, and checks without the time that Envoy always sends,
// whose id a client may have chosen.
func originOf(reqs []*descriptors.Request) origin {
	if len(reqs) != 1 || reqs[0].ID == "" || reqs[0].Began == 0 {
		return origin{}
	}
	return origin{id: reqs[0].ID, began: reqs[0].Began}
}

// decide has charges decided, or, where they were charged for the same origin
// before, decided without a cost.
func (o *once) decide(ctx context.Context, from origin, ask ratelimit.Ask, decide decider) (ratelimit.Decision, error) {
	key := o.key(from, ask.Charges)
	for {
		before, next := o.begin(key)
		switch {
		case next != nil: // it is being charged
			select {
			case <-next:
				continue
			case <-ctx.Done():
				return ratelimit.Decision{}, ctx.Err()
			}
		case before.ended:
			ask.Charges = uncharged(ask.Charges, before.allowed)
			return decide(ctx, ask)
		}
		d, err := decide(ctx, ask)
		o.end(key, before, ask.Charges, &d, err)
		return d, err
	}
}

// begin is the attempt of a key: one that has ended, or one that the caller is
// to make and end. Where another is being made, next is closed when it ends.
func (o *once) begin(key uint64) (a *attempt, next <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a, ok := o.seen.Get(key)
	if !ok {
		a = new(attempt)
		o.seen.Add(key, a)
		return a, nil
	}
	if a.ended {
		return a, nil
	}
	if a.next == nil {
		a.next = make(chan struct{})
	}
	return a, a.next
}

// end remembers an attempt that was charged, and forgets any other: the next
// one is the first again.
func (o *once) end(key uint64, a *attempt, charges []ratelimit.Charge, d *ratelimit.Decision, err error) {
	charged := err == nil && d.Source != ratelimit.SourceFallback && (d.Allowed || settles(charges))
	o.mu.Lock()
	defer o.mu.Unlock()
	a.ended, a.allowed = true, d.Allowed
	if now, ok := o.seen.Peek(key); !charged && ok && now == a {
		o.seen.Remove(key)
	}
	if a.next != nil {
		close(a.next)
	}
}

func settles(charges []ratelimit.Charge) bool {
	for i := range charges {
		if charges[i].Settle {
			return true
		}
	}
	return false
}

// uncharged are the charges with no cost where they were paid: all, or those
// that settle.
func uncharged(charges []ratelimit.Charge, all bool) []ratelimit.Charge {
	free := make([]ratelimit.Charge, len(charges))
	for i, c := range charges {
		if free[i] = c; all || c.Settle {
			free[i].Cost = ratelimit.TakeNamed()
		}
	}
	return free
}

// key is what is charged for an origin: another filter of the same request that
// is charged for something else is no attempt at the same.
func (o *once) key(from origin, charges []ratelimit.Charge) uint64 {
	var h maphash.Hash
	h.SetSeed(o.seed)
	var number [8]byte
	add := func(text string, n int64) {
		binary.LittleEndian.PutUint64(number[:], uint64(len(text)))
		_, _ = h.Write(number[:])
		_, _ = h.WriteString(text)
		binary.LittleEndian.PutUint64(number[:], uint64(n)) //nolint:gosec // bits
		_, _ = h.Write(number[:])
	}
	add(from.id, from.began)
	add("", int64(from.charge))
	for i := range charges {
		c := &charges[i]
		each, _ := c.Cost.Of("")
		add(c.Query.Key.ID(), each)
		for _, t := range c.Cost.Takes() {
			add(t.Limit, t.Tokens)
		}
	}
	return h.Sum64()
}
