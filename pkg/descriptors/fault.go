package descriptors

import (
	"fmt"
	"slices"
	"strings"
)

// Fault is something wrong, or doubtful, in a configuration, and where.
type Fault struct {
	Pos    Position // zero when the text comes from no file
	Source Text     // the text that has the fault; it may be absent
	Offset int      // of the fault in Source, in bytes
	Width  int      // of what is at fault, in characters; at least 1
	// Message says what is wrong; Hint, where not empty, what to do: the nearest
	// known name, for one.
	Message, Hint string
}

// Error is the fault in one line: file:line:column: message.
func (f *Fault) Error() string {
	var b strings.Builder
	if f.Pos.File != "" {
		b.WriteString(f.Pos.File + ":")
	}
	if f.Pos.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", f.Pos.Line, f.Pos.Column)
	}
	if b.Len() > 0 {
		b.WriteString(" ")
	}
	b.WriteString(f.Message)
	if f.Hint != "" {
		b.WriteString(" (" + f.Hint + ")")
	}
	return b.String()
}

// faults collects what is wrong and what is doubtful.
type faults struct{ errors, warnings []*Fault }

// fault describes a fault in a text.
func faultAt(where Text, offset, width int, message, hint string) *Fault {
	return &Fault{Pos: where.At(offset), Source: where, Offset: offset, Width: max(width, 1), Message: message, Hint: hint}
}

// whole describes a fault that is all of a text.
func whole(where Text, message, hint string) *Fault {
	return faultAt(where, 0, len([]rune(where.Value)), message, hint)
}

func (f *faults) fail(at *Fault) { f.errors = append(f.errors, at) }
func (f *faults) warn(at *Fault) { f.warnings = append(f.warnings, at) }

// didYouMean is a hint with the known name nearest to one that isn't known, or
// nothing when none is near.
func didYouMean(name string, known []string) string {
	best, least := "", min(3, 1+len(name)/4)+1
	for _, k := range slices.Sorted(slices.Values(known)) { // the same one each time
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// distance is how many letters must be changed, added, left out or swapped with
// the next to make one name of the other.
func distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			change := row[j]
			if a[i] != b[j] {
				change++
			}
			next[j+1] = min(row[j+1]+1, next[j]+1, change)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
