package yamltree

import (
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// syntax reports the one error that the library stops at. The library tells the
// line of it at best: where the column isn't known either, all of the line is
// at fault.
func (f *File) syntax(err error) {
	line, said := parts(err)
	e := explain(said)
	read := f.read()
	if at, ok := f.ahead(read, e); ok {
		if f.text[at] == '\t' {
			e = explain("found a tab")
		}
		f.fault(at, 1, e.message, e.hint)
		return
	}
	if e.search {
		line = f.search(said, e.instead, read)
	} else {
		line-- // the scanner counts from 1, and one line end is before the text
	}
	line = max(1, min(line, f.Lines()))
	text := f.Line(line)
	trimmed := strings.Trim(text, " \t")
	f.fault(f.offset(line, 1)+strings.Index(text, trimmed), len(trimmed), e.message, e.hint)
}

// ahead finds the character that the library stops at, where it has read a
// known number of them from there on.
func (f *File) ahead(read int, e explanation) (at int, ok bool) {
	if e.ahead == 0 {
		return 0, false
	}
	text := (f.text + padding)[:read]
	for range e.ahead {
		_, n := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-n]
	}
	at = len(text)
	return at, at < len(f.text) && strings.IndexByte(e.at, f.text[at]) >= 0
}

var lineOf = regexp.MustCompile(`^line (\d+): `)

// parts takes apart what the library says: a line, or 0, and the rest of it.
func parts(err error) (line int, said string) {
	said = strings.TrimPrefix(err.Error(), "yaml: ")
	if m := lineOf.FindStringSubmatch(said); m != nil {
		line, _ = strconv.Atoi(m[1]) // at worst it isn't known
		said = said[len(m[0]):]
	}
	return line, said
}

// padding follows the text, so that there is always enough to read ahead.
const padding = "\n\n\n\n"

// read is how much of the text and its padding the library reads before it
// stops.
func (f *File) read() int {
	r := &bytewise{text: "\n" + f.text + padding}
	_, _ = decode(r) // the error is known
	return max(r.read-1, 0)
}

// search finds the line of an error. What was read may reach into the next line
// that has anything: so it goes up while the text has the error without the
// line, and with something in its stead.
func (f *File) search(said, instead string, read int) int {
	line, _ := f.Position(read - 1)
	line = f.filled(line)
	for range 4 {
		above := f.filled(line - 1)
		_, err := decode(strings.NewReader("\n" + f.text[:f.offset(above+1, 1)] + instead))
		if above == 0 || err == nil {
			break
		}
		if _, other := parts(err); other != said {
			break
		}
		line = above
	}
	return line
}

// filled is the line, or the nearest one above it that has anything.
func (f *File) filled(line int) int {
	for line > 0 && isVoid(f.Line(line)) {
		line--
	}
	return line
}

// bytewise is a reader that knows how much was needed.
type bytewise struct {
	text string
	read int
}

func (r *bytewise) Read(p []byte) (int, error) {
	if r.read == len(r.text) {
		return 0, io.EOF
	}
	n := copy(p, r.text[r.read:r.read+1])
	r.read += n
	return n, nil
}
