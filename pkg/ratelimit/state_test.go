package ratelimit

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// states draws buckets that exist, some of their limits taken away.
func states() *rapid.Generator[State] {
	return rapid.Custom(func(t *rapid.T) State {
		s := State{Exists: true, Last: stamps().Draw(t, "last")}
		for _, l := range rapid.SliceOfNDistinct(limits(), 1, 4, func(l Limit) string { return l.Name }).Draw(t, "limits") {
			p := ParamsOf(l)
			raw := Millitokens(rapid.Int64Range(-2*int64(p.Capacity), 2*int64(p.Capacity)).Draw(t, "raw"))
			s.Limits = append(s.Limits, LimitState{
				Params: p, On: rapid.IntRange(0, 3).Draw(t, "on") > 0, Balance: raw.minus(p.Refill.Total(s.Last)),
			})
		}
		s.Shape = shapeOf(s.Limits)
		return s
	})
}

func TestAvailable(t *testing.T) {
	l := LimitState{Params: ParamsOf(PerSecond("rps", 10)), On: true, Balance: -50_000}
	for _, c := range []struct {
		at             Stamp
		raw, available Millitokens
	}{
		{0, -50_000, -50_000},
		{5_000, 0, 0},
		{5_999, 9_990, 9_990},
		{6_000, 10_000, 10_000},
		{6_001, 10_010, 10_000},
		{-1, -50_010, -50_010},
		{1 << 60, math.MaxInt64 - 50_000, 10_000},
	} {
		if raw, got := l.Raw(c.at), l.Available(c.at); raw != c.raw || got != c.available {
			t.Errorf("at %d: %d and %d, want %d and %d", c.at, raw, got, c.raw, c.available)
		}
	}
}

// EnoughAt is exact to the millisecond; FullAt is when nothing is missing, and
// not before.
func TestEnoughAtAndFullAt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := states().Draw(t, "state")
		full := true
		for i := range s.Limits {
			l := &s.Limits[i]
			c := Millitokens(rapid.Int64Range(1, int64(l.Capacity)).Draw(t, "c"))
			at := l.EnoughAt(c)
			if l.Available(at) < c || l.Available(at-1) >= c {
				t.Errorf("%+v: %d at %d, and %d a millisecond before, asked %d", l, l.Available(at), at, l.Available(at-1), c)
			}
			full = full && (!l.On || l.Available(s.FullAt()-1) == l.Capacity)
			if l.On && l.Available(s.FullAt()) != l.Capacity {
				t.Errorf("%+v isn't full at %d", l, s.FullAt())
			}
		}
		if s.FullAt() < s.Last || full && s.FullAt() > s.Last {
			t.Errorf("%+v: full at %d", s, s.FullAt())
		}
	})
}

func TestFind(t *testing.T) {
	s := State{Exists: true, Limits: []LimitState{
		{Params: ParamsOf(PerSecond("a", 1)), On: true}, {}, {Params: ParamsOf(PerSecond("gone", 1))}, {Params: ParamsOf(PerSecond("b", 1)), On: true},
	}}
	for name, want := range map[string]int{"a": 0, "b": 3, "gone": 2, "c": -1} {
		if got := s.slot(name); got != want {
			t.Errorf("slot of %q: %d, want %d", name, got, want)
		}
		if l := s.Find(name); (l != nil) != (name == "a" || name == "b") || l != nil && l != &s.Limits[want] {
			t.Errorf("%q: found %+v", name, l)
		}
	}
}

func TestParamsAreThoseOfTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := limits().Draw(t, "a"), limits().Draw(t, "b")
		if rapid.Bool().Draw(t, "alike") { // in all but one
			c := a
			switch rapid.IntRange(0, 3).Draw(t, "but") {
			case 0:
				c.Name = b.Name
			case 1:
				c.Burst = b.Burst
			case 2:
				c.Rate = b.Rate
			case 3:
				c.Period = b.Period
			}
			b = c
		}
		if got := ParamsOf(a).Is(b); got != (a == b) {
			t.Errorf("%s is %s: %t", a, b, got)
		}
		if !ParamsOf(a).Is(a) || (ParamsOf(a) == ParamsOf(b)) != (a == b) {
			t.Errorf("%s, %s", a, b)
		}
	})
	l := PerSecond("rps", 10)
	p := ParamsOf(l)
	if n := testing.AllocsPerRun(10, func() { _ = p.Is(l) }); n != 0 {
		t.Errorf("Is: %v allocations", n)
	}
}

// The shape is a function of the limits that are on, their slots and their
// numbers; of nothing else.
func TestShape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := states().Draw(t, "state")
		was := shapeOf(s.Limits)
		i := rapid.IntRange(0, len(s.Limits)-1).Draw(t, "limit")
		same, other := slices.Clone(s.Limits), slices.Clone(s.Limits)
		same[i].Balance, same[i].Charged, same[i].Returned = same[i].Balance+1, 5, 6
		l, on := &other[i], other[i].On
		c := l.Refill.(Continuous)
		switch rapid.IntRange(0, 5).Draw(t, "change") {
		case 0:
			l.Name += "x"
		case 1:
			l.Capacity++
		case 2:
			c.Amount++
		case 3:
			c.Period++
		case 4:
			l.On, on = !l.On, true
		case 5:
			other = slices.Insert(other, i, LimitState{}) // the next slot
		}
		l.Refill = c
		if shapeOf(same) != was {
			t.Errorf("balances change the shape of %+v", s.Limits)
		}
		later := slices.ContainsFunc(s.Limits[i:], func(l LimitState) bool { return l.On })
		if changed := shapeOf(other) != was; changed != (on || len(other) > len(s.Limits) && later) {
			t.Errorf("shape changed: %t\nfrom %+v\nto   %+v", changed, s.Limits, other)
		}
	})
}

// Shapes are stored: a version that made others would find every bucket of the
// last one changed.
func TestShapesOfStoredBuckets(t *testing.T) {
	limits := []LimitState{
		{Params: ParamsOf(PerMinute("tpm", 10_000).WithBurst(15_000)), On: true},
		{Params: ParamsOf(PerDay("gone", 1))},
		{Params: ParamsOf(PerMinute("rpm", 100)), On: true},
	}
	if got := shapeOf(limits); got != 0x296190fa1a33cd99 {
		t.Errorf("%#x", uint64(got))
	}
	if got := shapeOf(nil); got != 0xef46db3751d8e999 {
		t.Errorf("of none: %#x", uint64(got))
	}
}
