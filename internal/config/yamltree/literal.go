package yamltree

import (
	"strings"
)

// blockScalar reads a literal (|) or folded (>) text, whose lines are indented
// deeper than indent.
func (p *parser) blockScalar(indent int) *Node {
	n := &Node{Kind: KindScalar, At: p.pos}
	b := block{folded: p.src[p.pos] == '>'}
	p.pos++
	if !p.header(&b, indent) || !p.lineDone() {
		at := p.pos
		end := lineEnd(p.src, at)
		p.fault(at, len(strings.TrimRight(p.src[at:end], " \t")), "nothing can follow | or > on its line", "a text that begins with it goes into quotes")
		p.skip(indent)
		return p.bad(n.At)
	}
	p.nextLine()
	if b.indent == 0 {
		b.indent = p.detect(indent)
	}
	b.read(p)
	n.End = p.pos
	n.Value, n.marks = b.b.String(), b.marks
	p.advance()
	return n
}

// block is a block scalar under way.
type block struct {
	text
	folded      bool
	strip, keep bool // the line ends at the text's end
	indent      int  // of its lines
}

// header reads what stands behind | or >: how deep the lines are indented, and
// what becomes of the line ends at the text's end.
func (p *parser) header(b *block, indent int) bool {
	for ; p.pos < len(p.src) && !p.blankAt(p.pos); p.pos++ {
		switch c := p.src[p.pos]; {
		case c == '-' && !b.strip && !b.keep:
			b.strip = true
		case c == '+' && !b.strip && !b.keep:
			b.keep = true
		case c >= '1' && c <= '9' && b.indent == 0:
			b.indent = max(indent, 0) + int(c-'0')
		default:
			return false
		}
	}
	return true
}

// detect finds how deep the first line with content is indented, from the
// beginning of a line; where there is none, no line has content.
func (p *parser) detect(indent int) int {
	deepest, at := 0, 0 // of the blank lines before it
	for i := p.pos; i < len(p.src); i++ {
		start := i
		for i < len(p.src) && p.src[i] == ' ' {
			i++
		}
		switch {
		case i >= len(p.src) || p.src[i] == '\n':
			if i-start > deepest {
				deepest, at = i-start, start
			}
			continue
		case i-start <= indent:
			return max(indent+1, deepest)
		case deepest > i-start:
			p.fault(at, deepest, "a blank line has more spaces than the text below it", "")
		}
		return i - start
	}
	return max(indent+1, deepest)
}

// read reads the lines, from the beginning of the first one, and stops at the
// beginning of the line behind the last.
func (b *block) read(p *parser) {
	first, spaced, blank := true, false, 0 // spaced: the line before begins with a space
	ended := false                         // the last line with content has an end
	for p.pos < len(p.src) {
		i := p.pos + b.margin(p.src[p.pos:])
		end := lineEnd(p.src, i)
		if i < end && i-p.pos < b.indent {
			break
		}
		p.pos = min(end+1, len(p.src))
		switch {
		case i == end && end < len(p.src):
			blank++
			continue
		case i == end:
			continue // the text's last line, without an end: it isn't one
		case first:
			b.newlines(blank)
		case b.folded && !spaced && !isBlank(p.src[i]):
			b.fold(blank)
		default:
			b.newlines(blank + 1)
		}
		b.add(p.src[i:end], i)
		first, spaced, blank, ended = false, isBlank(p.src[i]), 0, end < len(p.src)
	}
	if ended && !b.strip {
		b.newlines(1)
	}
	if b.keep {
		b.newlines(blank)
	}
}

// margin is how many of the spaces that a line begins with are its indentation.
func (b *block) margin(line string) int {
	n := 0
	for n < len(line) && n < b.indent && line[n] == ' ' {
		n++
	}
	return n
}
