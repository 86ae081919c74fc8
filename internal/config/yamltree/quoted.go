package yamltree

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// quoted reads a quoted scalar, on lines that are indented deeper than indent,
// and stops behind its closing quote. A bad node stands for one with faults; one
// that isn't closed leaves the parser where it begins.
func (p *parser) quoted(indent int) *Node {
	n := &Node{Kind: KindScalar, At: p.pos}
	quote, special := p.src[p.pos], "'\n"
	if quote == '"' {
		special = "\"\\\n"
	}
	var t text
	faults := p.found
	for closed := false; !closed; {
		p.pos++
		from, length := p.pos, strings.IndexAny(p.src[p.pos:], special)
		if length < 0 {
			return p.unclosed(n.At)
		}
		p.pos += length
		chunk := p.src[from:p.pos]
		if p.src[p.pos] == '\n' {
			chunk = strings.TrimRight(chunk, " \t")
		}
		t.add(chunk, from)
		switch c := p.src[p.pos]; {
		case c == '\n':
			if !p.quotedBelow(indent, &t, true) {
				return p.unclosed(n.At)
			}
		case c == '\\' && strings.HasPrefix(p.src[p.pos:], "\\\n"):
			p.pos++
			if !p.quotedBelow(indent, &t, false) {
				return p.unclosed(n.At)
			}
		case c == '\\':
			p.escape(&t)
		case quote == '\'' && strings.HasPrefix(p.src[p.pos:], "''"):
			t.add("'", p.pos)
			p.pos++
		default:
			closed = true
		}
	}
	p.pos++
	n.End = p.pos
	t.finish(n)
	if p.found > faults {
		n.Kind = KindBad
	}
	return n
}

func (p *parser) unclosed(at int) *Node {
	p.pos = at
	p.fault(at, 1, "the quote that opens here is not closed", "the lines of a quoted text are indented deeper than its key")
	return p.bad(at)
}

// quotedBelow goes on to the next line of a quoted text, before its first
// character. It is false when there is none.
func (p *parser) quotedBelow(indent int, t *text, fold bool) bool {
	next, blank := p.below(indent)
	if next < 0 {
		return false
	}
	if fold {
		t.fold(blank)
	} else {
		t.newlines(blank)
	}
	p.pos = next - 1
	return true
}

// escapes are what follows a backslash and stands for one character.
var escapes = map[byte]string{
	'0': "\x00", 'a': "\a", 'b': "\b", 't': "\t", '\t': "\t", 'n': "\n", 'v': "\v", 'f': "\f", 'r': "\r", 'e': "\x1b",
	' ': " ", '"': `"`, '/': "/", '\\': `\`, 'N': "\u0085", '_': "\u00a0", 'L': "\u2028", 'P': "\u2029",
}

// digits are the numbers of hexadecimal digits behind \x, \u and \U.
var digits = map[byte]int{'x': 2, 'u': 4, 'U': 8}

// escape reads an escape and stops at its last character.
func (p *parser) escape(t *text) {
	at := p.pos
	if at+1 >= len(p.src) {
		return // the text isn't closed, which is said then
	}
	c := p.src[at+1]
	if s, ok := escapes[c]; ok {
		t.add(s, at)
		p.pos++
		return
	}
	if digits[c] == 0 {
		r, _ := utf8.DecodeRuneInString(p.src[at+1:])
		p.fault(at, 2, fmt.Sprintf(`\%c is no escape in double quotes`, r), `in single quotes a \ is just that`)
		return
	}
	r, end := p.codePoint(at)
	if low, lowEnd := p.codePoint(end); utf16.IsSurrogate(r) && c == 'u' && strings.HasPrefix(p.src[end:], `\u`) {
		r, end = utf16.DecodeRune(r, low), lowEnd
	}
	if end < 0 || !utf8.ValidRune(r) || r == utf8.RuneError && p.src[at:end] != `\ufffd` && p.src[at:end] != `\uFFFD` {
		p.fault(at, 2, fmt.Sprintf(`\%c and what follows is no character`, c), fmt.Sprintf("%d hexadecimal digits go behind it", digits[c]))
		return
	}
	t.add(string(r), at)
	p.pos = end - 1
}

// codePoint reads an escape of hexadecimal digits; end is behind it, or -1.
func (p *parser) codePoint(at int) (r rune, end int) {
	if at < 0 || at+1 >= len(p.src) || p.src[at] != '\\' {
		return utf8.RuneError, -1
	}
	end = at + 2 + digits[p.src[at+1]]
	if end > len(p.src) {
		return utf8.RuneError, -1
	}
	n, err := strconv.ParseUint(p.src[at+2:end], 16, 32)
	if err != nil || n > utf8.MaxRune {
		return utf8.RuneError, -1
	}
	return rune(n), end
}
