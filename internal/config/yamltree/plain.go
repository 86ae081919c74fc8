package yamltree

import "strings"

// forbidden finds what a text can't begin with; end is where it would end.
func (p *parser) forbidden(end int) bool {
	at := p.pos
	rest := strings.TrimRight(p.src[at:end], " \t")
	if rest == "" {
		return false
	}
	word := rest
	if i := strings.IndexAny(rest, " \t"); i >= 0 {
		word = rest[:i]
	}
	lonely := p.blankAt(at + 1)
	switch c := rest[0]; {
	case c == '!':
		p.fault(at, len(word), `"!" begins a tag of YAML, and tags are not used here`, "put quotes around the text: "+singleQuoted(rest))
	case c == '&':
		p.fault(at, len(word), "anchors are not used here", "write the value out, or put quotes around the text")
	case c == '*':
		p.fault(at, len(word), "aliases are not used here", "write the value out, or put quotes around the text")
	case strings.IndexByte("%@`,]}#", c) >= 0:
		p.fault(at, 1, "a text can't begin with "+rest[:1], "put quotes around it")
	case c == '?' && lonely:
		p.fault(at, 1, "complex keys are not used here", "write `key: value`")
	case (c == '-' || c == ':') && lonely:
		p.fault(at, 1, "a value is missing before "+rest[:1], "")
	default:
		return false
	}
	return true
}

// singleQuoted shows how a text is written in quotes; a long one isn't shown.
func singleQuoted(text string) string {
	if len(text) > 60 {
		return "'...'"
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}

// plain reads a plain scalar, with the lines below it that are indented deeper
// than indent.
func (p *parser) plain(indent int) *Node {
	at := p.pos
	n := p.plainLine()
	if n == nil {
		p.skip(indent)
		return p.bad(at)
	}
	var t text
	t.add(n.Value, n.At)
	for p.pos < len(p.src) && p.src[p.pos] == '\n' {
		next, blank := p.below(indent)
		if next < 0 || p.src[next] == '#' {
			break
		}
		p.pos = next
		if p.atKey() {
			p.fault(next, p.colon(next)-next, "a key can't be here: the text above it goes on to this line",
				"indent it as the keys that it belongs to, or put quotes around the whole text")
			t.finish(n)
			p.skip(indent)
			return n
		}
		more := p.plainLine()
		if more == nil {
			p.skip(indent)
			return p.bad(at)
		}
		t.fold(blank)
		t.add(more.Value, more.At)
		n.End = more.End
	}
	t.finish(n)
	p.nextLine()
	p.advance()
	return n
}

// plainLine reads what this line has of a plain scalar, and stops at the line's
// end or at a comment. It is nil after a fault.
func (p *parser) plainLine() *Node {
	at := p.pos
	end := lineEnd(p.src, at)
	if i := strings.Index(p.src[at:end], " #"); i >= 0 {
		end = at + i
	}
	if i := strings.Index(p.src[at:end], "\t#"); i >= 0 {
		end = at + i
	}
	if i := p.colon(at); i >= 0 && i < end {
		p.fault(i, 1, "a colon with a space behind it can't be in a text without quotes", "put quotes around the text: "+singleQuoted(strings.TrimRight(p.src[at:end], " \t")))
		return nil
	}
	n := p.plainNode(at, end)
	p.pos = end
	p.blanks()
	return n
}

// below finds the next line that isn't blank, for a text that goes on there:
// the offset of its first character, or -1 where the line is not indented
// deeper than indent; and how many blank lines are before it.
func (p *parser) below(indent int) (at, blank int) {
	for i := lineEnd(p.src, p.pos) + 1; i < len(p.src); i++ {
		start := i
		for i < len(p.src) && p.src[i] == ' ' {
			i++
		}
		col := i - start
		for i < len(p.src) && isBlank(p.src[i]) {
			i++
		}
		if i < len(p.src) && p.src[i] != '\n' {
			line := p.src[i:lineEnd(p.src, i)]
			if col <= indent || col == 0 && (isMarker(line, "---") || isMarker(line, "...")) {
				return -1, blank
			}
			return i, blank
		}
		blank++
	}
	return -1, blank
}

// text is the value of a scalar that isn't written in one piece.
type text struct {
	b     strings.Builder
	marks []mark
}

// add adds what stands in the file at an offset.
func (t *text) add(s string, at int) {
	if s == "" {
		return
	}
	if n := len(t.marks); n == 0 || t.marks[n-1].text+t.b.Len()-t.marks[n-1].value != at {
		t.marks = append(t.marks, mark{value: t.b.Len(), text: at})
	}
	t.b.WriteString(s)
}

// fold adds what the end of a line and the blank lines after it stand for.
func (t *text) fold(blank int) {
	if blank == 0 {
		t.b.WriteByte(' ')
		return
	}
	t.newlines(blank)
}

func (t *text) newlines(n int) {
	for range n {
		t.b.WriteByte('\n')
	}
}

// finish gives the value to its node.
func (t *text) finish(n *Node) {
	n.Value, n.marks = t.b.String(), t.marks
	if len(t.marks) == 1 && t.marks[0].text == n.At {
		n.marks = nil
	}
}
