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

	text  string
	lines []int // offset of each line's first byte
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

	marks []mark // where Value isn't just the text from At on
}

// Entry is a key of a mapping with its value. No key is there twice.
type Entry struct {
	Key   *Node // a scalar
	Value *Node
}

// mark says that the value's bytes from an offset on come from the text's bytes
// from another one on, one by one up to the next mark.
type mark struct{ value, text int }

// Offset tells where the i-th byte of a scalar's value stands in the text.
func (n *Node) Offset(i int) int {
	if len(n.marks) == 0 {
		return min(n.At+i, n.End)
	}
	k := sort.Search(len(n.marks), func(k int) bool { return n.marks[k].value > i }) - 1
	if k < 0 {
		return n.At
	}
	m := n.marks[k]
	return min(m.text+i-m.value, n.End)
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

// Position tells the line and the column of an offset, both from 1; columns
// count characters.
func (f *File) Position(offset int) (line, column int) {
	offset = max(0, min(offset, len(f.text)))
	line = sort.SearchInts(f.lines, offset+1)
	return line, utf8.RuneCountInString(f.text[f.lines[line-1]:offset]) + 1
}

// Line is the text of a line, without its end.
func (f *File) Line(n int) string {
	if n < 1 || n > len(f.lines) {
		return ""
	}
	start := f.lines[n-1]
	return f.text[start:lineEnd(f.text, start)]
}

// Text is what stands between two offsets.
func (f *File) Text(from, to int) string { return f.text[from:to] }

// Lines is the number of lines.
func (f *File) Lines() int { return len(f.lines) }

// lineEnd is the offset of the end of the line that an offset is in.
func lineEnd(s string, at int) int {
	if i := strings.IndexByte(s[at:], '\n'); i >= 0 {
		return at + i
	}
	return len(s)
}
