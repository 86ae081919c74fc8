package ratelimit

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// ExceededError is a denial: what Acquire returns when a request is refused.
// It matches [ErrUnsatisfiable] when no waiting helps.
type ExceededError struct {
	// Decision has a status for every limit of every bucket involved, violated
	// and passed.
	Decision Decision
	// RetryAfter is how long until the request would pass, if nobody else takes
	// from its buckets; 0 when no waiting helps.
	RetryAfter time.Duration
}

func newExceeded(d *Decision) *ExceededError {
	return &ExceededError{Decision: *d, RetryAfter: d.RetryAfter}
}

// Primary are the bucket and the limit that the denial is about: of those
// violated, the one that takes longest, one that never passes before all. The
// limit is nil when the bucket is disabled.
func (e *ExceededError) Primary() (BucketStatus, *LimitStatus) { return e.Decision.Primary() }

// Primary is the limit that decided a denial, see [ExceededError.Primary]; of
// an admission the one with the least left, by its share of the capacity. The
// limit is nil when no limit was asked.
func (d *Decision) Primary() (BucketStatus, *LimitStatus) {
	var bucket *BucketStatus
	var limit *LimitStatus
	for i := range d.Buckets {
		b := &d.Buckets[i]
		if d.Reason == ReasonDisabled && b.Mode == ModeDisabled || d.Reason == ReasonUnlimited && b.NoLimits {
			return *b, nil
		}
		for j := range b.Limits {
			if l := &b.Limits[j]; limit == nil || l.before(limit) {
				bucket, limit = b, l
			}
		}
	}
	if bucket == nil {
		return BucketStatus{}, nil
	}
	return *bucket, limit
}

// before reports whether the limit says more about a decision than another.
func (l *LimitStatus) before(o *LimitStatus) bool {
	switch {
	case l.Violated != o.Violated:
		return l.Violated
	case l.Never != o.Never:
		return l.Never
	case l.Violated:
		return l.RetryAfter > o.RetryAfter
	}
	return float64(l.Balance)*float64(o.Limit.Burst) < float64(o.Balance)*float64(l.Limit.Burst)
}

func (e *ExceededError) Error() string {
	b, l := e.Primary()
	switch {
	case e.Decision.Reason == ReasonUnlimited:
		return "no limits apply to the request"
	case l == nil:
		return fmt.Sprintf("%s of %s is disabled", b.Key.Resource(), b.Key.Entity())
	case l.Never:
		return fmt.Sprintf("rate limit exceeded for %s on %s: %s takes %d, more than its capacity of %d",
			b.Key.Entity(), b.Key.Resource(), l.Limit.Name, l.Cost, l.Limit.Burst)
	}
	return fmt.Sprintf("rate limit exceeded for %s on %s: %s; retry after %s",
		b.Key.Entity(), b.Key.Resource(), l.Limit.Name, e.RetryAfter)
}

// Is reports whether the error matches a sentinel: [ErrUnsatisfiable].
func (e *ExceededError) Is(target error) bool {
	return target == ErrUnsatisfiable && e.Decision.Reason == ReasonNever
}

// RetryAfterSeconds is RetryAfter in whole seconds, rounded up, as the
// Retry-After header has it; 0 when no waiting helps.
func (e *ExceededError) RetryAfterSeconds() int64 { return WholeSeconds(e.RetryAfter) }

// WholeSeconds is a wait in whole seconds, rounded up.
func WholeSeconds(d time.Duration) int64 {
	s := int64(d / time.Second)
	if d%time.Second > 0 {
		s++
	}
	return s
}

// SetHeaders sets the Retry-After header, unless no waiting helps.
func (e *ExceededError) SetHeaders(h http.Header) {
	if s := e.RetryAfterSeconds(); s > 0 {
		h.Set("Retry-After", strconv.FormatInt(s, 10))
	}
}

// Denial is what a client may know of a denial: neither the entity nor its
// parents.
type Denial struct {
	Error             string  `json:"error"` // the reason: rate_limit_exceeded, never, disabled, unlimited or unavailable
	Message           string  `json:"message"`
	Resource          string  `json:"resource,omitempty"`
	Limit             string  `json:"limit,omitempty"`
	RetryAfterSeconds float64 `json:"retry_after_seconds,omitempty"`
}

// Public is the denial as a client may see it.
func (e *ExceededError) Public() Denial { return e.Decision.Public() }

// Public is the denial as a client may see it; of an admission it is empty.
func (d *Decision) Public() Denial {
	b, l := d.Primary()
	p := Denial{Resource: b.Key.Resource(), RetryAfterSeconds: d.RetryAfter.Seconds()}
	if l != nil {
		p.Limit = l.Limit.Name
	}
	switch d.Reason {
	case ReasonExceeded:
		p.Error, p.Message = "rate_limit_exceeded", retryMessage(WholeSeconds(d.RetryAfter))
	case ReasonNever:
		p.Error, p.Message = "never", "The request takes more than the limit can hold."
	case ReasonDisabled:
		p.Error, p.Message = "disabled", "Access is disabled."
	case ReasonUnlimited:
		p.Error, p.Message = "unlimited", "No limits are configured for this request."
	case ReasonUnavailable:
		p.Error, p.Message = "unavailable", "No decision could be made; retry later."
	case ReasonAllowed, ReasonNoLimits, ReasonBypass:
		return Denial{}
	}
	return p
}

func retryMessage(seconds int64) string {
	var room [64]byte
	text := strconv.AppendInt(append(room[:0], "Rate limit exceeded; retry after "...), seconds, 10)
	return string(append(text, " s."...))
}

// exceededJSON is the stable JSON form of a denial, for programs and admins.
type exceededJSON struct {
	Denial
	Limits []limitJSON `json:"limits"`
}

type limitJSON struct {
	Namespace         string  `json:"namespace"`
	Entity            string  `json:"entity"`
	Resource          string  `json:"resource"`
	Level             string  `json:"level"`
	Name              string  `json:"name"`
	Rate              int64   `json:"rate"`
	PeriodSeconds     float64 `json:"period_seconds"`
	Burst             int64   `json:"burst"`
	Cost              int64   `json:"cost"`
	Balance           int64   `json:"balance"`
	Violated          bool    `json:"violated"`
	Never             bool    `json:"never,omitempty"`
	RetryAfterSeconds float64 `json:"retry_after_seconds"`
}

// MarshalJSON has every limit of every bucket involved.
func (e *ExceededError) MarshalJSON() ([]byte, error) {
	out := exceededJSON{Denial: e.Public(), Limits: []limitJSON{}}
	for _, b := range e.Decision.Buckets {
		for _, l := range b.Limits {
			out.Limits = append(out.Limits, limitJSON{
				Namespace: b.Key.Namespace(), Entity: b.Key.Entity(), Resource: b.Key.Resource(), Level: b.Level.String(),
				Name: l.Limit.Name, Rate: l.Limit.Rate, PeriodSeconds: l.Limit.Period.Seconds(), Burst: l.Limit.Burst,
				Cost: l.Cost, Balance: l.Balance.Tokens(), Violated: l.Violated, Never: l.Never,
				RetryAfterSeconds: l.RetryAfter.Seconds(),
			})
		}
	}
	return json.Marshal(out)
}
