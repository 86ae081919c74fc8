package descriptors

import (
	"fmt"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// readerOf is how an expression that only reads a text is read without CEL; nil
// for any other expression.
func readerOf(n ast.Expr) reader {
	switch n.Kind() {
	case ast.IdentKind:
		return textVariables[n.AsIdent()]
	case ast.SelectKind:
		if sel := n.AsSelect(); !sel.IsTestOnly() {
			return fieldReader(sel)
		}
	case ast.CallKind:
		operand, key, ok := indexed(n)
		if !ok {
			return nil
		}
		if kind := mapOf(operand); kind != nil {
			return func(ev *evaluation) string { return kind.get(ev, key) }
		}
	}
	return nil
}

// fieldReader reads what a selection names, tested or not.
func fieldReader(sel ast.SelectExpr) reader {
	name := sel.FieldName()
	if kind := mapOf(sel.Operand()); kind != nil {
		return func(ev *evaluation) string { return kind.get(ev, name) }
	}
	if sel.Operand().Kind() != ast.IdentKind {
		return nil
	}
	of := sel.Operand().AsIdent()
	f, ok := variableField(of, name)
	if !ok || f.text == nil {
		return nil
	}
	return func(ev *evaluation) string { return f.text(ev.structure(of)) }
}

func variableField(variableName, name string) (field, bool) {
	for _, v := range variables {
		if v.name == variableName && v.typ.Kind() == types.StructKind {
			return fieldOf(v.typ.TypeName(), name)
		}
	}
	return field{}, false
}

// mapOf is the map of texts that an expression names; nil for any other.
func mapOf(n ast.Expr) *mapKind {
	switch n.Kind() {
	case ast.IdentKind:
		return mapVariables[n.AsIdent()]
	case ast.SelectKind:
		sel := n.AsSelect()
		if sel.IsTestOnly() || sel.Operand().Kind() != ast.IdentKind {
			return nil
		}
		if f, ok := variableField(sel.Operand().AsIdent(), sel.FieldName()); ok {
			return f.kind
		}
	}
	return nil
}

// indexed takes x["key"] apart.
func indexed(n ast.Expr) (of ast.Expr, key string, ok bool) {
	if n.Kind() != ast.CallKind || n.AsCall().FunctionName() != operators.Index {
		return nil, "", false
	}
	args := n.AsCall().Args()
	key, ok = literalText(args[1])
	return args[0], key, ok
}

// claim reads a value of metadata by its keys: `metadata["a"].b.c`.
type claim struct {
	of   func(req *Request) Values
	keys []string
}

// claimOf is how an expression that only reads metadata is read without CEL.
func claimOf(n ast.Expr) (claim, bool) {
	switch n.Kind() {
	case ast.IdentKind:
		switch n.AsIdent() {
		case "metadata":
			return claim{of: func(req *Request) Values { return req.Metadata }}, true
		case "route_metadata":
			return claim{of: func(req *Request) Values { return req.RouteMetadata }}, true
		}
	case ast.SelectKind:
		if sel := n.AsSelect(); !sel.IsTestOnly() {
			return deeper(sel.Operand(), sel.FieldName())
		}
	case ast.CallKind:
		if of, key, ok := indexed(n); ok {
			return deeper(of, key)
		}
	}
	return claim{}, false
}

func deeper(operand ast.Expr, key string) (claim, bool) {
	c, ok := claimOf(operand)
	c.keys = append(c.keys, key)
	return c, ok
}

// write is the value as text.
func (c claim) write(ev *evaluation) (string, error) {
	var at any = c.of(ev.req)
	for _, key := range c.keys {
		switch v := at.(type) {
		case Values:
			next, ok := v.Get(key)
			if !ok {
				return "", errMissing
			}
			at = next
		case List:
			return "", fmt.Errorf("a list of metadata has no key %q", key)
		default:
			return "", errMissing
		}
	}
	return textOf(at)
}
