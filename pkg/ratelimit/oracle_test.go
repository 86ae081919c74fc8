package ratelimit

import (
	"errors"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// oracle is one limit in exact arithmetic: millitokens as fractions, no
// rounding, no epoch, no stored form.
type oracle struct {
	limit Limit
	level *big.Rat // at anchor
}

// tolerance is what a stored balance may differ by: a clamp rounds once, and
// roundings do not add up.
var tolerance = big.NewRat(3, 1)

func milli(n int64) *big.Rat { return new(big.Rat).SetInt64(n * MillitokensPerToken) }

// at is what the limit holds after a time, in milliseconds.
func (o *oracle) at(ms int64) *big.Rat {
	gained := new(big.Rat).Mul(milli(o.limit.Rate), big.NewRat(ms, o.limit.Period.Milliseconds()))
	gained.Add(gained, o.level)
	if most := milli(o.limit.Burst); gained.Cmp(most) > 0 {
		return most
	}
	return gained
}

func less(a, b *big.Rat) bool { return a.Cmp(b) < 0 }

func limitGen(name string) *rapid.Generator[Limit] {
	return rapid.Custom(func(t *rapid.T) Limit {
		for {
			l := Custom(name, rapid.Int64Range(1, 5000).Draw(t, "burst"), rapid.Int64Range(1, 5000).Draw(t, "rate"),
				time.Duration(rapid.SampledFrom([]int64{1, 777, 1000, 7000, 60_000, 86_400_000}).Draw(t, "period"))*time.Millisecond)
			if l.Validate() == nil {
				return l
			}
		}
	})
}

// exact is a bucket beside its model in exact arithmetic.
type exact struct {
	*bench
	limits []Limit
	model  []*oracle
	anchor time.Time // of the models' levels
	lease  *Lease    // the last that was admitted, until it is rolled back
}

func drawExact(rt *rapid.T, t *testing.T) *exact {
	x := &exact{}
	for _, n := range []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(rt, "limits")] {
		l := limitGen(n).Draw(rt, n)
		x.limits = append(x.limits, l)
		x.model = append(x.model, &oracle{limit: l, level: milli(l.Burst)})
	}
	x.bench = newBench(t, fixed{"e": {limits: x.limits}})
	// Before the epoch, at it, and long after it.
	x.clock = Epoch.Add(time.Duration(rapid.SampledFrom([]int64{-26 * 365, 0, 300, 20 * 365}).Draw(rt, "days")) * 24 * time.Hour)
	x.anchor = x.clock.Add(-time.Hour) // full since long
	return x
}

// Random charges, looks, settlements, credits and clock steps, also backwards:
// never over what exact arithmetic allows, never short of it, and every wait is
// exact to the millisecond.
func TestAgainstExactArithmetic(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		x := drawExact(rt, t)
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			x.clock = x.clock.Add(time.Duration(rapid.OneOf(
				rapid.Int64Range(-500, 500), rapid.Int64Range(0, 100_000), rapid.SampledFrom([]int64{0, 1, 86_400_000}),
			).Draw(rt, "ms")) * time.Millisecond)
			if x.lease != nil && rapid.IntRange(0, 3).Draw(rt, "credit") == 0 {
				x.rollBack(rt, t)
				continue
			}
			x.request(rt, t)
		}
	})
}

// now is the bucket's time: the clock's, but never behind its last write.
func (x *exact) now() time.Time {
	if x.clock.Before(x.anchor) {
		return x.anchor
	}
	return x.clock
}

// apply adds to each model's level, as of now.
func (x *exact) apply(sign int64, amounts map[string]int64) {
	now := x.now()
	for _, o := range x.model {
		o.level = o.at(now.Sub(x.anchor).Milliseconds())
		o.level.Add(o.level, milli(sign*amounts[o.limit.Name]))
	}
	x.anchor = now
}

func (x *exact) rollBack(rt *rapid.T, t *testing.T) {
	back := map[string]int64{}
	for _, w := range x.lease.held[0].taken {
		back[w.name] = w.amount.Tokens()
	}
	if err := x.lease.Rollback(t.Context()); err != nil {
		rt.Fatal(err)
	}
	x.lease = nil
	if len(back) > 0 {
		x.apply(+1, back)
	}
}

func (x *exact) request(rt *rapid.T, t *testing.T) {
	consume := map[string]int64{}
	for _, l := range x.limits {
		if rapid.Bool().Draw(rt, "names "+l.Name) {
			consume[l.Name] = rapid.Int64Range(0, l.Burst).Draw(rt, "cost")
		}
	}
	settle := rapid.IntRange(0, 9).Draw(rt, "settle") == 0
	got, err := x.Acquire(t.Context(), Request{Entity: "e", Resource: "api", Consume: consume, Settle: settle})
	var denied *ExceededError
	if err != nil && !errors.As(err, &denied) {
		rt.Fatal(err)
	}
	there, missing := true, false
	if !settle {
		there, missing = x.verdict(consume)
	}
	switch {
	case denied == nil && !there:
		rt.Fatalf("admitted %v, over the exact envelope", consume)
	case denied != nil && !missing:
		rt.Fatalf("denied %v, though it was there: %v", consume, denied)
	case denied != nil:
		checkWait(rt, t, x.bench, denied, consume, x.now())
	case charges(consume):
		x.apply(-1, consume)
		x.lease = got
	}
}

// verdict is what the models say of a request: whether all of it may be there,
// and whether any of it may be missing.
func (x *exact) verdict(consume map[string]int64) (there, missing bool) {
	there = true
	for _, o := range x.model {
		c, named := consume[o.limit.Name]
		if !named {
			continue
		}
		need := milli(c)
		if c == 0 {
			need = big.NewRat(1, 1)
		}
		have := o.at(x.now().Sub(x.anchor).Milliseconds())
		there = there && !less(new(big.Rat).Add(have, tolerance), need)
		missing = missing || less(new(big.Rat).Sub(have, tolerance), need)
	}
	return there, missing
}

func charges(consume map[string]int64) bool {
	for _, n := range consume {
		if n > 0 {
			return true
		}
	}
	return false
}

// checkWait checks that a request passes after the wait that it was told, and
// not a millisecond earlier.
func checkWait(rt *rapid.T, t *testing.T, b *bench, denied *ExceededError, consume map[string]int64, now time.Time) {
	c, err := (&Request{Entity: "e", Resource: "api", Consume: consume}).charge()
	if err != nil {
		rt.Fatal(err)
	}
	for _, step := range []struct {
		at   time.Duration
		want bool
	}{{denied.RetryAfter - time.Millisecond, false}, {denied.RetryAfter, true}} {
		d, err := b.Look(t.Context(), Ask{Now: now.Add(step.at), Resolver: b.resolver, Charges: []Charge{c}})
		if err != nil || d.Allowed != step.want {
			rt.Fatalf("%v: after %v allowed is %t, told %v; %v", consume, step.at, d.Allowed, denied.RetryAfter, err)
		}
	}
}
