package descriptors

import "strings"

// piece is a part of a text: a literal, or the CEL between `${` and `}`.
type piece struct {
	literal string
	source  string // CEL; literal is then empty
	offset  int    // of the piece in the text, in bytes; of source, not of `${`
	isCEL   bool
}

// split takes a text apart. `$${` is a literal `${`. When a `${` is never
// closed, open is its offset; else it is -1.
func split(text string) (pieces []piece, open int) {
	var literal strings.Builder
	from := 0 // where the literal begins
	flush := func() {
		if literal.Len() > 0 {
			pieces = append(pieces, piece{literal: literal.String(), offset: from})
			literal.Reset()
		}
	}
	for i := 0; i < len(text); {
		switch {
		case strings.HasPrefix(text[i:], "$${"):
			literal.WriteString("${")
			i += len("$${")
		case strings.HasPrefix(text[i:], "${"):
			start := i + len("${")
			end := closing(text, start)
			if end < 0 {
				return nil, i
			}
			flush()
			pieces = append(pieces, piece{source: text[start:end], offset: start, isCEL: true})
			i = end + 1
			from = i
		default:
			literal.WriteByte(text[i])
			i++
		}
	}
	flush()
	return pieces, -1
}

// closing is where the brace is that closes an expression which begins at from,
// read as CEL's lexer reads it: braces in strings, in quoted names and in
// comments are none. It is -1 when there is none.
func closing(text string, from int) int {
	depth := 0
	for i := from; i < len(text); {
		switch c := text[i]; {
		case c == '{':
			depth++
			i++
		case c == '}':
			if depth == 0 {
				return i
			}
			depth--
			i++
		case c == '"' || c == '\'':
			i = afterString(text, i, isRaw(text[from:i]))
		case c == '`':
			i = afterByte(text, i+1, '`')
		case strings.HasPrefix(text[i:], "//"):
			i = afterByte(text, i, '\n')
		default:
			i++
		}
	}
	return -1
}

// afterByte is the offset after the next c, or the end.
func afterByte(text string, i int, c byte) int {
	if n := strings.IndexByte(text[i:], c); n >= 0 {
		return i + n + 1
	}
	return len(text)
}

// afterString is the offset after the string that begins with the quote at i, or
// the end when it isn't closed.
func afterString(text string, i int, raw bool) int {
	quote := text[i : i+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(text[i:], triple) {
		quote = triple
	}
	for i += len(quote); i < len(text); {
		switch {
		case strings.HasPrefix(text[i:], quote):
			return i + len(quote)
		case text[i] == '\\' && !raw:
			i += 2
		default:
			i++
		}
	}
	return len(text)
}

// isRaw reports whether a string that follows is raw: an r before its quote, or
// one with a b for bytes, that is no name's end.
func isRaw(before string) bool {
	start := len(before)
	for start > 0 && isWord(before[start-1]) {
		start--
	}
	switch strings.ToLower(before[start:]) {
	case "r", "br":
		return true
	}
	return false
}

func isWord(c byte) bool {
	return c == '_' || c-'0' < 10 || c|0x20 >= 'a' && c|0x20 <= 'z'
}
