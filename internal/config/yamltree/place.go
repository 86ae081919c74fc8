package yamltree

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Offset tells where the i-th byte of a scalar's value stands in the text; of
// another node, where that begins.
//
// The value of a scalar and its source have the same characters in the same
// order, but for blanks: line ends and indentation are folded or left out. So
// every other character is found by going through both, whatever the style. A
// blank that has none of its own in the source is where the next one stands.
func (n *Node) Offset(i int) int {
	switch {
	case n.Kind != KindScalar:
		return n.At
	case n.Plain && strings.HasPrefix(n.text[n.At:], n.Value):
		return n.At + i
	}
	at, quote := n.content()
	for v, r := range n.Value {
		size, blank := unit(n.text[at:], quote)
		if !isBlank(r) {
			for blank {
				at += size
				size, blank = unit(n.text[at:], quote)
			}
		}
		if i < v+utf8.RuneLen(r) {
			break
		}
		if blank == isBlank(r) {
			at += size
		}
	}
	return at
}

// content is where the text of a scalar begins, and the quote around it or 0.
func (n *Node) content() (at int, quote byte) {
	switch c := n.text[n.At]; {
	case n.Plain:
		return n.At, 0
	case c == '"' || c == '\'':
		return n.At + 1, c
	}
	return min(lineEnd(n.text, n.At)+1, len(n.text)), 0 // behind | or >
}

// scalarEnd is the offset behind a scalar and its closing quote.
func (n *Node) scalarEnd() int {
	end := n.Offset(len(n.Value))
	if _, quote := n.content(); quote != 0 {
		for size, blank := unit(n.text[end:], quote); blank; size, blank = unit(n.text[end:], quote) {
			end += size // a line end and indentation
		}
		end++
	}
	return min(end, len(n.text))
}

// unit is the length of the source of one character of a value, and whether
// that is a blank.
func unit(source string, quote byte) (size int, blank bool) {
	switch {
	case quote == '"' && strings.HasPrefix(source, `\`) && len(source) > 1:
		return escape(source)
	case quote == '\'' && strings.HasPrefix(source, "''"):
		return 2, false
	}
	r, size := utf8.DecodeRuneInString(source)
	return size, isBlank(r)
}

// escape is unit for what begins with a backslash.
func escape(source string) (size int, blank bool) {
	digits := 0
	switch source[1] {
	case 'n', 't', ' ', '\t', '\n':
		return 2, true
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	default:
		_, size = utf8.DecodeRuneInString(source[1:])
		return 1 + size, false
	}
	size = min(2+digits, len(source))
	r, err := strconv.ParseUint(source[2:size], 16, 32)
	return size, err == nil && isBlank(rune(r)) //nolint:gosec // up to 32 bits fit
}

func isBlank(r rune) bool { return r == ' ' || r == '\t' || r == '\n' }
