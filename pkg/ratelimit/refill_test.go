package ratelimit

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// quotient is x*y/z without bounds, rounded down, or up.
func quotient(x, y, z int64, up bool) *big.Int {
	p := new(big.Int).Mul(big.NewInt(x), big.NewInt(y))
	if up {
		p.Neg(p)
	}
	q := p.Div(p, big.NewInt(z)) // Euclidean: down, as z is positive
	if up {
		q.Neg(q)
	}
	return q
}

func TestMulDiv(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := anyInt64().Draw(t, "x")
		y := anyInt64().Filter(func(n int64) bool { return n >= 0 }).Draw(t, "y")
		z := anyInt64().Filter(func(n int64) bool { return n > 0 }).Draw(t, "z")
		for _, up := range []bool{false, true} {
			want := clamp(quotient(x, y, z, up), -math.MaxInt64)
			if got := mulDiv(x, y, z, up); got != want {
				t.Errorf("%d * %d / %d, up %t: %d, want %d", x, y, z, up, got, want)
			}
		}
	})
}

// refills draws refills of every size that a limit can have.
func refills() *rapid.Generator[Continuous] {
	return rapid.Custom(func(t *rapid.T) Continuous { return continuous(limits().Draw(t, "limit")) })
}

// stamps draws stamps between 1996 and 2056.
func stamps() *rapid.Generator[Stamp] {
	return rapid.Custom(func(t *rapid.T) Stamp {
		return Stamp(rapid.OneOf(rapid.Int64Range(-946e9, 946e9), rapid.Int64Range(-2000, 2000)).Draw(t, "stamp"))
	})
}

func TestTotalIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, at := refills().Draw(t, "refill"), stamps().Draw(t, "at")
		want := quotient(int64(at), int64(r.Amount), r.Period, false)
		if !want.IsInt64() {
			t.Fatalf("%v at %d doesn't fit: %s", r, at, want)
		}
		if got := r.Total(at); int64(got) != want.Int64() {
			t.Errorf("%v at %d: %d, want %s", r, at, got, want)
		}
		if r.Total(at+1) < r.Total(at) {
			t.Errorf("%v falls after %d", r, at)
		}
	})
}

func TestReachIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, at := refills().Draw(t, "refill"), stamps().Draw(t, "at")
		m := r.Total(at) + Millitokens(rapid.SampledFrom([]int64{0, 1, -1, 999, 1000, 123_456_789}).Draw(t, "more"))
		reach := r.Reach(m)
		if r.Total(reach) < m || r.Total(reach-1) >= m {
			t.Errorf("%v reaches %d at %d: %d there, %d a millisecond before", r, m, reach, r.Total(reach), r.Total(reach-1))
		}
	})
}

func TestGainAndFill(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, at := refills().Draw(t, "refill"), stamps().Draw(t, "from")
		ms := rapid.Int64Range(0, 1e9).Draw(t, "ms")
		if gained := r.Total(at+Stamp(ms)) - r.Total(at); gained < r.Gain(ms) || gained > r.Gain(ms)+1 {
			t.Errorf("%v gains %d in %d ms after %d, Gain says %d", r, gained, ms, at, r.Gain(ms))
		}
		m := Millitokens(rapid.Int64Range(-10, 1e9).Draw(t, "m"))
		fill := r.Fill(m)
		if m <= 0 && fill != 0 {
			t.Errorf("%v fills %d in %d ms", r, m, fill)
		}
		if gained := r.Total(at+Stamp(fill)) - r.Total(at); m > 0 && (gained < m || r.Total(Stamp(fill-1)) >= m) {
			t.Errorf("%v fills %d in %d ms: %d gained after %d, and %d from 0 in one less", r, m, fill, gained, at, r.Total(Stamp(fill-1)))
		}
	})
}

func TestTotalSaturates(t *testing.T) {
	r := Continuous{Amount: 1e18, Period: 1}
	if r.Total(1<<40) != math.MaxInt64 || r.Total(-1<<40) != -math.MaxInt64 {
		t.Errorf("%d, %d", r.Total(1<<40), r.Total(-1<<40))
	}
	slow := Continuous{Amount: 1, Period: math.MaxInt64}
	if slow.Reach(math.MaxInt64) != math.MaxInt64 || slow.Reach(-math.MaxInt64) != -math.MaxInt64 || slow.Fill(2) != math.MaxInt64 {
		t.Errorf("%d, %d, %d", slow.Reach(math.MaxInt64), slow.Reach(-math.MaxInt64), slow.Fill(2))
	}
}

// The floors telescope: however often a slow limit is looked at, it gains
// every millitoken.
func TestSlowRefillLosesNothing(t *testing.T) {
	slow := continuous(PerDay("day", 1))
	gained, last := Millitokens(0), Stamp(-7*86_400_000)
	for at := last; at < 7*86_400_000; at += 997 {
		gained += slow.Total(at) - slow.Total(last)
		last = at
	}
	gained += slow.Total(7*86_400_000) - slow.Total(last)
	if gained != 14_000 {
		t.Errorf("a token a day gains %d millitokens in 14 days", gained)
	}
}
