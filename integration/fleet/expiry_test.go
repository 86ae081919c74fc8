//go:build integration

package fleet

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// fast is a limit that gains what processes take.
func fast() ratelimit.Limit { return ratelimit.Custom("n", 10, 10, time.Second) }

// never is more denials than any caller meets.
const never = math.MaxInt32

// TestHammered has ten processes take all that a bucket of 10/s gains, for 5
// seconds, 30 with EXTAUTHZ_TEST_LONG: never more than that, nobody is denied
// without a state that was short within the poll floor, and most is taken.
func TestHammered(t *testing.T) {
	for _, seed := range seeds(t)[:1] {
		f := newFleet(t, orders{
			Seed: seed, Buckets: names(1), Limit: fast(), Expires: true, Callers: 2, Denials: never, Pause: 40 * time.Millisecond,
			For: 5 * time.Second, Deadline: patient, WriteTimeout: patient,
		})
		if long() {
			f.For = 30 * time.Second
		}
		all := f.start(t, processes)
		begun := time.Now()
		begin(t, all)
		finish(t, all)
		took := time.Since(begun)
		histories := f.histories(t)
		s := summed(histories)
		t.Logf("seed %d: %s in %s", seed, s, took)
		c := claims{orders: f.orders, slack: slack, histories: histories, items: f.items(t)}
		faults := c.check()
		// Whatever the stamps say: in the time that passed.
		most := 10 + (took+slack+time.Millisecond).Seconds()*10
		if n := float64(s.admitted); n > most || n < 10+f.For.Seconds()*10*0.6 {
			faults = append(faults, fmt.Sprintf("%v admitted in %s, of %v", n, took, most))
		}
		report(t, seed, faults)
	}
}

// TestExpiry hammers one bucket of 10/s, of 100 at most, without a pause, and
// others with long ones, for several times as long as an item lives, on a clock
// that runs fast; items go as soon as they may, and later, and by a clock that
// is ahead of the processes'. Never more is admitted than by one bucket that
// lives for ever.
func TestExpiry(t *testing.T) {
	for _, seed := range seeds(t) {
		const speed = 60
		f := newFleet(t, orders{
			Seed: seed, Buckets: names(1), Limit: fast().WithBurst(100), Expires: true, Callers: 2, MostCost: 40, Denials: never,
			Pause: 10 * time.Millisecond, For: 5 * time.Second, Deadline: patient, WriteTimeout: 500 * time.Millisecond,
			Clock: clock{Start: time.Now(), Speed: speed},
		})
		// An item lives until it is full, and a minute, at least.
		lives := f.For * speed / (70 * time.Second)
		all := f.start(t, 3)
		// The others come back to a bucket when it has expired.
		f.Buckets, f.Visit = names(60)[1:], f.For/100
		all = append(all, f.start(t, processes-len(all))...)
		f.Buckets = names(60)

		s := f.sweep(t.Context(), []time.Duration{0, 30 * time.Second, -30 * time.Second}[seed%3])
		begin(t, all)
		finish(t, all)
		s.stop()
		histories := f.histories(t)
		c := claims{orders: f.orders, slack: slack, histories: histories, items: s.items(t)}
		faults := c.check()
		t.Logf("seed %d: %s; %d lives of an item, %d removed", seed, summed(histories), lives, s.removed)
		if lives < 3 || s.removed < 10 {
			faults = append(faults, fmt.Sprintf("only %d items were removed in %d lives", s.removed, lives))
		}
		report(t, seed, faults)
	}
}

// TestDebt books a debt of a thousand fills, which takes a bucket of 10/s 1,000
// seconds to repay, many times as long as its item lives otherwise, and has
// processes that know nothing of it ask all the time: nobody is admitted until
// it is repaid, and then somebody is.
func TestDebt(t *testing.T) {
	const fills, speed = 1000, 250
	f := newFleet(t, orders{
		Buckets: names(1), Limit: fast(), Expires: true, Denials: never, Settle: fills * 10, Pause: 10 * time.Millisecond,
		For: 5 * time.Second, Deadline: patient, WriteTimeout: 500 * time.Millisecond,
		Clock: clock{Start: time.Now(), Speed: speed},
	})
	s := f.sweep(t.Context(), 30*time.Second)
	debtor := f.start(t, 1)
	begin(t, debtor)
	finish(t, debtor)
	f.Settle, f.Callers = 0, 2
	others := f.start(t, 3)
	begin(t, others)
	finish(t, others)
	s.stop()
	c := claims{orders: f.orders, slack: slack, histories: f.histories(t), items: s.items(t)}
	report(t, 0, c.check())

	booked := c.histories[0].writes[len(c.histories[0].writes)-1]
	if booked.outcome != "applied" || booked.charged != ratelimit.Milli(fills*10) {
		t.Fatalf("the debt: %+v", booked)
	}
	var admitted []ratelimit.Stamp
	c.each(f.Buckets[0], func(w *write) {
		if w != booked && w.outcome == "applied" {
			admitted = append(admitted, w.stamp)
		}
	})
	if len(admitted) == 0 {
		t.Fatalf("nobody was ever admitted: %s", summed(c.histories))
	}
	after := time.Duration(slices.Min(admitted)-booked.stamp) * time.Millisecond
	t.Logf("%s; the first was admitted after %s; %d items were removed", summed(c.histories), after, s.removed)
	// The capacity was there, less a slack of half a token; one token more is needed.
	if least := (fills*10 - 10 + 1) * 100 * time.Millisecond; after < least-slack {
		t.Errorf("admitted after %s, want %s at least", after, least)
	}
}
