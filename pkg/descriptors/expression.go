package descriptors

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// errMissing is what reading something that isn't there comes to.
var errMissing = errors.New("missing")

// expression is a checked CEL expression and where it stands.
type expression struct {
	env    *cel.Env
	ast    *ast.AST
	text   Text // the configured text that it stands in
	offset int  // of its source in the text, in bytes
	source string
}

// place is the offset in the text of a node of the expression.
func (e *expression) place(id int64) int {
	at := e.ast.SourceInfo().GetStartLocation(id)
	return e.offset + offsetOf(e.source, at.Line(), at.Column())
}

// fault describes a fault at a node of the expression.
func (e *expression) fault(id int64, width int, message, hint string) *Fault {
	return faultAt(e.text, e.place(id), width, message, hint)
}

// program makes a node of the expression runnable: the whole, or a part of it
// that uses no variable of a comprehension around it.
func (e *expression) program(node ast.Expr) (celProgram, error) {
	part := ast.NewCheckedAST(ast.NewAST(node, e.ast.SourceInfo()), e.ast.TypeMap(), e.ast.ReferenceMap())
	p, err := e.env.PlanProgram(part, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return celProgram{}, fmt.Errorf("CEL can't run it: %w", err)
	}
	return celProgram{p}, nil
}

// celProgram runs where nothing native does.
type celProgram struct{ cel.Program }

// value runs the program: errMissing when it needs what the request lacks.
func (p celProgram) value(ev *evaluation) (ref.Val, error) {
	ev.tooMany = false
	v, _, err := p.Eval(ev)
	switch {
	case ev.tooMany:
		return nil, errTooLong
	case err != nil:
		return nil, classify(err)
	}
	return v, nil
}

var errTooLong = fmt.Errorf("the request has more keys than %d, or a list of more values than %d, to go over", mostKeys, mostValues)

// holds runs a condition.
func (p celProgram) holds(ev *evaluation) (bool, error) {
	v, err := p.value(ev)
	if err != nil {
		return false, err
	}
	b, ok := v.(types.Bool)
	if !ok {
		return false, fmt.Errorf("a %s is no condition", v.Type().TypeName())
	}
	return bool(b), nil
}

// write runs an expression that makes text.
func (p celProgram) write(ev *evaluation) (string, error) {
	v, err := p.value(ev)
	if err != nil {
		return "", err
	}
	return textOf(v.Value())
}

// classify tells what is missing from what is invalid. CEL has no types for
// these errors; the innermost one begins with the words that it has for them,
// and nothing of the request comes before those.
func classify(err error) error {
	cause := err
	for next := errors.Unwrap(cause); next != nil; next = errors.Unwrap(cause) {
		cause = next
	}
	text := cause.Error()
	for _, begin := range []string{noSuchKey, noSuchAttribute, "index out of bounds: ", "optional.none() dereference"} {
		if strings.HasPrefix(text, begin) {
			return errMissing
		}
	}
	return err
}

// exactWhole is where whole numbers stop being exact in a float64.
const exactWhole = 1 << 53

// textOf is a value as the text that JSON has for it: a string, a boolean or a
// whole number. Empty text is missing.
func textOf(v any) (string, error) {
	switch v := v.(type) {
	case string:
		if v == "" {
			return "", errMissing
		}
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case uint64:
		return strconv.FormatUint(v, 10), nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) <= exactWhole {
			return strconv.FormatInt(int64(v), 10), nil
		}
		return "", fmt.Errorf("the number %v can't become text: it is not whole, or not exact", v)
	}
	return "", fmt.Errorf("a value that is no text, boolean or whole number can't become text (%T)", v)
}

// offsetOf is where a line (from 1) and a column in characters (from 0) begin in
// a text, in bytes.
func offsetOf(source string, line, column int) int {
	offset := 0
	for ; line > 1; line-- {
		i := strings.IndexByte(source[offset:], '\n')
		if i < 0 {
			return len(source)
		}
		offset += i + 1
	}
	for i := range source[offset:] {
		if column <= 0 {
			return offset + i
		}
		column--
	}
	return len(source)
}
