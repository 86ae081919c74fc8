package extauthz

import (
	"time"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// What is charged, and what comes of it. See pkg/ratelimit.
type (
	// Limit is how much of something an entity may use.
	Limit = ratelimit.Limit
	// Request is what Acquire asks for; without a Namespace, in the Limiter's.
	Request = ratelimit.Request
	// Lease is a charge that may still be adjusted, committed or rolled back.
	Lease = ratelimit.Lease
	// Decision is what was decided, with a status of each limit.
	Decision = ratelimit.Decision
	// BucketStatus is what is said of one bucket.
	BucketStatus = ratelimit.BucketStatus
	// LimitStatus is what is said of one limit of a bucket.
	LimitStatus = ratelimit.LimitStatus
	// Denial is a denial as a client may see it.
	Denial = ratelimit.Denial
)

// What limits are, and what else is said about entities. See pkg/hierarchy.
type (
	// Profile is what is said about an entity beside its limits.
	Profile = hierarchy.Profile
	// Editor is the configuration of limits with everything that admins do to it.
	Editor = hierarchy.Editor
	// Namespaces are those of a store.
	Namespaces = hierarchy.Namespaces
)

// The errors that carry what a caller can act on.
type (
	// ExceededError is a denial.
	ExceededError = ratelimit.ExceededError
	// InvalidKeyError is an entity, a resource or a namespace that can't be one.
	InvalidKeyError = ratelimit.InvalidKeyError
	// InvalidCostError is a consume, or an adjustment, out of range.
	InvalidCostError = ratelimit.InvalidCostError
	// InvalidLimitError is a limit that can't be one.
	InvalidLimitError = ratelimit.InvalidLimitError
	// InvalidItemError is what can't be said about an entity, a tier or a
	// resource.
	InvalidItemError = hierarchy.InvalidItemError
	// ConflictError is a change in view of what somebody has changed meanwhile.
	ConflictError = hierarchy.ConflictError
)

// The errors that are matched.
var (
	// ErrUnavailable is matched when the store gave no answer in time.
	ErrUnavailable = ratelimit.ErrUnavailable
	// ErrUnknownNamespace is matched when a namespace isn't registered.
	ErrUnknownNamespace = ratelimit.ErrUnknownNamespace
	// ErrUnsatisfiable is matched by a denial that no waiting helps.
	ErrUnsatisfiable = ratelimit.ErrUnsatisfiable
	// ErrLeaseEnded is matched when a lease was committed or rolled back before.
	ErrLeaseEnded = ratelimit.ErrLeaseEnded
)

// PerSecond is a limit of rate tokens a second, with a burst as large.
func PerSecond(name string, rate int64) Limit { return ratelimit.PerSecond(name, rate) }

// PerMinute is a limit of rate tokens a minute, with a burst as large.
func PerMinute(name string, rate int64) Limit { return ratelimit.PerMinute(name, rate) }

// PerHour is a limit of rate tokens an hour, with a burst as large.
func PerHour(name string, rate int64) Limit { return ratelimit.PerHour(name, rate) }

// PerDay is a limit of rate tokens a day, with a burst as large.
func PerDay(name string, rate int64) Limit { return ratelimit.PerDay(name, rate) }

// Custom is a limit with a bucket of capacity tokens that gains refill tokens
// every period.
func Custom(name string, capacity, refill int64, period time.Duration) Limit {
	return ratelimit.Custom(name, capacity, refill, period)
}

// ParseLimit reads NAME:RATE[/PERIOD][:BURST], the command line's form. The
// error is an [*InvalidLimitError].
func ParseLimit(s string) (Limit, error) { return ratelimit.ParseLimit(s) }
