package ratelimit

import "time"

// Charge is one bucket's part of a decision.
type Charge struct {
	Query Query
	Cost  Cost
	// Settle books the charge whatever the balance and whatever the decision's
	// other charges: it never denies.
	Settle bool
	// Required denies the charge where no limits apply to it.
	Required bool
}

// Decision is the answer to one or more charges that are taken together, all
// or none. It is a plain value; its slices are the caller's.
type Decision struct {
	Allowed bool
	Reason  Reason
	Source  Source
	// RetryAfter is how long until all of the charges would be there, if nobody
	// else takes from their buckets; 0 when allowed, and when no waiting helps.
	RetryAfter time.Duration
	// Buckets are those of each charge in the order of the charges, its own
	// first and then its parents'.
	Buckets []BucketStatus
}

// Reason is why a decision is as it is.
type Reason uint8

// The reasons.
const (
	ReasonAllowed     Reason = iota
	ReasonNoLimits           // allowed: no limits apply to any of the charges
	ReasonBypass             // allowed: the buckets' mode is bypass
	ReasonExceeded           // denied: too few tokens
	ReasonNever              // denied: a charge is larger than its bucket
	ReasonDisabled           // denied: the bucket's mode is disabled
	ReasonUnlimited          // denied: no limits apply to a charge that requires some
	ReasonUnavailable        // the fallback answered for the store
)

var reasonNames = [...]string{"allowed", "no_limits", "bypass", "exceeded", "never", "disabled", "unlimited", "unavailable"}

// String is the reason's name, as metrics and JSON have it.
func (r Reason) String() string { return nameOf(reasonNames[:], uint8(r)) }

// Source is what a decision rests on.
type Source uint8

// The sources.
const (
	SourceStore    Source = iota
	SourceCache           // the last state seen, without asking the store
	SourceFallback        // the store gave no answer in time
)

var sourceNames = [...]string{"store", "cache", "fallback"}

// String is the source's name, as metrics and JSON have it.
func (s Source) String() string { return nameOf(sourceNames[:], uint8(s)) }

// BucketStatus is what a decision says of one bucket.
type BucketStatus struct {
	Charge   int // index of the charge that it belongs to
	Parent   int // 0 for the charge's own bucket, 1 for its parent's, and so on
	Key      Key
	Level    Level
	Mode     Mode
	Tier     string            // the tier that was used, empty for none
	Metadata map[string]string // what is known of the charge's entity; not to be changed
	// NoLimits is true when no limits apply to the charge; Limits is empty.
	NoLimits bool
	// Limits are those of the bucket that the charge takes from or looks at, or
	// all of them where it names none.
	Limits []LimitStatus
	// Unknown are limits that the cost names and the bucket lacks.
	Unknown []string
}

// LimitStatus is what a decision says of one limit of a bucket.
type LimitStatus struct {
	Limit    Limit
	Cost     int64 // tokens asked for
	Looked   bool  // named with 0
	Violated bool  // the reason, or one of the reasons, of a denial
	// Never is true when the cost is above the capacity.
	Never bool
	// Balance is what is there after the decision; below zero it is a debt.
	Balance Millitokens
	// RetryAfter is how long until the cost is there; 0 when it is, and with
	// Never.
	RetryAfter time.Duration
	// FullAfter is how long until the limit is full again.
	FullAfter time.Duration
}

// Remaining is the balance in whole tokens, at least 0.
func (l LimitStatus) Remaining() int64 { return max(0, l.Balance.Tokens()) }
