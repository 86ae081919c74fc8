package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// ThrottledError is a call that DynamoDB turned away for want of capacity. It
// was not applied: the error matches ratelimit.ErrNotApplied and ErrThrottled.
type ThrottledError struct {
	// Reasons are DynamoDB's own, such as TableWriteKeyRangeThroughputExceeded:
	// one item takes at most 1,000 writes a second. Empty when it named none.
	Reasons []string
	Err     error // the SDK's
}

func (e *ThrottledError) Error() string {
	if len(e.Reasons) == 0 {
		return "DynamoDB throttled the call: " + e.Err.Error()
	}
	return fmt.Sprintf("DynamoDB throttled the call (%s): %v", strings.Join(e.Reasons, ", "), e.Err)
}

// Unwrap is the SDK's error.
func (e *ThrottledError) Unwrap() error { return e.Err }

// Is says that the write was not applied, and that there should be fewer.
func (e *ThrottledError) Is(target error) bool {
	return target == ratelimit.ErrNotApplied || target == ratelimit.ErrThrottled
}

// Problem is what stands between the program and its table.
type Problem uint8

// The problems. Each needs a person; waiting helps none.
const (
	ProblemMissing   Problem = iota // there is no such table
	ProblemKeys                     // its key is not PK and SK, both text
	ProblemSchema                   // a newer program laid it out
	ProblemForbidden                // the credentials may not use it
	ProblemForeign                  // it has the right key, and another program's items
	ProblemOutdated                 // its layout is older than this program knows
)

// TableError is a table that can't be used as it is. A write that fails with
// it was not applied: it matches ratelimit.ErrNotApplied and ErrUnusable.
type TableError struct {
	Table   string
	Problem Problem
	Detail  string // what was found, may be empty
	Err     error  // the SDK's, may be nil
}

// Error says what is wrong and what to do about it.
func (e *TableError) Error() string {
	var s string
	switch e.Problem {
	case ProblemMissing:
		s = fmt.Sprintf("the table %q does not exist: check the stack's name and the region, or let it be created (store.create: true)", e.Table)
	case ProblemKeys:
		s = fmt.Sprintf("the table %q is another program's, its key is not PK (S) and SK (S): give the stack another name", e.Table)
	case ProblemForeign:
		s = fmt.Sprintf("the table %q holds another program's items: give the stack another name", e.Table)
	case ProblemSchema:
		s = fmt.Sprintf("the table %q was laid out by a newer version: upgrade this program", e.Table)
	case ProblemOutdated:
		s = fmt.Sprintf("the table %q was laid out by a much older version: deploy the releases between first, one after the other", e.Table)
	case ProblemForbidden:
		s = fmt.Sprintf("the credentials may not use the table %q: allow dynamodb:DescribeTable, GetItem, BatchGetItem, Query, PutItem, UpdateItem, DeleteItem and ConditionCheckItem on it, and check that they are those of the right account", e.Table)
	}
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap is the SDK's error.
func (e *TableError) Unwrap() error { return e.Err }

// Is says that the write was not applied, and that trying again won't help.
func (e *TableError) Is(target error) bool {
	return target == ratelimit.ErrNotApplied || target == ratelimit.ErrUnusable
}

// NamespaceError is a name that leads to no namespace: it was never registered,
// or was deleted. It matches hierarchy.ErrUnknownNamespace, and, as no write was
// made and none will be, ratelimit.ErrNotApplied and ErrUnusable.
type NamespaceError struct{ Name string }

func (e *NamespaceError) Error() string {
	return fmt.Sprintf("namespace %q is not registered", e.Name)
}

// Is says what it means for a write and for a look-up.
func (e *NamespaceError) Is(target error) bool {
	return target == hierarchy.ErrUnknownNamespace || target == ratelimit.ErrNotApplied || target == ratelimit.ErrUnusable
}

// ItemError is an item that this package can't have written.
type ItemError struct {
	Key       ratelimit.Key
	Attribute string
	Reason    string
}

func (e *ItemError) Error() string {
	return fmt.Sprintf("the item of bucket %s: attribute %s %s", e.Key.ID(), e.Attribute, e.Reason)
}

// sorted says what an error of the SDK means for a write: its kind, and the
// error to return. sent is false where no byte of the request can have left.
func (s *Store) sorted(err error, sent bool) (Kind, error) {
	if reasons, ok := throttled(err); ok {
		return KindThrottled, &ThrottledError{Reasons: reasons, Err: err}
	}
	if p, ok := tableProblem(err); ok {
		return KindMisconfigured, &TableError{Table: s.table, Problem: p, Err: err}
	}
	var dial *net.OpError
	switch status := httpStatus(err); {
	case conflict(err):
		return KindConflict, fmt.Errorf("%w: a transaction holds the item: %w", ratelimit.ErrNotApplied, err)
	case status >= 400 && status < 500 && status != 408:
		return KindRejected, unusable("DynamoDB rejected the request", err)
	case status == 0 && (!sent || errors.As(err, &dial) && dial.Op == "dial"):
		return KindUnsent, fmt.Errorf("%w: the request was not sent: %w", ratelimit.ErrNotApplied, err)
	}
	return KindUnknown, fmt.Errorf("the outcome of the call is unknown: %w", err)
}

// unusable is the error of a write that was not applied and never will be.
func unusable(why string, err error) error {
	return fmt.Errorf("%w: %w: %s: %w", ratelimit.ErrNotApplied, ratelimit.ErrUnusable, why, err)
}

// throttled reports whether the call was turned away for want of capacity, and
// DynamoDB's reasons.
func throttled(err error) ([]string, bool) {
	var reasons []types.ThrottlingReason
	var (
		provisioned *types.ProvisionedThroughputExceededException
		throttling  *types.ThrottlingException
		limit       *types.RequestLimitExceeded
	)
	switch {
	case errors.As(err, &provisioned):
		reasons = provisioned.ThrottlingReasons
	case errors.As(err, &throttling):
		reasons = throttling.ThrottlingReasons
	case errors.As(err, &limit):
		reasons = limit.ThrottlingReasons
	case httpStatus(err) != 429:
		return nil, false
	}
	var texts []string
	for _, r := range reasons {
		if r.Reason != nil {
			texts = append(texts, *r.Reason)
		}
	}
	return texts, true
}

// conflict reports whether the item was held by somebody else's transaction,
// or by a write in another region of a strongly consistent global table.
func conflict(err error) bool {
	var (
		transaction *types.TransactionConflictException
		replicated  *types.ReplicatedWriteConflictException
	)
	return errors.As(err, &transaction) || errors.As(err, &replicated)
}

// tableProblem is what is wrong with the table or the right to it.
func tableProblem(err error) (Problem, bool) {
	var missing *types.ResourceNotFoundException
	if errors.As(err, &missing) {
		return ProblemMissing, true
	}
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		return 0, false
	}
	switch answer.ErrorCode() {
	case "ValidationException":
		// The only words that DynamoDB has for it.
		text := answer.ErrorMessage()
		return ProblemKeys, strings.Contains(text, "does not match the schema") || strings.Contains(text, "Missing the key")
	case "AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignatureException",
		"MissingAuthenticationTokenException", "MissingAuthenticationToken", "ExpiredTokenException", "InvalidClientTokenId",
		"OptInRequired", "NotAuthorized":
		return ProblemForbidden, true
	}
	return 0, false
}

// httpStatus is the status of the answer that the error comes from, or 0.
func httpStatus(err error) int {
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}

// notBegun is the error of a call whose context was over before it.
func notBegun(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ratelimit.ErrNotApplied, err)
}
