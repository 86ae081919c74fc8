package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/internal/server"
)

// The exit statuses.
const (
	exitOK      = 0
	exitFailed  = 1
	exitChanges = 2 // of limits plan --detailed-exitcode
	exitDenied  = 3 // of explain --exit-code
)

// The codes of errors in JSON.
const (
	codeFailed        = "failed"
	codeUsage         = "usage"                 // of the command line
	codeConfiguration = "invalid_configuration" // it can't be used
)

// failure is an error with a line that says what to do. An empty text: it has
// been printed.
type failure struct {
	code       string // empty is codeFailed
	text, hint string
	status     int
}

func (f *failure) Error() string { return f.text }

// usage is a failure of the command line.
func usage(hint, format string, args ...any) *failure {
	return &failure{code: codeUsage, text: fmt.Sprintf(format, args...), hint: hint, status: exitFailed}
}

// complain prints an error and what to do about it, in the form that the command
// was asked for, and returns the exit status.
func complain(stderr io.Writer, command *cobra.Command, args []string, err error) int {
	f := failureOf(command, err)
	switch {
	case f.text == "":
	case isJSON(command, args):
		// Nobody is left to tell that standard error can't be written.
		_ = printJSON(stderr, failureJSON{admin.Problem{Code: f.code, Message: f.text, Hint: f.hint}})
	default:
		printf(stderr, "extauthz: %s\n", f.text)
		if f.hint != "" {
			printf(stderr, "hint: %s\n", f.hint)
		}
	}
	return f.status
}

// failureOf is an error as a failure.
func failureOf(command *cobra.Command, err error) failure {
	var f *failure
	var e *server.Error
	switch {
	case errors.As(err, &f):
		made := *f
		if made.code == "" {
			made.code = codeFailed
		}
		return made
	case errors.As(err, &e):
		return failure{code: codeFailed, text: err.Error(), hint: e.Hint, status: exitFailed}
	case command != nil: // from the reading of flags
		return *usage("see "+command.CommandPath()+" --help", "%s", err)
	}
	return failure{code: codeFailed, text: err.Error(), status: exitFailed}
}

// failureJSON is how every error is written in JSON.
type failureJSON struct {
	Error admin.Problem `json:"error"`
}

// isJSON reports whether a command was asked for JSON. Flags behind one that is
// wrong were not read: then it is looked for in the arguments.
func isJSON(c *cobra.Command, args []string) bool {
	if c == nil {
		return false
	}
	f := c.Flags().Lookup("output")
	if f == nil || f.Changed {
		return f != nil && f.Value.String() == string(asJSON)
	}
	for i, a := range args {
		switch a {
		case "--":
			return false
		case "--output=json", "-o=json", "-ojson":
			return true
		case "--output", "-o":
			return i+1 < len(args) && args[i+1] == string(asJSON)
		}
	}
	return false
}
