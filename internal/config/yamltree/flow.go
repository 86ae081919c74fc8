package yamltree

import (
	"fmt"
	"strings"
)

// flow reads a collection in brackets, on lines that are indented deeper than
// indent, and stops behind its closing bracket. It is nil after a fault: where
// one bracket can't be understood, those around it can't either.
func (p *parser) flow(indent int) *Node {
	if p.depth++; p.depth > MaxDepth {
		p.depth--
		p.fault(p.pos, 1, fmt.Sprintf("more than %d levels in each other", MaxDepth), "")
		return nil
	}
	defer func() { p.depth-- }()
	b := brackets{parser: p, indent: indent, at: p.pos}
	n := &Node{At: p.pos}
	ok := false
	if p.src[p.pos] == '{' {
		n.Kind, b.closing = KindMapping, '}'
		ok = b.mapping(n)
	} else {
		n.Kind, b.closing = KindSequence, ']'
		ok = b.sequence(n)
	}
	if !ok {
		return nil
	}
	n.End = p.pos
	return n
}

// brackets are a flow collection under way.
type brackets struct {
	*parser
	indent  int
	at      int // the opening one
	closing byte
}

func (b *brackets) mapping(n *Node) bool {
	seen := map[string]*Node{}
	for {
		if done, ok := b.done(); done || !ok {
			return ok
		}
		key := b.scalar()
		if key == nil || !b.space() {
			return false
		}
		value := &Node{Kind: KindEmpty, At: b.pos, End: b.pos}
		switch {
		case b.atColon(key):
			b.pos++
			if value = b.value(); value == nil {
				return false
			}
		case key.Plain && strings.Contains(key.Value, ":"):
			b.fault(key.At+strings.IndexByte(key.Value, ':'), 1, "a space is missing behind the colon", "")
			key.Kind = KindBad
		}
		b.entry(n, seen, key, value)
		if !b.comma() {
			return false
		}
	}
}

func (b *brackets) sequence(n *Node) bool {
	for {
		if done, ok := b.done(); done || !ok {
			return ok
		}
		item := b.value()
		if item == nil || !b.space() {
			return false
		}
		if item.Kind == KindScalar && b.atColon(item) {
			b.fault(b.pos, 1, "a key in a list", "put its mapping into braces: [{key: value}]")
			return false
		}
		n.Items = append(n.Items, item)
		if !b.comma() {
			return false
		}
	}
}

// done goes to the next entry, or behind the closing bracket.
func (b *brackets) done() (done, ok bool) {
	b.pos++ // behind the bracket or the comma
	if !b.space() {
		return false, false
	}
	if b.src[b.pos] != b.closing {
		return false, true
	}
	b.pos++
	return true, true
}

// comma goes to the next comma, or leaves the parser before the closing bracket
// such that done finds it.
func (b *brackets) comma() bool {
	if !b.space() {
		return false
	}
	switch c := b.src[b.pos]; c {
	case ',':
		return true
	case b.closing:
		b.pos--
		return true
	case ':':
		b.fault(b.pos, 1, "a second colon: a comma is missing before its key, or quotes around the text", "")
	case '{', '[', '}', ']':
		b.fault(b.pos, 1, fmt.Sprintf("a text in brackets needs quotes to have a %c in it", c), "")
	default:
		end := lineEnd(b.src, b.pos)
		b.fault(b.pos, len(strings.TrimRight(b.src[b.pos:end], " \t")), fmt.Sprintf("a comma or %c should be before this", b.closing), "")
	}
	return false
}

// space goes past spaces, comments and line ends. It is false after a fault.
func (b *brackets) space() bool {
	for !b.eof && b.lineDone() {
		next, comment := b.pos, true
		for comment { // the next line with anything but a comment
			b.pos = next
			next, _ = b.below(-1)
			comment = next >= 0 && b.src[next] == '#'
		}
		if next < 0 || b.outside(next) {
			b.pos = b.at
			b.fault(b.at, 1, fmt.Sprintf("the %c that opens here is not closed", b.src[b.at]), "the lines in brackets are indented deeper than their key")
			return false
		}
		b.pos = next
	}
	return !b.eof
}

// outside reports whether a line isn't indented as those in the brackets are.
// The closing one may stand below its key.
func (b *brackets) outside(at int) bool {
	start := strings.LastIndexByte(b.src[:at], '\n') + 1
	col := strings.IndexFunc(b.src[start:at+1], func(r rune) bool { return r != ' ' })
	return col <= b.indent && (b.src[at] != b.closing || col < b.indent)
}

// value reads an entry's value.
func (b *brackets) value() *Node {
	if !b.space() {
		return nil
	}
	switch c := b.src[b.pos]; c {
	case '{', '[':
		return b.flow(b.indent)
	case ',', b.closing:
		if c == ',' && b.closing == ']' {
			b.fault(b.pos, 1, "a value is missing before the comma", "")
			return nil
		}
		return &Node{Kind: KindEmpty, At: b.pos, End: b.pos}
	}
	return b.scalar()
}

// scalar reads a quoted text, or one line of plain text.
func (b *brackets) scalar() *Node {
	at := b.pos
	switch c := b.src[at]; c {
	case '"', '\'':
		n := b.quoted(b.indent)
		if n.Kind == KindBad {
			return nil
		}
		return n
	case '{', '[':
		b.fault(at, 1, "a collection can't be a key", "")
		return nil
	case ',':
		b.fault(at, 1, "a comma without anything before it", "")
		return nil
	case '|', '>', '?':
		b.fault(at, 1, "a text in brackets can't begin with "+string(c), "put quotes around it")
		return nil
	}
	end := b.plainEnd(at)
	if b.forbidden(max(end, at+1)) {
		return nil
	}
	n := b.plainNode(at, end)
	b.pos = n.End
	return n
}

// plainEnd is the offset behind a plain scalar in brackets, and the spaces that
// follow it.
func (b *brackets) plainEnd(at int) int {
	i := at
	for ; i < len(b.src) && b.src[i] != '\n'; i++ {
		switch c := b.src[i]; {
		case strings.IndexByte(",[]{}", c) >= 0,
			c == ':' && b.blankAt(i+1),
			c == '#' && isBlank(b.src[i-1]):
			return i
		}
	}
	return i
}

// atColon reports whether the colon behind a key stands here.
func (b *brackets) atColon(key *Node) bool {
	return b.src[b.pos] == ':' && (!key.Plain || b.blankAt(b.pos+1))
}
