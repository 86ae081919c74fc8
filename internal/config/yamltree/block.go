package yamltree

import (
	"fmt"
	"strings"
)

// block reads the collection or scalar that begins where the parser stands, at
// its column, inside of what is indented by indent.
func (p *parser) block(indent int) *Node {
	if p.depth++; p.depth > MaxDepth {
		p.depth--
		at := p.pos
		p.fault(at, 1, fmt.Sprintf("more than %d levels in each other", MaxDepth), "")
		p.skip(indent)
		return p.bad(at)
	}
	defer func() { p.depth-- }()
	switch {
	case p.atItem():
		return p.sequence(p.col)
	case p.atKey():
		return p.mapping(p.col)
	}
	return p.inline(indent)
}

// atItem reports whether the item of a list begins here.
func (p *parser) atItem() bool { return p.src[p.pos] == '-' && p.blankAt(p.pos+1) }

// atKey reports whether a key and its colon stand here.
func (p *parser) atKey() bool {
	switch c := p.src[p.pos]; c {
	case '"', '\'':
		i := p.quoteEnd(p.pos)
		for i < len(p.src) && isBlank(p.src[i]) {
			i++
		}
		return i < len(p.src) && p.src[i] == ':' && p.blankAt(i+1)
	case '[', ']', '{', '}', ',', '#', '&', '*', '!', '|', '>', '%', '@', '`':
		return false
	case '?', '-', ':':
		if p.blankAt(p.pos + 1) {
			return false
		}
	}
	return p.colon(p.pos) >= 0
}

// colon is the offset of the colon behind a plain key, or -1.
func (p *parser) colon(at int) int {
	for i := at; i < len(p.src) && p.src[i] != '\n'; i++ {
		switch {
		case p.src[i] == ':' && p.blankAt(i+1):
			return i
		case p.src[i] == '#' && i > at && isBlank(p.src[i-1]):
			return -1
		}
	}
	return -1
}

// quoteEnd is the offset behind a quoted text that ends on its line, else that
// of the line's end.
func (p *parser) quoteEnd(at int) int {
	quote := p.src[at]
	for i := at + 1; i < len(p.src) && p.src[i] != '\n'; i++ {
		switch {
		case p.src[i] == '\\' && quote == '"':
			i++
		case p.src[i] == quote && quote == '\'' && i+1 < len(p.src) && p.src[i+1] == quote:
			i++
		case p.src[i] == quote:
			return i + 1
		}
	}
	return lineEnd(p.src, at)
}

func (p *parser) sequence(col int) *Node {
	n := &Node{Kind: KindSequence, At: p.pos}
	for !p.eof && p.col >= col {
		switch {
		case p.col > col:
			p.misplaced(col)
		case p.atItem():
			p.pos++
			n.Items = append(n.Items, p.value(col, false))
		default:
			n.End = p.pos
			return n // the next key of the mapping around it
		}
	}
	n.End = p.pos
	return n
}

func (p *parser) mapping(col int) *Node {
	n := &Node{Kind: KindMapping, At: p.pos}
	seen := map[string]*Node{}
	for !p.eof && p.col >= col {
		switch {
		case p.col > col:
			p.misplaced(col)
		case p.atKey():
			key := p.key()
			value := p.value(col, true)
			p.entry(n, seen, key, value)
		default:
			p.noKey()
			p.skip(col)
		}
	}
	n.End = p.pos
	return n
}

// entry adds an entry, unless its key is there already.
func (p *parser) entry(n *Node, seen map[string]*Node, key, value *Node) {
	if key.Kind == KindBad {
		return
	}
	first, ok := seen[key.Value]
	if ok {
		line, _ := p.file.Position(first.At)
		p.fault(key.At, key.End-key.At, fmt.Sprintf("the key %q is there twice", key.Value), fmt.Sprintf("first on line %d", line))
		return
	}
	seen[key.Value] = key
	n.Entries = append(n.Entries, Entry{Key: key, Value: value})
}

// key reads a key and its colon.
func (p *parser) key() *Node {
	var n *Node
	if c := p.src[p.pos]; c == '"' || c == '\'' {
		n = p.quoted(0)
	} else {
		colon := p.colon(p.pos)
		n = p.plainNode(p.pos, colon)
		p.pos = colon
		if n.Value == "<<" {
			p.fault(n.At, 2, "merge keys are not used here", "write the keys out")
			n.Kind = KindBad
		}
	}
	if i := strings.IndexByte(p.src[p.pos:], ':'); i >= 0 {
		p.pos += i + 1
	}
	return n
}

// plainNode is a plain scalar on one line, without the spaces at its end.
func (p *parser) plainNode(at, end int) *Node {
	text := strings.TrimRight(p.src[at:end], " \t")
	return &Node{Kind: KindScalar, Plain: true, At: at, End: at + len(text), Value: text}
}

func (p *parser) misplaced(col int) {
	p.fault(p.pos, 1, fmt.Sprintf("indented by %d spaces, which fits nothing above it", p.col), "")
	p.skip(col)
}

// noKey tells why there is no key where one should be.
func (p *parser) noKey() {
	rest := strings.TrimRight(p.src[p.pos:lineEnd(p.src, p.pos)], " \t")
	switch {
	case p.atItem():
		p.fault(p.pos, 1, "an item of a list, where a key should be", "indent it below the key that it belongs to")
	case p.forbidden(lineEnd(p.src, p.pos)):
	case strings.Contains(rest, ":"):
		p.fault(p.pos+strings.IndexByte(rest, ':'), 1, "a space is missing behind the colon", "")
	default:
		p.fault(p.pos, len(rest), "a key and its colon are missing", "write `key: value`")
	}
}

// value reads what follows a colon or a dash, and goes on to the line behind it.
// indent is the column of the key or the dash.
func (p *parser) value(indent int, ofKey bool) *Node {
	at := p.pos
	if p.lineDone() {
		faults := p.found
		p.nextLine()
		p.advance()
		if !p.eof && (p.col > indent || ofKey && p.col == indent && p.atItem()) {
			return p.block(indent)
		}
		return &Node{Kind: p.emptyOrBad(faults), At: at, End: at}
	}
	at = p.pos
	switch {
	case !ofKey && (p.atItem() || p.atKey()):
		p.col = at - (strings.LastIndexByte(p.src[:at], '\n') + 1)
		return p.block(indent)
	case p.atItem():
		p.fault(at, 1, "a list can't begin on the line of its key", "begin it on the next line, or write [a, b]")
		p.skip(indent)
		return p.bad(at)
	}
	return p.inline(indent)
}

// inline reads a value that is no block collection.
func (p *parser) inline(indent int) *Node {
	at := p.pos
	switch c := p.src[at]; {
	case c == '|' || c == '>':
		return p.blockScalar(indent)
	case c == '"' || c == '\'':
		n := p.quoted(indent)
		if n.Kind == KindBad {
			p.skip(indent)
			return n
		}
		if !p.endLine(indent, "put quotes around the whole value") {
			return p.bad(at)
		}
		return n
	case c == '[' || c == '{':
		n := p.flow(indent)
		if n == nil {
			p.skip(indent)
			return p.bad(at)
		}
		if !p.endLine(indent, "put quotes around the whole value") {
			return p.bad(at)
		}
		return n
	case p.forbidden(lineEnd(p.src, at)):
		p.skip(indent)
		return p.bad(at)
	}
	return p.plain(indent)
}
