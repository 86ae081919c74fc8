package ratelimit_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/ratelimit"
	"github.com/extauthz/extauthz/pkg/ratelimit/storetest"
)

// The histories of this file are of one bucket that gains nothing while they
// last: what it holds is what it was given, less what was taken.
const (
	bucketTokens  = 10
	historyChecks = 30 * time.Second
	// A denial and a look may rest on a state this old (charge.md 2.7), and a
	// state is as old as the store's answer took.
	oldState = time.Second + 500*time.Millisecond
	// What is out when its caller gives up comes to its end by then: a charge is
	// not sent again; settlements and credits are, where they were not applied.
	lateCharge = 600 * time.Millisecond
	lateOther  = 3 * time.Second
)

// step is what a client asks of the bucket, of n tokens.
type step struct {
	kind string // take, settle, back, look; give-back: of a take that nobody waited for
	n    int64
	id   int // of a step whose outcome is unknown
}

// answer is what it was told. An unknown one may have happened, then or later.
type answer struct {
	unknown, denied bool
	left            int64 // told by a look
}

// bucket is the model: what is left, and which takes of unknown outcome
// happened and were not given back. It is comparable.
type bucket struct {
	left  int64
	taken uint32
}

// after are the buckets that a step can leave when it is answered so; none when
// the bucket could not have answered so.
func (b bucket) after(s step, a answer) []bucket {
	settled := bucket{b.left - s.n, b.taken}
	credited := bucket{min(bucketTokens, b.left+s.n), b.taken}
	switch {
	case s.kind == "look":
		return only(b, b.left == a.left)
	case s.kind == "give-back" && b.taken&(1<<s.id) != 0:
		credited.taken &^= 1 << s.id
		return []bucket{b, credited}
	case s.kind == "give-back":
		return []bucket{b}
	case s.kind == "back" && a.unknown:
		return []bucket{b, credited}
	case s.kind == "back":
		return []bucket{credited}
	case s.kind == "settle" && a.unknown:
		return []bucket{b, settled}
	case s.kind == "settle":
		return []bucket{settled}
	case a.unknown && b.left >= s.n:
		settled.taken |= 1 << s.id
		return []bucket{b, settled}
	case a.unknown:
		return []bucket{b}
	case a.denied:
		return only(b, b.left < s.n)
	}
	return only(settled, b.left >= s.n)
}

func only(b bucket, ok bool) []bucket {
	if !ok {
		return nil
	}
	return []bucket{b}
}

// linearizable is whether one bucket, asked one step at a time, can have given
// the answers of a history.
func linearizable(history []porcupine.Operation) porcupine.CheckResult {
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{bucket{left: bucketTokens}} },
		Step: func(state, input, output any) (next []any) {
			for _, b := range state.(bucket).after(input.(step), output.(answer)) {
				next = append(next, b)
			}
			return next
		},
	}
	return porcupine.CheckOperationsTimeout(model.ToModel(), history, historyChecks)
}

// TestLinearizable has 3 clients with engines of their own do 20 steps on one
// bucket of a store that loses and delays writes and answers: some order of
// the steps, each at some moment between its call and its return, explains all
// that the clients were told.
func TestLinearizable(t *testing.T) {
	seen := map[string]int{}
	for _, seed := range historySeeds(t, 200) {
		var h []porcupine.Operation
		synctest.Test(t, func(t *testing.T) { h = record(t, seed) })
		for _, o := range h {
			seen[fmt.Sprintf("%s %t %t", o.Input.(step).kind, o.Output.(answer).unknown, o.Output.(answer).denied)]++
		}
		if got := linearizable(h); got != porcupine.Ok {
			slices.SortFunc(h, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
			for _, o := range h {
				t.Logf("client %d: %v -> %v from %v to %v", o.ClientId, o.Input, o.Output, time.Duration(o.Call), time.Duration(o.Return))
			}
			t.Errorf("EXTAUTHZ_SEED=%d: %s", seed, got)
		}
	}
	if os.Getenv("EXTAUTHZ_SEED") == "" && len(seen) < 9 {
		t.Errorf("too few kinds of answers to say anything: %v", seen)
	}
}

// TestLinearizableCanFail has histories that no bucket can have given.
func TestLinearizableCanFail(t *testing.T) {
	op := func(s step, a answer, call, back int64) porcupine.Operation {
		return porcupine.Operation{Input: s, Output: a, Call: call, Return: back}
	}
	for name, c := range map[string]struct {
		history []porcupine.Operation
		want    porcupine.CheckResult
	}{
		"takes what is there":       {[]porcupine.Operation{op(step{"take", 10, 0}, answer{}, 0, 1), op(step{"take", 1, 0}, answer{denied: true}, 2, 3)}, porcupine.Ok},
		"more than there was":       {[]porcupine.Operation{op(step{"take", 10, 0}, answer{}, 0, 2), op(step{"take", 1, 0}, answer{}, 1, 3)}, porcupine.Illegal},
		"denied though there":       {[]porcupine.Operation{op(step{"take", 9, 0}, answer{}, 0, 2), op(step{"take", 1, 0}, answer{denied: true}, 1, 3)}, porcupine.Illegal},
		"unknown may have happened": {[]porcupine.Operation{op(step{"take", 9, 0}, answer{unknown: true}, 0, 9), op(step{"take", 2, 0}, answer{denied: true}, 1, 3)}, porcupine.Ok},
		"unknown, but not twice":    {[]porcupine.Operation{op(step{"take", 4, 0}, answer{unknown: true}, 0, 9), op(step{"look", 0, 0}, answer{left: 2}, 5, 6)}, porcupine.Illegal},
		"given back, but not twice": {[]porcupine.Operation{op(step{"take", 4, 0}, answer{}, 0, 1), op(step{"back", 2, 0}, answer{}, 2, 3), op(step{"look", 0, 0}, answer{left: 10}, 5, 6)}, porcupine.Illegal},
	} {
		if got := linearizable(c.history); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// historySeeds are the seeds of a test: few, ten times as many, or the one that
// EXTAUTHZ_SEED names.
func historySeeds(t *testing.T, few uint64) []uint64 {
	t.Helper()
	if text := os.Getenv("EXTAUTHZ_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return []uint64{seed}
	}
	if os.Getenv("EXTAUTHZ_TEST_LONG") != "" {
		few *= 10
	}
	seeds := make([]uint64, few)
	for i := range seeds {
		seeds[i] = uint64(i) + 1
	}
	return seeds
}

// record runs 3 clients, 20 steps in all, and writes down what they see.
func record(t *testing.T, seed uint64) []porcupine.Operation {
	t.Helper()
	r := &recorder{start: time.Now()}
	store := storetest.Faulty(embedstore.New(embedstore.Config{}), faults(seed))
	limit := ratelimit.Custom("n", bucketTokens, 1, ratelimit.MaxPeriod)
	var wg sync.WaitGroup
	for id := range 3 {
		l, err := ratelimit.New(ratelimit.Config{Store: store, Resolver: alike{limit}, Remote: &ratelimit.Remote{}})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			c := &client{recorder: r, id: id, limiter: l, rng: rand.New(rand.NewPCG(seed, uint64(id)))}
			for range (20 + id) / 3 {
				c.step(t)
			}
			if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return r.history
}

// faults loses one write in three, in every way there is, and holds others up.
func faults(seed uint64) storetest.Plan {
	return func(c storetest.Call) storetest.Fault {
		rng := rand.New(rand.NewPCG(seed, uint64(c.N)))
		f := storetest.Fault{
			Before: time.Duration(rng.IntN(40)) * time.Millisecond,
			After:  time.Duration(rng.IntN(40)) * time.Millisecond,
		}
		var lost storetest.Fault
		switch rng.IntN(12) {
		case 0, 1:
			lost = storetest.Unknown(true)
		case 2:
			lost = storetest.Unknown(false)
		case 3:
			lost = storetest.NotApplied()
		case 4:
			return storetest.Stuck()
		}
		f.Lost, f.Err = lost.Lost, lost.Err
		return f
	}
}

// alike is a resolver that knows one limit.
type alike struct{ limit ratelimit.Limit }

// Resolve implements ratelimit.Resolver.
func (a alike) Resolve(_ context.Context, q ratelimit.Query) (ratelimit.Resolution, error) {
	return ratelimit.Resolution{Targets: []ratelimit.Target{{Key: q.Key, Limits: []ratelimit.Limit{a.limit}}}}, nil
}

// recorder keeps what clients saw.
type recorder struct {
	start time.Time

	mu      sync.Mutex
	unknown int
	history []porcupine.Operation
}

// told writes a step down.
func (r *recorder) told(client int, s step, a answer, called time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := porcupine.Operation{
		ClientId: client, Call: int64(called.Sub(r.start)), Return: int64(time.Since(r.start)),
	}
	if a.denied || s.kind == "look" {
		o.Call = max(0, o.Call-int64(oldState))
	}
	late := o
	if a.unknown {
		s.id = r.unknown
		r.unknown++
		late.Return += int64(lateOther)
		if o.Return += int64(lateCharge); s.kind != "take" {
			o.Return = late.Return
		}
	}
	o.Input, o.Output = s, a
	r.history = append(r.history, o)
	if a.unknown && s.kind == "take" {
		// It may be applied when its caller is gone, and is then given back.
		late.Input, late.Output = step{"give-back", s.n, s.id}, a
		r.history = append(r.history, late)
	}
}

// client is one of the three.
type client struct {
	*recorder
	id      int
	limiter *ratelimit.Limiter
	rng     *rand.Rand
	leases  []*ratelimit.Lease
	held    []int64 // :: lease -> its tokens
}

func (c *client) step(t *testing.T) {
	if c.rng.IntN(3) == 0 {
		time.Sleep(time.Duration(c.rng.IntN(4000)) * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(20+c.rng.IntN(600))*time.Millisecond)
	defer cancel()
	called := time.Now()
	request := ratelimit.Request{Entity: "shared", Resource: "api"}
	n := 1 + c.rng.Int64N(5)
	switch kind := c.rng.IntN(8); {
	case kind == 0:
		status, err := c.limiter.Balance(ctx, request)
		if err == nil { // a look that failed says nothing
			c.told(c.id, step{kind: "look"}, answer{left: status[0].Limits[0].Balance.Tokens()}, called)
		}
	case kind <= 2 && len(c.leases) > 0:
		lease, back := c.leases[0], c.held[0]
		c.leases, c.held = c.leases[1:], c.held[1:]
		err := lease.Rollback(ctx)
		c.told(c.id, step{kind: "back", n: back}, answer{unknown: err != nil}, called)
	case kind == 3:
		request.Settle, request.Consume = true, map[string]int64{"n": 1}
		_, err := c.limiter.Acquire(ctx, request)
		c.told(c.id, step{kind: "settle", n: 1}, answer{unknown: err != nil}, called)
	default:
		request.Consume = map[string]int64{"n": n}
		lease, err := c.limiter.Acquire(ctx, request)
		var denied *ratelimit.ExceededError
		a := answer{denied: errors.As(err, &denied)}
		a.unknown = err != nil && !a.denied
		if err == nil {
			c.leases, c.held = append(c.leases, lease), append(c.held, n)
		}
		c.told(c.id, step{kind: "take", n: n}, a, called)
	}
}
