package dynamostore

import (
	"time"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Observer is told of each call to DynamoDB, when its outcome is known. It is
// called by the goroutine that made the call, by many at once, and must not
// wait.
type Observer interface {
	Called(Call)
}

// Call is one call to DynamoDB.
type Call struct {
	Request Request
	Op      ratelimit.Op // what a RequestWrite was for
	Kind    Kind
	// Reasons are why DynamoDB throttled the call, in its own words.
	Reasons []string
	Took    time.Duration
	// Capacity is what DynamoDB says that the call consumed; all 0 unless
	// Config.ReportCapacity is set. It does not say for calls that failed.
	Capacity Capacity
}

// Capacity is in units of DynamoDB's: of writes for RequestWrite and
// RequestConfigWrite, of reads for the others.
type Capacity struct{ Total, Indexes float64 }

// Request is what a call asked for.
type Request uint8

// The requests that are observed.
const (
	RequestWrite       Request = iota // of a bucket
	RequestRead                       // of a bucket
	RequestRegister                   // of a namespace's id, at its first use in the process
	RequestConfigRead                 // of the configuration and what belongs to it
	RequestConfigWrite                // of the same, mostly a transaction
)

// Requests is how many there are.
const Requests = RequestConfigWrite + 1

// String is the request's name, as metrics have it.
func (r Request) String() string {
	return [...]string{"write", "read", "register", "config_read", "config_write"}[r]
}

// Kind is what became of a call.
type Kind uint8

// The kinds of outcome. Only after KindUnknown is it open whether a write was
// applied.
const (
	KindOK            Kind = iota // applied, or read
	KindRefused                   // the condition was false
	KindThrottled                 // not applied: no capacity
	KindConflict                  // not applied: a transaction held the item
	KindUnsent                    // not applied: it never left this process
	KindRejected                  // not applied: DynamoDB finds the request wrong
	KindMisconfigured             // not applied: the table or the right to it is missing
	KindUnknown                   // a time-out, a reset, a server error
)

// String is the kind's name, as metrics have it.
func (k Kind) String() string {
	return [...]string{"ok", "refused", "throttled", "conflict", "unsent", "rejected", "misconfigured", "unknown"}[k]
}
