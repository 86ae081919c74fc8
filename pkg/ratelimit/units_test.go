package ratelimit

import (
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestStampOf(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want Stamp
		unix int64
	}{
		{Epoch, 0, 1_767_225_600},
		{Epoch.Add(time.Nanosecond), 0, 1_767_225_600},
		{Epoch.Add(time.Millisecond), 1, 1_767_225_601},
		{Epoch.Add(-time.Nanosecond), -1, 1_767_225_600},
		{Epoch.Add(-999 * time.Millisecond), -999, 1_767_225_600},
		{Epoch.Add(-time.Second), -1_000, 1_767_225_599},
		{time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), -820_540_800_000, 946_684_800}, // where a synctest bubble starts
		{time.Date(1969, 12, 31, 23, 59, 59, 1e6, time.UTC), -1_767_225_600_999, 0},
		{time.Date(2056, 1, 1, 0, 0, 0, 999e6, time.FixedZone("x", 3600)), 946_681_200_999, 2_713_906_801},
	} {
		if got := StampOf(c.at); got != c.want || got.Unix() != c.unix {
			t.Errorf("%s: %d (%d), want %d (%d)", c.at, got, got.Unix(), c.want, c.unix)
		}
		if late := c.at.Sub(c.want.Time()); late < 0 || late >= time.Millisecond {
			t.Errorf("%d is %s, %s before %s", c.want, c.want.Time(), late, c.at)
		}
	}
}

func TestMilliAndTokens(t *testing.T) {
	for _, c := range []struct {
		tokens int64
		want   Millitokens
	}{
		{0, 0},
		{1, 1000},
		{-1, -1000},
		{MaxTokens, 1e18},
		{math.MaxInt64 / 1000, math.MaxInt64 / 1000 * 1000},
		{math.MaxInt64, math.MaxInt64 / 1000 * 1000},
		{math.MinInt64, -math.MaxInt64 / 1000 * 1000},
	} {
		if got := Milli(c.tokens); got != c.want {
			t.Errorf("Milli(%d) = %d, want %d", c.tokens, got, c.want)
		}
	}
	for _, c := range []struct {
		m    Millitokens
		want int64
	}{
		{0, 0},
		{999, 0},
		{1000, 1},
		{1999, 1},
		{-1, -1},
		{-1000, -1},
		{-1001, -2},
		{math.MaxInt64, math.MaxInt64 / 1000},
		{math.MinInt64, math.MinInt64/1000 - 1},
	} {
		if got := c.m.Tokens(); got != c.want {
			t.Errorf("Tokens of %d: %d, want %d", c.m, got, c.want)
		}
	}
}

// anyInt64 prefers the ends of the range and the middle.
func anyInt64() *rapid.Generator[int64] {
	return rapid.OneOf(
		rapid.Int64(), rapid.Int64Range(-5, 5), rapid.Int64Range(-1e15, 1e15),
		rapid.Int64Range(math.MaxInt64-5, math.MaxInt64), rapid.Int64Range(math.MinInt64, math.MinInt64+5),
	)
}

// clamp is the nearest number to x that an int64 holds, above the least.
func clamp(x *big.Int, least int64) int64 {
	switch {
	case x.Cmp(big.NewInt(math.MaxInt64)) > 0:
		return math.MaxInt64
	case x.Cmp(big.NewInt(least)) < 0:
		return least
	}
	return x.Int64()
}

func TestSumsSaturate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyInt64().Draw(t, "a"), anyInt64().Draw(t, "b")
		sum := clamp(new(big.Int).Add(big.NewInt(a), big.NewInt(b)), math.MinInt64)
		if got := Millitokens(a).plus(Millitokens(b)); got != Millitokens(sum) {
			t.Errorf("%d + %d = %d, want %d", a, b, got, sum)
		}
		// The least number has no opposite: subtracting it may be 1 short.
		d := new(big.Int).Sub(big.NewInt(a), big.NewInt(max(b, -math.MaxInt64)))
		if got, want := Millitokens(a).minus(Millitokens(b)), Millitokens(clamp(d, math.MinInt64)); got != want {
			t.Errorf("%d - %d = %d, want %d", a, b, got, want)
		}
	})
}
