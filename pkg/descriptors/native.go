package descriptors

import (
	"net/netip"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// condition is what a match comes to: whether it holds, errMissing, or why it is
// invalid.
type condition interface {
	holds(ev *evaluation) (bool, error)
}

type (
	always   bool
	not      struct{ of condition }
	allOf    []condition
	anyOf    []condition
	present  struct{ read reader }
	textTest struct { // of a text, as expressions see it
		read reader
		test func(s string) bool
	}
	numberTest struct {
		read func(ev *evaluation) int64
		test func(n int64) bool
	}
)

func (c always) holds(*evaluation) (bool, error) { return bool(c), nil }

func (c not) holds(ev *evaluation) (bool, error) {
	b, err := c.of.holds(ev)
	return !b && err == nil, err
}

// holds is CEL's: one that is false decides, whatever the others can't say.
func (c allOf) holds(ev *evaluation) (bool, error) {
	var first error
	for _, of := range c {
		b, err := of.holds(ev)
		if err == nil && !b {
			return false, nil
		}
		if first == nil {
			first = err
		}
	}
	return first == nil, first
}

// holds is CEL's: one that is true decides, whatever the others can't say.
func (c anyOf) holds(ev *evaluation) (bool, error) {
	var first error
	for _, of := range c {
		b, err := of.holds(ev)
		if err == nil && b {
			return true, nil
		}
		if first == nil {
			first = err
		}
	}
	return false, first
}

func (c present) holds(ev *evaluation) (bool, error) { return c.read(ev) != "", nil }

func (c textTest) holds(ev *evaluation) (bool, error) {
	s := c.read(ev)
	if s == "" {
		return false, errMissing
	}
	return c.test(capped(s)), nil
}

func (c numberTest) holds(ev *evaluation) (bool, error) { return c.test(c.read(ev)), nil }

// conditionOf compiles a condition: native where it can be, a CEL program for
// each part of an "and" or "or" that can't.
func (e *expression) conditionOf(n ast.Expr, native bool) (condition, error) {
	if native {
		if c := nativeTest(n); c != nil {
			return c, nil
		}
		if n.Kind() == ast.CallKind {
			call := n.AsCall()
			switch call.FunctionName() {
			case operators.LogicalAnd, operators.LogicalOr:
				var parts []condition
				for _, arg := range call.Args() {
					part, err := e.conditionOf(arg, true)
					if err != nil {
						return nil, err
					}
					parts = append(parts, part)
				}
				if call.FunctionName() == operators.LogicalOr {
					return anyOf(parts), nil
				}
				return flattened(parts), nil
			case operators.LogicalNot:
				of, err := e.conditionOf(call.Args()[0], true)
				return not{of}, err
			}
		}
	}
	p, err := e.program(n)
	return p, err
}

// flattened is one list of what lists of conditions say, in order.
func flattened(parts []condition) allOf {
	var all allOf
	for _, part := range parts {
		if inner, ok := part.(allOf); ok {
			all = append(all, inner...)
		} else {
			all = append(all, part)
		}
	}
	return all
}

// nativeTest is a condition about one text or number, nil when CEL has to run
// it.
func nativeTest(n ast.Expr) condition {
	switch n.Kind() {
	case ast.LiteralKind:
		if b, ok := n.AsLiteral().(types.Bool); ok {
			return always(b)
		}
	case ast.SelectKind:
		if sel := n.AsSelect(); sel.IsTestOnly() {
			if read := fieldReader(sel); read != nil {
				return present{read}
			}
		}
	case ast.CallKind:
		call := n.AsCall()
		if call.IsMemberFunction() {
			return nativeMember(call)
		}
		if args := call.Args(); len(args) == 2 {
			return nativeBinary(call.FunctionName(), args[0], args[1])
		}
		if args := call.Args(); len(args) == 1 && call.FunctionName() == "isIP" {
			if read := readerOf(args[0]); read != nil {
				return textTest{read, isIP}
			}
		}
	}
	return nil
}

// nativeMember is a condition like request.url_path.startsWith("/v1").
func nativeMember(call ast.CallExpr) condition {
	if len(call.Args()) != 1 {
		return nil
	}
	read := readerOf(call.Target())
	with, ok := literalText(call.Args()[0])
	if read == nil || !ok {
		return nil
	}
	switch call.FunctionName() {
	case "startsWith":
		return textTest{read, func(s string) bool { return strings.HasPrefix(s, with) }}
	case "endsWith":
		return textTest{read, func(s string) bool { return strings.HasSuffix(s, with) }}
	case "contains":
		return textTest{read, func(s string) bool { return strings.Contains(s, with) }}
	}
	return nil
}

func nativeBinary(function string, a, b ast.Expr) condition {
	switch function {
	case operators.Equals, operators.NotEquals:
		read, with, ok := readAndText(a, b)
		if !ok {
			break
		}
		if function == operators.NotEquals {
			return textTest{read, func(s string) bool { return s != with }}
		}
		return textTest{read, func(s string) bool { return s == with }}
	case operators.In:
		return nativeIn(a, b)
	case "inCIDR":
		return nativeCIDR(a, b)
	}
	return nativeNumber(function, a, b)
}

func readAndText(a, b ast.Expr) (reader, string, bool) {
	if with, ok := literalText(a); ok {
		read := readerOf(b)
		return read, with, read != nil
	}
	with, ok := literalText(b)
	read := readerOf(a)
	return read, with, ok && read != nil
}

// nativeIn is a text in a list of constants, or a constant key in a map.
func nativeIn(a, b ast.Expr) condition {
	if kind := mapOf(b); kind != nil {
		if key, ok := literalText(a); ok {
			return present{func(ev *evaluation) string { return kind.get(ev, key) }}
		}
		return nil
	}
	read := readerOf(a)
	list, ok := literalTexts(b)
	if read == nil || !ok {
		return nil
	}
	return textTest{read, func(s string) bool { return slices.Contains(list, s) }}
}

func nativeCIDR(a, b ast.Expr) condition {
	read := readerOf(a)
	list, ok := literalTexts(b)
	if read == nil || !ok {
		return nil
	}
	prefixes := make([]netip.Prefix, 0, len(list))
	for _, s := range list {
		p, err := parsePrefix(s)
		if err != nil {
			return nil // CEL's function says what is wrong
		}
		prefixes = append(prefixes, p)
	}
	return textTest{read, func(s string) bool { return within(s, prefixes) }}
}

func literalTexts(n ast.Expr) ([]string, bool) {
	if n.Kind() != ast.ListKind {
		return nil, false
	}
	var all []string
	for _, element := range n.AsList().Elements() {
		s, ok := literalText(element)
		if !ok {
			return nil, false
		}
		all = append(all, s)
	}
	return all, len(n.AsList().OptionalIndices()) == 0
}

// nativeNumber compares hits, or how many keys a map has, with a constant.
func nativeNumber(function string, a, b ast.Expr) condition {
	read := numberReader(a)
	with, ok := literalInt(b)
	if read == nil || !ok {
		return nil
	}
	switch function {
	case operators.Equals:
		return numberTest{read, func(n int64) bool { return n == with }}
	case operators.NotEquals:
		return numberTest{read, func(n int64) bool { return n != with }}
	case operators.Less:
		return numberTest{read, func(n int64) bool { return n < with }}
	case operators.LessEquals:
		return numberTest{read, func(n int64) bool { return n <= with }}
	case operators.Greater:
		return numberTest{read, func(n int64) bool { return n > with }}
	case operators.GreaterEquals:
		return numberTest{read, func(n int64) bool { return n >= with }}
	}
	return nil
}

func numberReader(n ast.Expr) func(ev *evaluation) int64 {
	switch n.Kind() {
	case ast.IdentKind:
		if n.AsIdent() == "hits" {
			return hitsOf
		}
	case ast.CallKind:
		call := n.AsCall()
		if call.FunctionName() == "size" && !call.IsMemberFunction() && len(call.Args()) == 1 {
			if kind := mapOf(call.Args()[0]); kind != nil {
				return func(ev *evaluation) int64 { return int64(kind.sizeOf(ev)) }
			}
		}
	}
	return nil
}
