package yamltree

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Parse reads a text. It never fails: what is wrong is in the file's Faults, in
// the order of the text, and in its tree a bad node.
func Parse(text []byte) *File {
	s := strings.TrimPrefix(string(text), "\ufeff")
	f := &File{text: strings.ReplaceAll(s, "\r\n", "\n")}
	f.lines = append(f.lines, 0)
	for i := range len(f.text) {
		if f.text[i] == '\n' {
			f.lines = append(f.lines, i+1)
		}
	}
	p := &parser{file: f, src: f.text}
	if p.legible() {
		f.Root = p.document()
	} else {
		f.Root = &Node{Kind: KindBad}
	}
	f.Faults, f.Found = p.faults, p.found
	return f
}

// parser is a parse under way. Between the nodes of block style it stands on
// the first character of a line's content, whose column is col.
type parser struct {
	file   *File
	src    string
	pos    int
	col    int  // columns count from 0 here, in bytes: only spaces and dashes come before
	eof    bool // there are no more lines with content
	began  bool // content or a document marker was seen
	depth  int
	found  int // faults, those above MaxFaults too
	faults []Fault
}

func (p *parser) fault(at, width int, message, hint string) {
	if p.found++; p.found <= MaxFaults {
		p.faults = append(p.faults, Fault{At: at, Width: max(width, 1), Message: message, Hint: hint})
	}
}

// stop makes the rest of the text as if it weren't there.
func (p *parser) stop() {
	p.pos, p.col, p.eof = len(p.src), -1, true
}

// legible finds what can't be in a text: bytes that are no characters, and
// characters that control something or can't be seen.
func (p *parser) legible() bool {
	for i := 0; i < len(p.src); {
		r, n := utf8.DecodeRuneInString(p.src[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			p.fault(i, 1, fmt.Sprintf("the byte 0x%02x is not UTF-8", p.src[i]), "")
		case unicode.IsControl(r) && r != '\n' && r != '\t' || r == '\u2028' || r == '\u2029' || r == '\ufeff':
			p.fault(i, n, fmt.Sprintf("the character %U can't be here", r), fmt.Sprintf(`in double quotes, \u%04x is the same`, r))
		}
		i += n
	}
	return p.found == 0
}

func (p *parser) document() *Node {
	p.advance()
	if p.eof {
		return &Node{Kind: p.emptyOrBad(0)}
	}
	root := p.block(-1)
	for !p.eof {
		p.fault(p.pos, 1, "this line is not part of what stands before it", "")
		p.skip(-1)
	}
	return root
}

// emptyOrBad is the kind of a value that isn't there: bad where faults were
// found on the way to it.
func (p *parser) emptyOrBad(faults int) Kind {
	if p.found > faults {
		return KindBad
	}
	return KindEmpty
}

// advance goes on to the next line that has content, from the beginning of a
// line: past blank lines, comments and what can't be used.
func (p *parser) advance() {
	for p.pos < len(p.src) {
		start := p.pos
		for p.pos < len(p.src) && p.src[p.pos] == ' ' {
			p.pos++
		}
		p.col = p.pos - start
		rest := p.src[p.pos:lineEnd(p.src, p.pos)]
		switch text := strings.TrimLeft(rest, " \t"); {
		case text == "" || text[0] == '#':
		case rest[0] == '\t':
			p.fault(p.pos, 1, "a tab can't indent a line", "use spaces")
		case p.col == 0 && p.marker(rest):
		default:
			p.began = true
			return
		}
		p.nextLine()
	}
	p.stop()
}

// nextLine goes to the beginning of the next line.
func (p *parser) nextLine() {
	p.pos = min(lineEnd(p.src, p.pos)+1, len(p.src))
}

// marker deals with a line that stands between documents.
func (p *parser) marker(line string) bool {
	switch {
	case line[0] == '%' && !p.began:
		p.fault(p.pos, len(line), "directives are not used here", "")
		return true
	case isMarker(line, "---"):
		if p.began {
			p.fault(p.pos, 3, "a second document begins here", "a configuration is one document")
			p.stop()
			return true
		}
		p.began = true
		if rest := strings.TrimLeft(line[3:], " \t"); rest != "" && rest[0] != '#' {
			p.fault(p.pos+len(line)-len(rest), len(rest), "nothing can follow --- on its line", "")
		}
		return true
	case isMarker(line, "..."):
		p.began = true // anything after it is a second document
		if rest := strings.TrimSpace(p.afterEnd()); rest != "" {
			p.fault(p.pos, 3, "the document ends here, but text follows", "a configuration is one document")
		}
		p.stop()
		return true
	}
	return false
}

// afterEnd is what follows the line, without comments before it.
func (p *parser) afterEnd() string {
	rest := p.src[lineEnd(p.src, p.pos):]
	for {
		rest = strings.TrimLeft(rest, " \t\n")
		if rest == "" || rest[0] != '#' {
			return rest
		}
		rest = rest[lineEnd(rest, 0):]
	}
}

func isMarker(line, marker string) bool {
	rest, ok := strings.CutPrefix(line, marker)
	return ok && (rest == "" || isBlank(rest[0]))
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// blankAt reports whether the line ends or a space follows at an offset.
func (p *parser) blankAt(i int) bool {
	return i >= len(p.src) || p.src[i] == '\n' || isBlank(p.src[i])
}

// skip leaves out this line and those that belong to it, as they are indented
// deeper than a column or close brackets.
func (p *parser) skip(col int) {
	for {
		p.nextLine()
		p.advance()
		if p.eof || p.col <= col && p.src[p.pos] != '}' && p.src[p.pos] != ']' {
			return
		}
	}
}

// blanks goes past spaces and tabs.
func (p *parser) blanks() {
	for p.pos < len(p.src) && isBlank(p.src[p.pos]) {
		p.pos++
	}
}

// lineDone reports whether nothing but a comment is left on the line.
func (p *parser) lineDone() bool {
	p.blanks()
	if p.pos >= len(p.src) || p.src[p.pos] == '\n' {
		return true
	}
	return p.src[p.pos] == '#' && (p.pos == 0 || p.blankAt(p.pos-1))
}

// endLine is called behind a value: it goes on to the next line with content. It
// is false when this line has more.
func (p *parser) endLine(indent int, hint string) bool {
	if !p.lineDone() {
		end := lineEnd(p.src, p.pos)
		p.fault(p.pos, len(strings.TrimRight(p.src[p.pos:end], " \t")), "nothing can follow the value on this line", hint)
		p.skip(indent)
		return false
	}
	p.nextLine()
	p.advance()
	return true
}

// bad is what stands for a node with a fault.
func (p *parser) bad(at int) *Node { return &Node{Kind: KindBad, At: at, End: at} }
