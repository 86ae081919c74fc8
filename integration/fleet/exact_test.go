//go:build integration

package fleet

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/extauthz/extauthz/internal/faultproxy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// slow gains nothing while a test lasts: what is admitted is the capacity.
func slow() ratelimit.Limit { return ratelimit.Custom("n", 100, 1, time.Hour) }

const slack = 50 * time.Millisecond // the Limiter's own

// TestExact has ten processes hammer buckets of 100, one after the other:
// exactly 100 are admitted of each, and nobody is denied while there are any.
func TestExact(t *testing.T) {
	for _, seed := range seeds(t) {
		f := newFleet(t, orders{
			Seed: seed, Buckets: names(4), Limit: slow(), Callers: 3, Denials: 25, Pause: 40 * time.Millisecond,
			For: time.Minute, Deadline: patient, WriteTimeout: patient,
		})
		all := f.start(t, processes)
		begin(t, all)
		finish(t, all)
		histories := f.histories(t)
		s := summed(histories)
		t.Logf("seed %d: %s", seed, s)
		c := claims{orders: f.orders, slack: slack, histories: histories, items: f.items(t)}
		faults := c.check()
		for bucket, i := range c.items {
			if i.Charged != ratelimit.Milli(100) || i.Returned != 0 {
				faults = append(faults, fmt.Sprintf("%s: charged %d, returned %d", bucket, i.Charged, i.Returned))
			}
		}
		if want := ratelimit.Milli(int64(100 * len(f.Buckets))); s.tokens != want || s.failed > 0 || s.cached == 0 {
			faults = append(faults, fmt.Sprintf("%d millitokens admitted, want %d: %s", s.tokens, want, s))
		}
		report(t, seed, faults)
	}
}

// wrongs is a fault proxy's plan in which everything goes wrong.
func wrongs(seed uint64) faultproxy.Plan {
	share := func(n int, f faultproxy.Fault) faultproxy.Share { return faultproxy.Share{PerMille: n, Fault: f} }
	shares := []faultproxy.Share{
		share(30, faultproxy.Fault{Action: faultproxy.DropBefore}),
		share(40, faultproxy.Fault{Action: faultproxy.DropAfter}),
		share(20, faultproxy.Fault{Action: faultproxy.FailBefore}),
		share(40, faultproxy.Fault{Action: faultproxy.FailAfter}),
		share(20, faultproxy.Fault{Action: faultproxy.FailAfter, Status: 503}),
		share(20, faultproxy.Fault{Action: faultproxy.Cut}),
		share(10, faultproxy.Fault{Action: faultproxy.Stall}),
		share(10, faultproxy.Fault{Action: faultproxy.StallAfter}),
		share(40, faultproxy.Fault{Before: 60 * time.Millisecond}),
		share(40, faultproxy.Fault{After: 60 * time.Millisecond}),
		share(20, faultproxy.Fault{Before: 400 * time.Millisecond}),
		share(20, faultproxy.Fault{After: 400 * time.Millisecond}),
		share(30, faultproxy.Conflict()),
	}
	for _, code := range []string{faultproxy.CodeThroughput, faultproxy.CodeThrottling, faultproxy.CodeLimit} {
		for _, why := range []string{
			"TableWriteProvisionedThroughputExceeded", "TableWriteAccountLimitExceeded",
			"TableWriteKeyRangeThroughputExceeded", "TableWriteMaxOnDemandThroughputExceeded",
		} {
			shares = append(shares, share(4, faultproxy.Throttle(code, why)))
		}
	}
	return faultproxy.Random("UpdateItem", seed, shares...)
}

// rough are orders for processes to which things happen: callers give up
// before writes do, some of what they were given is given back, and clocks
// differ.
func rough(seed uint64) orders {
	return orders{
		Seed: seed, Buckets: names(16), Limit: slow(), Callers: 4, MostCost: 3, Denials: 6, Pause: 10 * time.Millisecond, Backs: 10,
		For: 15 * time.Second, Deadline: 250 * time.Millisecond, WriteTimeout: 300 * time.Millisecond,
	}
}

// TestFaults does everything that can go wrong to one write in three. Nothing
// is charged twice, what is not accounted for is known to be open, and what was
// left over can be taken afterwards.
func TestFaults(t *testing.T) {
	for _, seed := range seeds(t) {
		f := newFleet(t, rough(seed))
		f.proxy.Set(wrongs(seed))
		all := f.start(t, processes)
		begin(t, all)
		finish(t, all)
		s, faults := f.settled(t)
		t.Logf("seed %d: %s", seed, s)
		if s.unknown == 0 || s.notApplied == 0 || s.failed == 0 || s.denied == 0 || s.refused == 0 {
			faults = append(faults, fmt.Sprintf("too little happened: %s", s))
		}
		report(t, seed, faults)
	}
}

// TestKilled kills processes at random moments and starts others in their
// place.
func TestKilled(t *testing.T) {
	for _, seed := range seeds(t) {
		f := newFleet(t, rough(seed))
		f.Buckets = names(40)
		rng := rand.New(rand.NewPCG(seed, 0))
		all := f.start(t, processes)
		begin(t, all)
		f.killSome(t, all, rng)
		finish(t, all)
		s, faults := f.settled(t)
		t.Logf("seed %d: %s", seed, s)
		killed := 0
		for _, h := range f.histories(t) {
			if !h.ended {
				killed++
			}
		}
		if killed < processes/2 {
			faults = append(faults, fmt.Sprintf("only %d of %d were killed at work", killed, processes))
		}
		report(t, seed, faults)
	}
}

// killSome kills processes at random moments, as many as there are, and puts
// others in their place.
func (f *fleet) killSome(t *testing.T, all []*child, rng *rand.Rand) {
	t.Helper()
	for range len(all) {
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond) // any moment will do
		i := rng.IntN(len(all))
		all[i].kill(t)
		all[i] = f.start(t, 1)[0]
		begin(t, all[i:i+1])
	}
}

// TestCascades charges a parent with each of twenty buckets, and its own parent
// too; one of them holds less than all below together. Everything goes wrong, and
// processes are killed: all three are charged or none, also where some were and
// another could not be, but for what a process had in flight when it was killed.
func TestCascades(t *testing.T) {
	for _, seed := range seeds(t) {
		f := newFleet(t, rough(seed))
		f.Buckets = names(20)
		f.Parents = []parent{
			{"team", ratelimit.Custom("n", 600+300*int64(seed%2), 1, time.Hour)},
			{"everybody", ratelimit.Custom("n", 900-300*int64(seed%2), 1, time.Hour)},
		}
		f.Deadline, f.WriteTimeout = 2*time.Second, 600*time.Millisecond // two must answer in time
		f.proxy.Set(wrongs(seed))
		all := f.start(t, processes)
		begin(t, all)
		f.killSome(t, all[:3], rand.New(rand.NewPCG(seed, 0)))
		finish(t, all)
		s, faults := f.settled(t)
		t.Logf("seed %d: %s", seed, s)
		if s.admitted < 10 || s.failed == 0 || s.denied == 0 {
			faults = append(faults, fmt.Sprintf("too little happened: %s", s))
		}
		report(t, seed, faults)
	}
}

// settled is what is wrong when all processes have ended, with what the proxy
// knows of their writes, and when what was left of the buckets is taken.
func (f *fleet) settled(t *testing.T) (sum, []string) {
	t.Helper()
	if err := f.proxy.Close(); err != nil { // the last calls too have their records then
		t.Error(err)
	}
	histories := f.histories(t)
	s := summed(histories)
	c := claims{orders: f.orders, slack: slack, histories: histories, items: f.items(t)}
	faults := append(c.check(), f.once(histories)...)
	for bucket, left := range f.drain(t) {
		i := c.items[bucket]
		if got := i.Charged - i.Returned + ratelimit.Milli(left); got != ratelimit.Milli(f.limitOf(bucket).Burst) {
			faults = append(faults, fmt.Sprintf("%s: %d millitokens were taken in all, %d tokens of them in the end", bucket, got, left))
		}
	}
	return s, faults
}

// once is invariant 4 by the wire: each write was sent once. Those that a
// process wrote down and died before, or that found no connection, were not.
func (f *fleet) once(histories []*history) []string {
	sent, open := 0, 0
	for _, h := range histories {
		for _, w := range h.writes {
			switch w.outcome {
			case "applied", "refused":
				sent++
			default:
				open++
			}
		}
	}
	calls := 0
	for _, r := range f.proxy.Records() {
		if r.Operation == "UpdateItem" {
			calls++
		}
	}
	if calls < sent || calls > sent+open {
		return []string{fmt.Sprintf("at most once: %d calls arrived; %d writes were answered, %d more were sent", calls, sent, open)}
	}
	return nil
}
