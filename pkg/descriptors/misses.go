package descriptors

import (
	"fmt"
	"maps"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// paths are what an expression reads, written as one reads it in messages:
// descriptor.user, request.headers["x-tenant"].
type paths map[string]int64 // path -> the node that reads it

// alwaysThere are what every request of its protocol has.
var alwaysThere = map[string]bool{
	"domain": true, "hits": true, "client_ip": true, "source.address": true, "source.sans": true, "destination.address": true,
	"request.id": true, "request.method": true, "request.scheme": true, "request.host": true,
	"request.path": true, "request.url_path": true, "request.headers": true, "request.query_params": true,
}

// needs are the paths that must be there for an expression to have a value.
func needs(n ast.Expr) paths {
	if path, ok := pathOf(n); ok {
		root := !strings.ContainsAny(path, ".[")
		if alwaysThere[path] || root {
			return nil
		}
		return paths{path: rootOf(n).ID()}
	}
	switch n.Kind() {
	case ast.SelectKind:
		return needs(n.AsSelect().Operand()) // a test, or a field of something computed
	case ast.ListKind:
		return needsOf(n.AsList().Elements())
	case ast.CallKind:
		return needsOfCall(n)
	case ast.ComprehensionKind:
		return needs(n.AsComprehension().IterRange())
	}
	return nil
}

func needsOfCall(n ast.Expr) paths {
	call := n.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case operators.LogicalAnd:
		return union(needs(args[0]), without(needs(args[1]), given(args[0], true)))
	case operators.LogicalOr:
		return union(needs(args[0]), without(needs(args[1]), given(args[0], false)))
	case operators.Conditional:
		return union(needs(args[0]),
			without(needs(args[1]), given(args[0], true)),
			without(needs(args[2]), given(args[0], false)))
	case operators.OptSelect, operators.OptIndex:
		return nil // what is optional isn't needed
	case operators.Index:
		// A key that is computed is never known to be there.
		return union(needsOf(args), paths{"a key that is computed": n.ID()})
	}
	all := needsOf(args)
	if call.IsMemberFunction() {
		all = union(all, needs(call.Target()))
	}
	return all
}

func needsOf(nodes []ast.Expr) paths {
	var all paths
	for _, n := range nodes {
		all = union(all, needs(n))
	}
	return all
}

// given are the paths that are there when a condition is true, or false.
func given(n ast.Expr, holds bool) paths {
	switch n.Kind() {
	case ast.SelectKind:
		if sel := n.AsSelect(); sel.IsTestOnly() && holds {
			if path, ok := pathOf(sel.Operand()); ok {
				return paths{withField(path, sel.FieldName()): n.ID()}
			}
		}
	case ast.CallKind:
		call := n.AsCall()
		args := call.Args()
		switch call.FunctionName() {
		case operators.LogicalNot:
			return given(args[0], !holds)
		case operators.LogicalAnd, operators.LogicalOr:
			a, b := given(args[0], holds), given(args[1], holds)
			if holds == (call.FunctionName() == operators.LogicalAnd) {
				return union(a, b)
			}
			return both(a, b)
		case operators.In:
			if key, ok := literalText(args[0]); ok && holds {
				if path, ok := pathOf(args[1]); ok {
					return paths{withKey(path, key): n.ID()}
				}
			}
		}
	}
	return needs(n)
}

// pathOf writes an expression that only reads by constant names.
func pathOf(n ast.Expr) (string, bool) {
	switch n.Kind() {
	case ast.IdentKind:
		return n.AsIdent(), true
	case ast.SelectKind:
		sel := n.AsSelect()
		if path, ok := pathOf(sel.Operand()); ok && !sel.IsTestOnly() {
			return withField(path, sel.FieldName()), true
		}
	case ast.CallKind:
		call := n.AsCall()
		if call.FunctionName() != operators.Index {
			return "", false
		}
		path, ok := pathOf(call.Args()[0])
		if key, isText := literalText(call.Args()[1]); ok && isText {
			return withKey(path, key), true
		}
		if i, isInt := literalInt(call.Args()[1]); ok && isInt {
			return fmt.Sprintf("%s[%d]", path, i), true
		}
	}
	return "", false
}

// rootOf is the variable that a path begins with.
func rootOf(n ast.Expr) ast.Expr {
	for {
		switch n.Kind() {
		case ast.SelectKind:
			n = n.AsSelect().Operand()
		case ast.CallKind:
			n = n.AsCall().Args()[0]
		default:
			return n
		}
	}
}

func withField(path, name string) string {
	for i := range len(name) {
		if !isWord(name[i]) {
			return fmt.Sprintf("%s[%q]", path, name)
		}
	}
	return path + "." + name
}

// withKey writes a key as a field where it can be one, so that both spellings
// are one path.
func withKey(path, key string) string {
	if key == "" || key[0]-'0' < 10 {
		return fmt.Sprintf("%s[%q]", path, key)
	}
	return withField(path, key)
}

func union(all ...paths) paths {
	out := paths{}
	for _, p := range all {
		maps.Copy(out, p)
	}
	return out
}

func both(a, b paths) paths {
	out := paths{}
	for path, id := range a {
		if isGiven(path, b) {
			out[path] = id
		}
	}
	return out
}

// without are the paths that what is given doesn't promise.
func without(p, given paths) paths {
	out := paths{}
	for path, id := range p {
		if !isGiven(path, given) {
			out[path] = id
		}
	}
	return out
}

// isGiven reports whether a path, or one that goes on from it, is given.
func isGiven(path string, given paths) bool {
	for g := range given {
		if rest, ok := strings.CutPrefix(g, path); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// note remembers what a text or consume needs that may be missing.
func (c *compiler) note(part string, e *expression) {
	if c.answers {
		return
	}
	for path, id := range needs(e.ast.Expr()) {
		if c.needs[path] == nil {
			c.needs[path] = e.fault(id, len(path), part, "")
		}
	}
}
