package ratelimit

import (
	"math"
	"time"
)

// Millitokens is an amount of tokens times 1,000. Balances, capacities and
// refills are kept in millitokens, so that a limit of one token an hour gains
// something every 3.6 seconds.
type Millitokens int64

// MillitokensPerToken is how many millitokens make one token.
const MillitokensPerToken = 1000

// Stamp is an instant: milliseconds since [Epoch]. It may be negative.
type Stamp int64

// Epoch is the instant that every stamp and every stored balance counts from.
var Epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// epochUnixMillis is Epoch as Unix milliseconds.
const epochUnixMillis = 1_767_225_600_000

// StampOf is the stamp of an instant, rounded down to the millisecond.
func StampOf(t time.Time) Stamp { return Stamp(t.UnixMilli() - epochUnixMillis) }

// Time is the instant of a stamp.
func (s Stamp) Time() time.Time { return time.UnixMilli(int64(s) + epochUnixMillis).UTC() }

// Unix is the stamp in Unix seconds, rounded up: the form in which an item's
// expiry is stored.
func (s Stamp) Unix() int64 {
	q, r := int64(s)/1000, int64(s)%1000
	if r > 0 {
		q++
	}
	return q + epochUnixMillis/1000
}

// Milli turns whole tokens into millitokens; it saturates.
func Milli(tokens int64) Millitokens {
	const most = math.MaxInt64 / MillitokensPerToken
	return Millitokens(min(max(tokens, -most), most)) * MillitokensPerToken
}

// Tokens is the amount in whole tokens, rounded down.
func (m Millitokens) Tokens() int64 {
	q := int64(m) / MillitokensPerToken
	if int64(m)%MillitokensPerToken < 0 {
		q--
	}
	return q
}

// plus adds two amounts and saturates instead of wrapping.
func (m Millitokens) plus(n Millitokens) Millitokens {
	s := m + n
	switch {
	case m > 0 && n > 0 && s < 0:
		return math.MaxInt64
	case m < 0 && n < 0 && s >= 0:
		return math.MinInt64
	}
	return s
}

// minus subtracts and saturates instead of wrapping.
func (m Millitokens) minus(n Millitokens) Millitokens {
	if n == math.MinInt64 {
		return m.plus(math.MaxInt64)
	}
	return m.plus(-n)
}
