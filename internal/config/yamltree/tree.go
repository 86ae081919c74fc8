package yamltree

import (
	"sort"
	"strings"
	"unicode/utf8"
)

// The bounds of what is read.
const (
	MaxDepth  = 64   // of collections in each other
	MaxFaults = 1000 // told of one file; those above it are counted alone
)

// File is a text that was parsed.
type File struct {
	Root   *Node   // KindEmpty when there is nothing in the file
	Faults []Fault // the first MaxFaults, in the order of the text
	Found  int     // how many there are

	text    string
	marks   []mark
	aliases bool // aliases are expanded
	copied  int  // nodes that were made in place of aliases
	within  int  // aliases that are being expanded, in each other
}

// Fault is something wrong with the text itself.
type Fault struct {
	At    int // offset in the text
	Width int // of what is at fault, in bytes
	// Message says what is wrong; Hint, where not empty, what to do about it.
	Message, Hint string
}

// Kind says what a node is.
type Kind uint8

// The kinds.
const (
	// KindBad stands for what could not be read; a fault was found there.
	KindBad      Kind = iota
	KindEmpty         // nothing where a value could be
	KindScalar        // a text
	KindMapping       // keys and their values
	KindSequence      // a list
)

// Node is a value or a key of the tree.
type Node struct {
	Kind Kind
	// Plain is set for a scalar that is written without quotes: its value is
	// its source text.
	Plain   bool
	At, End int    // where the node stands in the text: offsets, End is behind it
	Value   string // of a scalar

	Entries []Entry // of a mapping
	Items   []*Node // of a sequence

	text string // of the file
}

// Entry is a key of a mapping with its value. No key is there twice.
type Entry struct {
	Key   *Node // a scalar
	Value *Node
}

// Find is the value of a key, or nil.
func (n *Node) Find(key string) *Node {
	for _, e := range n.Entries {
		if e.Key.Value == key {
			return e.Value
		}
	}
	return nil
}

// mark is the line and the column of an offset. There is one for each line's
// first byte, and more in long lines, so that finding a place is quick in a file
// that is one line.
type mark struct{ at, line, column int }

const markEvery = 128 // characters of a line

func marksOf(text string) []mark {
	marks := []mark{{0, 1, 1}}
	last, column := marks[0], 1
	for i, r := range text {
		if column-last.column == markEvery {
			last = mark{i, last.line, column}
			marks = append(marks, last)
		}
		column++
		if r == '\n' {
			last, column = mark{i + 1, last.line + 1, 1}, 1
			marks = append(marks, last)
		}
	}
	return marks
}

// Position tells the line and the column of an offset, both from 1; columns
// count characters.
func (f *File) Position(offset int) (line, column int) {
	offset = max(0, min(offset, len(f.text)))
	m := f.marks[sort.Search(len(f.marks), func(k int) bool { return f.marks[k].at > offset })-1]
	return m.line, m.column + utf8.RuneCountInString(f.text[m.at:offset])
}

// offset is where a line and a column, both from 1, are in the text.
func (f *File) offset(line, column int) int {
	k := sort.Search(len(f.marks), func(k int) bool {
		return f.marks[k].line > line || f.marks[k].line == line && f.marks[k].column > column
	})
	m := f.marks[max(k-1, 0)]
	at := m.at
	for ; m.column < column && at < len(f.text); m.column++ {
		_, n := utf8.DecodeRuneInString(f.text[at:])
		at += n
	}
	return at
}

// Line is the text of a line, without its end.
func (f *File) Line(n int) string {
	if n < 1 || n > f.Lines() {
		return ""
	}
	start := f.offset(n, 1)
	return f.text[start:lineEnd(f.text, start)]
}

// Text is what stands between two offsets.
func (f *File) Text(from, to int) string { return f.text[from:to] }

// Lines is the number of lines.
func (f *File) Lines() int { return f.marks[len(f.marks)-1].line }

// lineEnd is the offset of the end of the line that an offset is in.
func lineEnd(s string, at int) int {
	if i := strings.IndexByte(s[at:], '\n'); i >= 0 {
		return at + i
	}
	return len(s)
}
