package envoy

import (
	"strconv"
	"time"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// The headers that `response_headers` chooses among. Those of the IETF's draft
// (draft-ietf-httpapi-ratelimit-headers-10) are lists of structured fields; here
// they have one member, the limit that decided.
const (
	retryAfter      = "retry-after"
	rateLimitNow    = "ratelimit"
	rateLimitPolicy = "ratelimit-policy"
	xLimit          = "x-ratelimit-limit"
	xRemaining      = "x-ratelimit-remaining"
	xReset          = "x-ratelimit-reset"
)

// choose adds those of the chosen headers that have something to say. What they
// say is numbers and a limit's name, which is letters, digits and . _ -; nothing
// that a request brings.
func (r *reply) choose(a *decision.Answer, p *decision.Policy) {
	if len(p.ResponseHeaders) == 0 {
		return
	}
	_, limit := a.Decision.Primary()
	for _, name := range p.ResponseHeaders {
		from := len(r.texts)
		r.texts = appendValue(r.texts, name, a, limit)
		if len(r.texts) == from {
			continue
		}
		if other, ok := p.HeaderNames[name]; ok {
			name = other
		}
		r.headers = append(r.headers, header{name, r.texts[from:len(r.texts):len(r.texts)]})
	}
}

// appendValue appends the value of a chosen header, nothing when it has none. l
// is the limit that decided, or the one nearest its end; nil for none.
func appendValue(to []byte, name string, a *decision.Answer, l *ratelimit.LimitStatus) []byte {
	switch {
	case name == retryAfter: // a denial has it where a wait helps, other answers never
		return appendPositive(to, "", waitSeconds(a.RetryAfter))
	case l == nil:
		return to
	}
	switch name {
	case rateLimitNow:
		to = appendNumber(appendItem(to, l), ";r=", l.Remaining())
		return appendPositive(to, ";t=", nextSeconds(l))
	case rateLimitPolicy:
		to = appendNumber(appendItem(to, l), ";q=", l.Limit.Burst)
		return appendNumber(to, ";w=", waitSeconds(l.Limit.Period))
	case xLimit:
		return appendNumber(to, "", l.Limit.Burst)
	case xRemaining:
		return appendNumber(to, "", l.Remaining())
	case xReset:
		if l.Never {
			return to
		}
		return appendNumber(to, "", resetSeconds(l, l.Violated))
	}
	return to
}

// appendItem appends the limit's name as a string of a structured field.
func appendItem(to []byte, l *ratelimit.LimitStatus) []byte {
	return append(append(append(to, '"'), l.Limit.Name...), '"')
}

// mostNumber is the largest number that a structured field can hold: 15 digits.
const mostNumber = 999_999_999_999_999

func appendNumber(to []byte, before string, n int64) []byte {
	return strconv.AppendInt(append(to, before...), min(n, mostNumber), 10)
}

func appendPositive(to []byte, before string, n int64) []byte {
	if n <= 0 {
		return to
	}
	return appendNumber(to, before, n)
}

// resetSeconds is until when to wait where a limit is exceeded, else until it
// is full again.
func resetSeconds(l *ratelimit.LimitStatus, exceeded bool) int64 {
	if exceeded {
		return waitSeconds(l.RetryAfter)
	}
	return waitSeconds(l.FullAfter)
}

// nextSeconds is until the limit has one token more than Remaining says, 0 when
// it is full. What it lacks after that token takes a time that is known; the
// fraction of a millisecond which that can have is dropped, so that the next
// token never seems to come later than the tokens that a denial waits for.
func nextSeconds(l *ratelimit.LimitStatus) int64 {
	if l.FullAfter <= 0 {
		return 0
	}
	perToken := float64(l.Limit.Period.Milliseconds()) / float64(l.Limit.Rate)
	rest := float64(max(0, l.Limit.Burst-l.Remaining()-1)) * perToken
	next := time.Duration(float64(l.FullAfter.Milliseconds())-rest) * time.Millisecond
	return max(1, waitSeconds(next))
}
