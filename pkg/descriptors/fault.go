package descriptors

import (
	"fmt"
	"slices"
	"strings"

	edlib "github.com/hbollon/go-edlib"
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
		if d := edlib.OSADamerauLevenshteinDistance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}
