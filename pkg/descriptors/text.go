package descriptors

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// writer makes a part of a text: errMissing when it is empty, or needs what the
// request lacks.
type writer interface {
	write(ev *evaluation) (string, error)
}

type (
	literal  string
	readText struct{ read reader }
	hashText struct{ read reader } // sha256 of what is read
	hitsText struct{}
)

func (l literal) write(*evaluation) (string, error) { return string(l), nil }

func (r readText) write(ev *evaluation) (string, error) {
	if s := r.read(ev); s != "" {
		return s, nil
	}
	return "", errMissing
}

func (h hashText) write(ev *evaluation) (string, error) {
	if s := h.read(ev); s != "" {
		return shortHash(s), nil
	}
	return "", errMissing
}

func (hitsText) write(ev *evaluation) (string, error) {
	return strconv.FormatInt(hitsOf(ev), 10), nil
}

// text is a configured text, compiled.
type text struct {
	parts  []writer
	source Text
}

// write makes the text of a request. A part that is missing makes all of it
// missing: `org-${descriptor.org}` is never `org-`.
func (t *text) write(ev *evaluation) (string, error) {
	if len(t.parts) == 1 {
		return t.parts[0].write(ev)
	}
	var b strings.Builder
	for _, part := range t.parts {
		s, err := part.write(ev)
		if err != nil {
			return "", err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// constant is the text where it is the same for every request.
func (t *text) constant() (string, bool) {
	if len(t.parts) != 1 {
		return "", false
	}
	l, ok := t.parts[0].(literal)
	return string(l), ok
}

// literals are the parts that are the same for every request.
func (t *text) literals() []string {
	var all []string
	for _, part := range t.parts {
		if l, ok := part.(literal); ok {
			all = append(all, string(l))
		}
	}
	return all
}

// text compiles a text with ${...} in it; nil when it is absent or faulty.
func (c *compiler) text(part string, source Text) *text {
	if !source.Present() {
		return nil
	}
	pieces, open := split(source.Value)
	if open >= 0 {
		c.fail(faultAt(source, open, 2, c.message(part, "a ${ is not closed"), "a literal ${ is written $${"))
		return nil
	}
	t := &text{source: source}
	for _, p := range pieces {
		if !p.isCEL {
			t.parts = append(t.parts, literal(p.literal))
			continue
		}
		if w := c.writer(part, source, p); w != nil {
			t.parts = append(t.parts, w)
		}
	}
	if len(t.parts) != len(pieces) {
		return nil
	}
	return t
}

func (c *compiler) writer(part string, source Text, p piece) writer {
	if strings.TrimSpace(p.source) == "" {
		c.fail(faultAt(source, p.offset-2, len(p.source)+3, c.message(part, "a ${ } is empty"), "a literal ${ is written $${"))
		return nil
	}
	e := c.expression(part, source, p.offset, p.source)
	if e == nil {
		return nil
	}
	c.note(part, e)
	n := e.ast.Expr()
	switch t := e.ast.GetType(n.ID()); t.Kind() {
	case types.StringKind, types.BoolKind, types.IntKind, types.UintKind, types.DoubleKind, types.DynKind:
	default:
		hint := "a string, a boolean or a whole number can"
		if t.TypeName() == types.OptionalType.TypeName() {
			hint = `say what stands in for it: .orValue("none")`
		}
		c.fail(faultAt(source, p.offset, utf8.RuneCountInString(p.source), c.message(part, "a value of type %s can't become text", t), hint))
		return nil
	}
	if w := nativeWriter(n); w != nil && !c.noReads {
		return w
	}
	program, err := e.program(n)
	if err != nil {
		c.fail(faultAt(source, p.offset, 1, c.message(part, "%s", err), ""))
		return nil
	}
	return program
}

// nativeWriter makes text of an expression that only reads; nil when CEL has to
// run it.
func nativeWriter(n ast.Expr) writer {
	if s, ok := literalText(n); ok && s != "" {
		return literal(s)
	}
	if i, ok := literalInt(n); ok {
		return literal(strconv.FormatInt(i, 10))
	}
	if read := readerOf(n); read != nil {
		return readText{read}
	}
	if n.Kind() == ast.IdentKind && n.AsIdent() == "hits" {
		return hitsText{}
	}
	if n.Kind() == ast.CallKind && n.AsCall().FunctionName() == "sha256" && len(n.AsCall().Args()) == 1 {
		if read := readerOf(n.AsCall().Args()[0]); read != nil {
			return hashText{read}
		}
	}
	if of, ok := claimOf(n); ok && len(of.keys) > 0 {
		return of
	}
	return nil
}
