package descriptors

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// inspector walks a checked expression for what CEL allows and rules don't, and
// notes which variables it uses.
type inspector struct {
	c    *compiler
	part string
	e    *expression
	// local are the variables of comprehensions around the node.
	local map[string]int
}

func (c *compiler) inspect(part string, e *expression) {
	i := inspector{c: c, part: part, e: e, local: map[string]int{}}
	i.node(e.ast.Expr())
}

func (i *inspector) fail(node ast.Expr, width int, message, hint string) {
	i.c.fail(i.e.fault(node.ID(), width, i.c.message(i.part, "%s", message), hint))
}

func (i *inspector) node(n ast.Expr) {
	switch n.Kind() {
	case ast.IdentKind:
		i.bare(n)
	case ast.SelectKind:
		i.fieldRead(n)
	case ast.CallKind:
		i.call(n)
	case ast.ListKind:
		for _, element := range n.AsList().Elements() {
			i.node(element)
		}
	case ast.MapKind:
		for _, entry := range n.AsMap().Entries() {
			i.node(entry.AsMapEntry().Key())
			i.node(entry.AsMapEntry().Value())
		}
	case ast.StructKind:
		i.fail(n, 1, fmt.Sprintf("a %s can't be made", n.AsStruct().TypeName()), "")
	case ast.ComprehensionKind:
		i.comprehension(n.AsComprehension())
	}
}

// ident notes the use of a variable.
func (i *inspector) ident(n ast.Expr) {
	name := strings.TrimPrefix(n.AsIdent(), ".")
	if i.local[name] > 0 {
		return
	}
	if i.c.toClient && !tellable[name] {
		i.echo(n, name)
	}
	for _, v := range variables {
		if v.name != name || v.protocol == bothProtocols || i.c.uses[v.protocol] != nil {
			continue
		}
		i.c.uses[v.protocol] = i.e.fault(n.ID(), len(name), i.c.message(i.part, "%s is known for %s alone", name, v.protocol), "")
	}
}

// tellable are the variables that hold nothing which a client can choose, but
// for the entity's id.
var tellable = map[string]bool{"entity": true, "context_extensions": true, "route_metadata": true}

// echo refuses what would send a part of the request back in a header.
func (i *inspector) echo(n ast.Expr, what string) {
	i.fail(n, len(what), what+" comes from the request, which a header of the answer may not repeat", "entity.tier, entity.metadata, context_extensions and route_metadata may be told")
}

// bare is a variable that stands by itself, which one that only has fields
// can't.
func (i *inspector) bare(n ast.Expr) {
	i.ident(n)
	name := strings.TrimPrefix(n.AsIdent(), ".")
	if i.local[name] > 0 {
		return
	}
	if t := i.e.ast.GetType(n.ID()); t.Kind() == types.StructKind {
		fields := fieldNames(t.TypeName())
		if fields != nil {
			i.fail(n, len(name), name+" is no value by itself", "it has "+strings.Join(fields, ", "))
		}
	}
}

// operand is a node whose field or key is read.
func (i *inspector) operand(n ast.Expr) {
	if n.Kind() == ast.IdentKind {
		i.ident(n)
		return
	}
	i.node(n)
}

func (i *inspector) fieldRead(n ast.Expr) {
	sel := n.AsSelect()
	i.headerName(n, sel.Operand(), sel.FieldName())
	if i.c.toClient && sel.FieldName() == "id" && i.e.ast.GetType(sel.Operand().ID()).TypeName() == entityType.TypeName() {
		i.echo(sel.Operand(), "entity.id")
	}
	i.operand(sel.Operand())
}

func (i *inspector) call(n ast.Expr) {
	call := n.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case operators.Index, operators.OptIndex, operators.OptSelect:
		if key, ok := literalText(args[1]); ok {
			i.headerName(args[1], args[0], key)
		}
		i.operand(args[0])
		args = args[1:]
	case operators.In:
		if key, ok := literalText(args[0]); ok {
			i.headerName(args[0], args[1], key)
		}
	case operators.Equals, operators.NotEquals:
		i.emptyText(args)
	case "inCIDR":
		i.prefixes(args)
	case "sha256":
		i.hash(n)
	case "matches":
		if _, ok := literalText(args[len(args)-1]); !ok {
			i.fail(n, 1, "a regular expression is a constant text", "")
		}
	}
	if call.IsMemberFunction() {
		i.node(call.Target())
	}
	for _, arg := range args {
		i.node(arg)
	}
}

// hash makes sha256 of a text that lies in the request hash all of it, although
// expressions see at most the beginning.
func (i *inspector) hash(n ast.Expr) {
	if i.reads(n.AsCall().Args()[0]) {
		i.e.ast.SetReference(n.ID(), ast.NewFunctionReference(hashOfReadOverload))
	}
}

// reads reports whether the value of a node lies in the request as it is, or is
// a constant: nothing has put it together.
func (i *inspector) reads(n ast.Expr) bool {
	switch n.Kind() {
	case ast.LiteralKind:
		return true
	case ast.IdentKind:
		return i.local[strings.TrimPrefix(n.AsIdent(), ".")] == 0
	case ast.SelectKind:
		of := n.AsSelect().Operand()
		return i.e.ast.GetType(of.ID()).Kind() == types.StructKind || i.reads(of) // nothing else makes an entry
	case ast.CallKind:
		call := n.AsCall()
		args := call.Args()
		switch call.FunctionName() {
		case operators.Index, operators.OptIndex, operators.OptSelect:
			return i.reads(args[0])
		case operators.Conditional:
			return i.reads(args[1]) && i.reads(args[2])
		case "orValue":
			return i.reads(call.Target()) && i.reads(args[0])
		}
	}
	return false
}

// headerName refuses a name of a header that no header can have.
func (i *inspector) headerName(at, of ast.Expr, name string) {
	if !isHeaders(of) || !strings.ContainsFunc(name, unicode.IsUpper) {
		return
	}
	t := translated{source: i.e.source, at: i.e.place(at.ID()) - i.e.offset}
	t.move(name)
	i.c.fail(faultAt(i.e.text, i.e.offset+t.at, t.width,
		i.c.message(i.part, "names of headers are in lower case, %q never is one", name),
		fmt.Sprintf("did you mean %q?", strings.ToLower(name))))
}

// isHeaders reports whether an expression is request.headers, or
// request.?headers.
func isHeaders(n ast.Expr) bool {
	if n.Kind() == ast.CallKind && n.AsCall().FunctionName() == operators.OptSelect {
		args := n.AsCall().Args()
		name, ok := literalText(args[1])
		return ok && name == "headers" && args[0].Kind() == ast.IdentKind && args[0].AsIdent() == "request"
	}
	return mapOf(n) == headersMap
}

// emptyText warns of a comparison with an empty text, which is missing.
func (i *inspector) emptyText(args []ast.Expr) {
	for _, arg := range args {
		if s, ok := literalText(arg); ok && s == "" {
			i.c.warn(i.e.fault(arg.ID(), 2, i.c.message(i.part, "no text of a request is empty: one that would be is missing"), "use has() to ask whether it is there"))
		}
	}
}

// prefixes checks the constants in a list of CIDRs.
func (i *inspector) prefixes(args []ast.Expr) {
	if len(args) != 2 || args[1].Kind() != ast.ListKind {
		return
	}
	for _, element := range args[1].AsList().Elements() {
		s, ok := literalText(element)
		if !ok {
			continue
		}
		if _, err := parsePrefix(s); err != nil {
			i.fail(element, utf8.RuneCountInString(s)+2, err.Error(), "")
		}
	}
}

func (i *inspector) comprehension(n ast.ComprehensionExpr) {
	i.node(n.IterRange())
	i.node(n.AccuInit())
	names := []string{n.IterVar(), n.IterVar2(), n.AccuVar()}
	for _, name := range names {
		i.local[name]++
	}
	i.node(n.LoopCondition())
	i.node(n.LoopStep())
	i.node(n.Result())
	for _, name := range names {
		i.local[name]--
	}
}

// literalText is the value of a constant text.
func literalText(n ast.Expr) (string, bool) {
	if n.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := n.AsLiteral().(types.String)
	return string(s), ok
}

// literalInt is the value of a constant integer; CEL's parser has made the sign
// of a negative one part of it.
func literalInt(n ast.Expr) (int64, bool) {
	if n.Kind() != ast.LiteralKind {
		return 0, false
	}
	v, ok := n.AsLiteral().(types.Int)
	return int64(v), ok
}
