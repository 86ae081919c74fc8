package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Problem is an error of the admin API, and of the commands: a code for
// programs, a message, and what to do about it.
type Problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func (p *Problem) Error() string { return p.Message }

// The codes of problems. Codes are only ever added.
const (
	CodeFailed           = "failed"
	CodeUnknownNamespace = "unknown_namespace"
	CodeNotFound         = "not_found"
	CodeExists           = "exists"
	CodeConflict         = "conflict" // somebody else has changed it meanwhile
	CodeManaged          = "managed"  // by another manifest
	CodeInvalidItem      = "invalid_item"
	CodeInvalidEdit      = "invalid_edit"
	CodeInvalidName      = "invalid_name"
	CodeInvalidLimit     = "invalid_limit"
	CodeNameTaken        = "name_taken"
	CodeNamespaceActive  = "namespace_active"
	CodePurged           = "purged"
	CodeGap              = "gap"
	CodeUnavailable      = "unavailable" // the store gives no answer
	CodeUnreachable      = "unreachable" // the server doesn't
	CodeStore            = "store"       // the table can't be used as it is
	CodeNotCounted       = "not_counted" // where there is no usage
)

// sentinels are the errors that a code stands for.
func sentinels() map[string]error {
	return map[string]error{
		CodeUnknownNamespace: hierarchy.ErrUnknownNamespace,
		CodeNamespaceActive:  hierarchy.ErrNamespaceActive,
		CodePurged:           hierarchy.ErrPurged,
		CodeGap:              hierarchy.ErrGap,
		CodeUnavailable:      ratelimit.ErrUnavailable,
	}
}

// putRight is what to do about input of which the message says all else.
const putRight = "nothing was written: put that right, and repeat the command"

// Describe is an error as a problem: what it is called, and what to do next.
func Describe(err error) Problem {
	if p := new(Problem); errors.As(err, &p) {
		return *p
	}
	p := Problem{Code: CodeFailed, Message: err.Error()}
	var (
		conflict *hierarchy.ConflictError
		item     *hierarchy.InvalidItemError
		edit     *hierarchy.InvalidEditError
		taken    *hierarchy.NameTakenError
		key      *ratelimit.InvalidKeyError
		limit    *ratelimit.InvalidLimitError
		no       *ratelimit.UnknownLimitError
		cost     *ratelimit.InvalidCostError
		table    *dynamostore.TableError
		clock    *dynamostore.ClockError
	)
	switch {
	case errors.As(err, &conflict):
		p.Code, p.Hint = CodeConflict, "nothing was written: look at it again, then repeat the command"
	case errors.As(err, &item):
		p.Code, p.Hint = CodeInvalidItem, putRight
	case errors.As(err, &edit):
		p.Code, p.Hint = CodeInvalidEdit, putRight
	case errors.As(err, &taken):
		p.Code, p.Hint = CodeNameTaken, "extauthz namespace delete "+taken.Name
	case errors.As(err, &key):
		p.Code, p.Hint = CodeInvalidName, putRight
	case errors.As(err, &limit):
		p.Code, p.Hint = CodeInvalidLimit, "a limit is NAME:RATE[/PERIOD][:BURST], as in rpm:100/min:150"
	case errors.As(err, &no), errors.As(err, &cost):
		p.Code, p.Hint = CodeInvalidLimit, putRight
	case errors.As(err, &table), errors.As(err, &clock):
		p.Code = CodeStore
	case errors.Is(err, context.DeadlineExceeded):
		p.Code, p.Hint = CodeUnavailable, "try again"
	default:
		describeSentinel(err, &p)
	}
	return p
}

func describeSentinel(err error, p *Problem) {
	for code, sentinel := range sentinels() {
		if errors.Is(err, sentinel) {
			p.Code = code
		}
	}
	switch p.Code {
	case CodeNamespaceActive:
		p.Hint = "extauthz namespace delete NAME"
	case CodeUnavailable:
		p.Hint = "try again"
	}
}

// statusOf is the HTTP status of a problem.
func statusOf(code string) int {
	switch code {
	case codeInvalidQuery:
		return http.StatusBadRequest
	case CodeUnknownNamespace, CodeNotFound:
		return http.StatusNotFound
	case CodeConflict, CodeExists, CodeNameTaken, CodeNamespaceActive, CodePurged, CodeManaged:
		return http.StatusConflict
	case CodeGap:
		return http.StatusGone
	case CodeInvalidItem, CodeInvalidEdit, CodeInvalidName, CodeInvalidLimit:
		return http.StatusUnprocessableEntity
	case CodeUnavailable, CodeStore:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// apiError is how every error is written. Beside the problem it has what a
// typed error holds, so that the client can make the same again.
type apiError struct {
	Error    Problem          `json:"error"`
	Conflict *conflictDetails `json:"conflict,omitempty"`
	Item     *itemDetails     `json:"item,omitempty"`
	Reason   string           `json:"reason,omitempty"` // of an edit or a name
	Taken    *takenDetails    `json:"taken,omitempty"`
	Name     *nameDetails     `json:"name,omitempty"`
}

type conflictDetails struct {
	Ref      hierarchy.Ref  `json:"ref"`
	Expected int64          `json:"expected"`
	Found    hierarchy.Item `json:"found"`
}

type itemDetails struct {
	Ref    hierarchy.Ref `json:"ref"`
	Faults []string      `json:"faults"`
}

type takenDetails struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

type nameDetails struct {
	Part  string `json:"part"`
	Value string `json:"value"`
}

func apiErrorOf(err error) *apiError {
	e := &apiError{Error: Describe(err)}
	var (
		conflict *hierarchy.ConflictError
		item     *hierarchy.InvalidItemError
		edit     *hierarchy.InvalidEditError
		taken    *hierarchy.NameTakenError
		key      *ratelimit.InvalidKeyError
	)
	switch {
	case errors.As(err, &conflict):
		e.Conflict = &conflictDetails{conflict.Ref, conflict.Expected, conflict.Found}
	case errors.As(err, &item):
		e.Item = &itemDetails{item.Ref, item.Faults}
	case errors.As(err, &edit):
		e.Reason = edit.Reason
	case errors.As(err, &taken):
		e.Taken = &takenDetails{taken.Name, taken.ID}
	case errors.As(err, &key):
		e.Name, e.Reason = &nameDetails{key.Part, key.Value}, key.Reason
	}
	return e
}

// err is the error that the server met.
func (e *apiError) err() error {
	switch {
	case e.Conflict != nil:
		return &hierarchy.ConflictError{Ref: e.Conflict.Ref, Expected: e.Conflict.Expected, Found: e.Conflict.Found}
	case e.Item != nil:
		return &hierarchy.InvalidItemError{Ref: e.Item.Ref, Faults: e.Item.Faults}
	case e.Taken != nil:
		return &hierarchy.NameTakenError{Name: e.Taken.Name, ID: e.Taken.ID}
	case e.Name != nil:
		return &ratelimit.InvalidKeyError{Part: e.Name.Part, Value: e.Name.Value, Reason: e.Reason}
	case e.Reason != "":
		return &hierarchy.InvalidEditError{Reason: e.Reason}
	}
	if sentinel := sentinels()[e.Error.Code]; sentinel != nil {
		return &serverError{e.Error, sentinel}
	}
	p := e.Error
	return &p
}

// serverError is a problem that a server has told, and the error that its code
// stands for.
type serverError struct {
	problem Problem
	is      error
}

func (e *serverError) Error() string { return e.problem.Message }
func (e *serverError) Unwrap() error { return e.is }
