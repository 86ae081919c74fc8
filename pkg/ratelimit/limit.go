package ratelimit

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Limit is how much of something an entity may use: a bucket of Burst tokens
// that gains Rate tokens every Period. Limits are plain values; two that are
// equal are the same limit.
type Limit struct {
	Name   string        // what consume names; see CheckLimitName
	Rate   int64         // tokens gained in each Period
	Period time.Duration // whole milliseconds
	Burst  int64         // capacity: tokens in a full bucket
}

// The bounds of a limit, from the range in which the arithmetic is exact
// (charge.md: the refill since the epoch stays in 64 bits until 2056).
const (
	MaxTokens      = 1e15                        // largest rate and burst, tokens
	MaxPeriod      = 1_000_000_000 * time.Second // longest period
	maxRatePerSec  = 9_000_000                   // largest rate over period, tokens per second
	maxFillSeconds = 10_000_000_000              // longest time from empty to full
	maxLimitName   = 64                          // bytes
	week           = 7 * 24 * time.Hour          //
	day            = 24 * time.Hour              //
)

// PerSecond is a limit of rate tokens a second, with a burst as large.
func PerSecond(name string, rate int64) Limit { return Custom(name, rate, rate, time.Second) }

// PerMinute is a limit of rate tokens a minute, with a burst as large.
func PerMinute(name string, rate int64) Limit { return Custom(name, rate, rate, time.Minute) }

// PerHour is a limit of rate tokens an hour, with a burst as large.
func PerHour(name string, rate int64) Limit { return Custom(name, rate, rate, time.Hour) }

// PerDay is a limit of rate tokens a day, with a burst as large.
func PerDay(name string, rate int64) Limit { return Custom(name, rate, rate, day) }

// Custom is a limit with a bucket of capacity tokens that gains refill tokens
// every period.
func Custom(name string, capacity, refill int64, period time.Duration) Limit {
	return Limit{Name: name, Rate: refill, Period: period, Burst: capacity}
}

// WithBurst is the limit with another capacity, in tokens.
func (l Limit) WithBurst(tokens int64) Limit {
	l.Burst = tokens
	return l
}

// Validate reports whether the limit can be used; the error is an
// [*InvalidLimitError] and names each fault.
func (l Limit) Validate() error {
	var faults []string
	if err := CheckLimitName(l.Name); err != nil {
		faults = append(faults, err.Error())
	}
	if l.Rate < 1 || l.Rate > MaxTokens {
		faults = append(faults, fmt.Sprintf("rate %d is not between 1 and 1e15", l.Rate))
	}
	if l.Burst < 1 || l.Burst > MaxTokens {
		faults = append(faults, fmt.Sprintf("burst %d is not between 1 and 1e15", l.Burst))
	}
	switch {
	case l.Period < time.Millisecond || l.Period > MaxPeriod:
		faults = append(faults, fmt.Sprintf("period %s is not between 1ms and 1e9 seconds", l.Period))
	case l.Period%time.Millisecond != 0:
		faults = append(faults, fmt.Sprintf("period %s is not a whole number of milliseconds", l.Period))
	}
	if len(faults) == 0 {
		faults = append(faults, l.tooFastOrSlow()...)
	}
	if len(faults) > 0 {
		return &InvalidLimitError{Limit: l, Reason: strings.Join(faults, "; ")}
	}
	return nil
}

// tooFastOrSlow checks what the numbers make together, once each is in range.
func (l Limit) tooFastOrSlow() []string {
	period := uint64(l.Period / time.Millisecond)
	hi, lo := bits.Mul64(period, maxRatePerSec)
	if hi == 0 && lo/1000 < uint64(l.Rate) {
		return []string{fmt.Sprintf("%d in %s is more than 9,000,000 tokens a second", l.Rate, l.Period)}
	}
	hi, lo = bits.Mul64(uint64(l.Burst), period)
	if h, x := bits.Mul64(uint64(l.Rate), maxFillSeconds*1000); hi > h || hi == h && lo > x {
		return []string{fmt.Sprintf("a bucket of %d takes longer than 1e10 seconds to fill at %d in %s", l.Burst, l.Rate, l.Period)}
	}
	return nil
}

// CheckLimitName reports whether a limit can have this name: a letter, then
// letters, digits and . _ -, 64 at most.
func CheckLimitName(name string) error {
	if name == "" {
		return errors.New("the name is empty")
	}
	if len(name) > maxLimitName {
		return fmt.Errorf("the name is longer than %d characters", maxLimitName)
	}
	for i := range len(name) {
		c := name[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || !isAlnum(c) && c != '.' && c != '_' && c != '-') {
			return fmt.Errorf("the name %q is not a letter followed by letters, digits and . _ -", name)
		}
	}
	return nil
}

// String is the limit in the form that [ParseLimit] reads: NAME:RATE/PERIOD,
// and :BURST where it differs from the rate.
func (l Limit) String() string { return l.Name + ":" + l.Text() }

// Text is the limit without its name, in the form that [ParseRate] reads.
func (l Limit) Text() string {
	s := strconv.FormatInt(l.Rate, 10) + "/" + periodText(l.Period)
	if l.Burst != l.Rate {
		s += ":" + strconv.FormatInt(l.Burst, 10)
	}
	return s
}

func periodText(p time.Duration) string {
	for _, u := range []struct {
		d    time.Duration
		name string
	}{{week, "week"}, {day, "day"}, {time.Hour, "hour"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if n := p / u.d; n > 0 && p%u.d == 0 {
			if n == 1 {
				return u.name
			}
			return strconv.FormatInt(int64(n), 10) + u.name
		}
	}
	// Only Custom makes these; no unit of the text form is shorter than a second.
	return strconv.FormatInt(int64(p/time.Millisecond), 10) + "ms"
}

// ParseLimit reads NAME:RATE[/PERIOD][:BURST], the form of the command line's
// -l flag: without a period it is a minute. Errors are [*InvalidLimitError].
func ParseLimit(s string) (Limit, error) {
	name, text, ok := strings.Cut(s, ":")
	if !ok {
		return Limit{}, &InvalidLimitError{Text: s, Reason: "not NAME:RATE[/PERIOD][:BURST], as in rpm:100/min"}
	}
	if !strings.Contains(text, "/") {
		rate, burst, more := strings.Cut(text, ":")
		text = rate + "/min"
		if more {
			text += ":" + burst
		}
	}
	l, err := ParseRate(name, text)
	if err != nil {
		err.(*InvalidLimitError).Text = s //nolint:errorlint // ParseRate's only error type
		return Limit{}, err
	}
	return l, nil
}

// ParseRate reads the text form of a limit with a name given apart:
//
//	RATE/[N](s|sec|second|m|min|minute|h|hour|d|day|w|week)[:BURST]
//
// Errors are [*InvalidLimitError].
func ParseRate(name, text string) (Limit, error) {
	bad := func(reason string) (Limit, error) {
		return Limit{}, &InvalidLimitError{Text: text, Reason: reason}
	}
	rateText, rest, ok := strings.Cut(text, "/")
	if !ok {
		return bad("no period: write RATE/PERIOD, as in 100/min")
	}
	periodPart, burstText, hasBurst := strings.Cut(rest, ":")
	rate, reason := parseTokens("rate", rateText)
	if reason != "" {
		return bad(reason)
	}
	period, reason := parsePeriod(periodPart)
	if reason != "" {
		return bad(reason)
	}
	l := Limit{Name: name, Rate: rate, Period: period, Burst: rate}
	if hasBurst {
		if l.Burst, reason = parseTokens("burst", burstText); reason != "" {
			return bad(reason)
		}
	}
	if err := l.Validate(); err != nil {
		err.(*InvalidLimitError).Text = text //nolint:errorlint // Validate's only error type
		return Limit{}, err
	}
	return l, nil
}

// parseTokens reads a whole number of tokens; reason is empty when it is one.
func parseTokens(what, s string) (n int64, reason string) {
	if s == "" {
		return 0, "the " + what + " is missing"
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, fmt.Sprintf("%s %q is not a whole number", what, s)
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n > MaxTokens {
		return 0, fmt.Sprintf("%s %s is not between 1 and 1e15", what, s)
	}
	return n, ""
}

var units = map[string]time.Duration{
	"s": time.Second, "sec": time.Second, "second": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute,
	"h": time.Hour, "hour": time.Hour,
	"d": day, "day": day,
	"w": week, "week": week,
}

func parsePeriod(s string) (p time.Duration, reason string) {
	digits := 0
	for digits < len(s) && s[digits]-'0' < 10 {
		digits++
	}
	unit, ok := units[s[digits:]]
	if !ok {
		return 0, fmt.Sprintf("period %q is not [N] and one of s, sec, second, m, min, minute, h, hour, d, day, w, week", s)
	}
	n := int64(1)
	if digits > 0 {
		var err error
		if n, err = strconv.ParseInt(s[:digits], 10, 64); err != nil || n < 1 || n > int64(MaxPeriod/unit) {
			return 0, fmt.Sprintf("period %q is not between 1 second and 1e9 seconds", s)
		}
	}
	return time.Duration(n) * unit, ""
}
