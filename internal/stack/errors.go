package stack

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
)

// The classes of errors, which an [*Error] matches.
var (
	// ErrMissing: there is no such stack.
	ErrMissing = errors.New("there is no such stack")
	// ErrInvalid: what is asked for can't be.
	ErrInvalid = errors.New("invalid")
	// ErrNoCode: the aggregator is wanted and there is no code for it.
	ErrNoCode = errors.New("no code for the aggregator")
	// ErrTaken: a table without a stack has the name, or a stack of others.
	ErrTaken = errors.New("the name is taken")
	// ErrFailed: CloudFormation could not do it.
	ErrFailed = errors.New("failed")
	// ErrProtected: something protects the stack from being deleted.
	ErrProtected = errors.New("protected")
	// ErrLoss: something would be replaced or lost, and nobody has agreed.
	ErrLoss = errors.New("something would be replaced or lost")
)

// Error is what went wrong, and what to do about it.
type Error struct {
	Class error  // one of those above, or nil
	What  string // what went wrong
	Hint  string // as a rule the next command to type
	Err   error  // the cause, may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.What
	}
	return e.What + ": " + e.Err.Error()
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is says of which class it is.
func (e *Error) Is(target error) bool { return target == e.Class }

// isMissing reports whether CloudFormation knows no such stack, which it has no
// code for.
func isMissing(err error) bool {
	return isValidation(err, "does not exist")
}

// errAgain says that what is there is to be looked at again.
var errAgain = errors.New("something has changed meanwhile")

// isBusy reports whether somebody else was faster: the stack is at work, or a
// change set isn't of what it is now.
func isBusy(err error) bool {
	if errors.Is(err, errAgain) {
		return true
	}
	var answer smithy.APIError
	if errors.As(err, &answer) && (answer.ErrorCode() == "InvalidChangeSetStatus" || answer.ErrorCode() == "ChangeSetNotFound") {
		return true
	}
	return isValidation(err, "_IN_PROGRESS state") || isValidation(err, "already exists")
}

func isValidation(err error, text string) bool {
	var answer smithy.APIError
	return errors.As(err, &answer) && answer.ErrorCode() == "ValidationError" && strings.Contains(answer.ErrorMessage(), text)
}

// passing reports whether AWS may answer a little later.
func passing(err error) bool {
	return err != nil && (retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err) == aws.TrueTernary ||
		retry.IsErrorRetryables(retry.DefaultRetryables).IsErrorRetryable(err) == aws.TrueTernary)
}

// failed is the error of an operation that has ended badly.
func (s *Stack) failed(doing string, st *State, reasons []Event) *Error {
	e := &Error{Class: ErrFailed, What: fmt.Sprintf("%s the stack %q failed (%s)", doing, s.name, st.Status)}
	const most = 3 // what comes after the first is mostly its consequence
	for i, r := range reasons {
		if i == most {
			e.What += fmt.Sprintf("; and %d more", len(reasons)-most)
			break
		}
		e.What += fmt.Sprintf("; %s (%s): %s", r.Resource, r.Type, r.Reason)
	}
	if len(reasons) == 0 && st.Reason != "" {
		e.What += ": " + st.Reason
	}
	switch st.Status {
	case "UPDATE_ROLLBACK_COMPLETE":
		e.Hint = "the stack is as it was: put that right and deploy again"
	case "UPDATE_ROLLBACK_FAILED", "UPDATE_FAILED":
		e.Hint = "put that right, then aws cloudformation continue-update-rollback --stack-name " + s.name
	case "DELETE_FAILED":
		e.Hint = "put that right, then extauthz delete --name " + s.name
	default:
		e.Hint = "put that right and deploy again, which removes what is left of it first"
	}
	return e
}
