package ratelimit

import (
	"math"
	"math/bits"
	"time"
)

// Refill is how a limit gains tokens: a function of time alone that never
// falls. Its implementations are comparable values.
type Refill interface {
	// Total is what was gained from the epoch to t, F(t) of charge.md; before
	// the epoch it is negative. It saturates.
	Total(t Stamp) Millitokens
	// Reach is the first stamp at which Total is at least m.
	Reach(m Millitokens) Stamp
	// Gain is the most that is surely gained in a time, in milliseconds,
	// whenever it begins.
	Gain(ms int64) Millitokens
	// Fill is how many milliseconds it takes at most to gain m, whenever it
	// begins; 0 for m at or below zero.
	Fill(m Millitokens) int64
}

// Continuous gains Amount in each Period, evenly, to the millitoken.
type Continuous struct {
	Amount Millitokens // positive
	Period int64       // milliseconds, positive
}

var _ Refill = Continuous{}

// Total is floor(t * Amount / Period), toward minus infinity.
func (c Continuous) Total(t Stamp) Millitokens {
	return Millitokens(mulDiv(int64(t), int64(c.Amount), c.Period, false))
}

// Reach is ceil(m * Period / Amount).
func (c Continuous) Reach(m Millitokens) Stamp {
	return Stamp(mulDiv(int64(m), c.Period, int64(c.Amount), true))
}

// Gain is floor(ms * Amount / Period).
func (c Continuous) Gain(ms int64) Millitokens {
	return Millitokens(mulDiv(ms, int64(c.Amount), c.Period, false))
}

// Fill is ceil(m * Period / Amount).
func (c Continuous) Fill(m Millitokens) int64 {
	if m <= 0 {
		return 0
	}
	return mulDiv(int64(m), c.Period, int64(c.Amount), true)
}

// continuous is the refill of a limit.
func continuous(l Limit) Continuous {
	return Continuous{Amount: Milli(l.Rate), Period: int64(l.Period / time.Millisecond)}
}

// mulDiv is x*y/z through 128 bits, rounded down, or up if up is set; y is at
// least 0 and z positive. It saturates.
func mulDiv(x, y, z int64, up bool) int64 {
	neg := x < 0
	ux := uint64(x)
	if neg {
		ux = -ux
	}
	hi, lo := bits.Mul64(ux, uint64(y))
	if hi >= uint64(z) {
		return saturated(neg)
	}
	q, rem := bits.Div64(hi, lo, uint64(z))
	if rem != 0 && up != neg {
		q++
	}
	if q > math.MaxInt64 {
		return saturated(neg)
	}
	if neg {
		return -int64(q)
	}
	return int64(q)
}

func saturated(neg bool) int64 {
	if neg {
		return -math.MaxInt64
	}
	return math.MaxInt64
}
