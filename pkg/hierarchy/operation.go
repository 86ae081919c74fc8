package hierarchy

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Operator is a store in which admins change buckets by hand. It is safe for
// concurrent use.
type Operator interface {
	// Operate makes an operation's write, and records in the same transaction
	// that it was made, with an audit event. The error is a [*RepeatedError]
	// when an operation of that ID was made before, a
	// [*ratelimit.RefusedError] when the write's condition was false; nothing
	// was written then. It matches [ErrUnknownNamespace] as a Source's do.
	//
	// An error that says neither leaves open whether it was made: the same
	// operation, by the same ID, finds out.
	Operate(ctx context.Context, namespace string, o *Operation) error
}

// KeepOperations is for how long at least the ID of an operation is known.
const KeepOperations = 7 * 24 * time.Hour

// maxOperationID is the longest ID of an operation, in bytes.
const maxOperationID = 128

// Operation is a change of one bucket by hand, which is made once at most.
type Operation struct {
	Cause
	// ID is the operation's among all of the namespace: printable ASCII, 1 to
	// 128 bytes.
	ID     string
	Action string // what is done, a word for the audit: reset
	Detail string // what of it; with the bucket it tells another operation of the same ID
	Key    ratelimit.Key
	// Write is nil where there is nothing to write, as the bucket is absent.
	Write *ratelimit.Write
}

// Operated is the record of an operation that was made.
type Operated struct {
	At     time.Time `json:"at"`
	By     Actor     `json:"by"`
	Action string    `json:"action"`
	Detail string    `json:"detail"`
	Bucket string    `json:"bucket"` // the ID of its key
}

// RepeatedError says that an operation of that ID was made before.
type RepeatedError struct {
	ID   string
	Made Operated
}

func (e *RepeatedError) Error() string {
	return fmt.Sprintf("the operation %q was made before, at %s: %s %s", e.ID, e.Made.At.UTC().Format(time.RFC3339), e.Made.Action, e.Made.Detail)
}

// Same reports whether an operation is the one that was made.
func (e *RepeatedError) Same(o *Operation) bool {
	return e.Made.Action == o.Action && e.Made.Detail == o.Detail && e.Made.Bucket == o.Key.ID()
}

// Check reports whether an operation can be made. The error is an
// [*InvalidEditError].
func (o *Operation) Check() error {
	if err := o.Cause.Check(); err != nil {
		return err
	}
	bad := o.ID == "" || len(o.ID) > maxOperationID
	for i := range len(o.ID) {
		bad = bad || o.ID[i] <= ' ' || o.ID[i] > '~'
	}
	if bad {
		return &InvalidEditError{Reason: fmt.Sprintf("has the id %q: it is 1 to %d characters of ASCII, without blanks", o.ID, maxOperationID)}
	}
	if faults := textFaults("action", o.Action, maxAction); o.Action == "" || len(faults) > 0 {
		return &InvalidEditError{Reason: "names no action"}
	}
	if o.Write != nil && o.Write.Key != o.Key {
		return &InvalidEditError{Reason: "writes another bucket"}
	}
	return nil
}

// Record is what is kept of an operation. Stores call it.
func (o *Operation) Record() Operated {
	return Operated{At: Kept(o.At), By: o.By, Action: o.Action, Detail: o.Detail, Bucket: o.Key.ID()}
}

// Event is the audit event of an operation. Its revision is 0: the
// configuration is as it was. Stores call it.
func (o *Operation) Event() (Event, error) {
	id, err := ulid.New(uint64(max(0, o.At.UnixMilli())), rand.Reader)
	if err != nil {
		return Event{}, fmt.Errorf("making an audit event: %w", err)
	}
	return Event{
		ID: id.String(), At: Kept(o.At), By: o.By, Action: o.Action, Detail: o.Detail,
		Target: EntityRef(o.Key.Entity(), o.Key.Resource()),
	}, nil
}

// NewOperationID is an ID that no other operation has.
func NewOperationID() string { return ulid.Make().String() }
