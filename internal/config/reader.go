package config

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/extauthz/extauthz/internal/config/yamltree"
	"github.com/extauthz/extauthz/pkg/descriptors"
)

// reader walks the tree of a file against what may be in it, and reports what
// isn't as it should be.
type reader struct {
	name   string // of the file
	file   *yamltree.File
	report *Report
}

// field is one key that a mapping may have, and what reads its value.
type field struct {
	name string
	read func(key, value *yamltree.Node)
}

// fields reads a mapping; what names it in messages, as in "a rule".
func (r *reader) fields(key, n *yamltree.Node, what string, fields []field) {
	if !r.is(key, n, yamltree.KindMapping) {
		return
	}
	for _, e := range n.Entries {
		known := false
		for i := range fields {
			if fields[i].name == e.Key.Value {
				known = true
				fields[i].read(e.Key, e.Value)
			}
		}
		if !known {
			names := make([]string, len(fields))
			for i := range fields {
				names[i] = fields[i].name
			}
			r.fault(e.Key, fmt.Sprintf("unknown key %q in %s", e.Key.Value, what), nearest(e.Key.Value, names))
		}
	}
}

// named reads a mapping whose keys are names that the file's author chose.
func (r *reader) named(key, n *yamltree.Node, read func(key, value *yamltree.Node)) {
	if !r.is(key, n, yamltree.KindMapping) {
		return
	}
	for _, e := range n.Entries {
		switch {
		case e.Key.Value == "":
			r.fault(e.Key, "the name is empty", "")
		case isNull(e.Key):
			r.fault(e.Key, "null is no name", "put quotes around it")
		default:
			read(e.Key, e.Value)
		}
	}
}

var kindNames = map[yamltree.Kind]string{
	yamltree.KindScalar: "a text", yamltree.KindMapping: "a mapping", yamltree.KindSequence: "a list",
}

// is reports whether a value is of a kind, with a fault where it isn't. key is
// nil for an item of a list.
func (r *reader) is(key, n *yamltree.Node, kind yamltree.Kind) bool {
	switch {
	case n.Kind == yamltree.KindBad:
		return false
	case isNull(n):
		r.fault(n, "null is no value here", "leave the key out, or put quotes around the text")
		return false
	case n.Kind == kind:
		return true
	}
	at, what, hint := n, "an item of this list", ""
	if key != nil {
		at, what, hint = key, fmt.Sprintf("%q", key.Value), "leave the key out"
	}
	if n.Kind == yamltree.KindEmpty {
		r.fault(at, what+" has no value", hint)
		return false
	}
	r.fault(at, fmt.Sprintf("%s must be %s, not %s", what, kindNames[kind], kindNames[n.Kind]), "")
	return false
}

// isNull reports whether YAML would read nothing where a text is written.
func isNull(n *yamltree.Node) bool {
	if n.Kind != yamltree.KindScalar || !n.Plain {
		return false
	}
	switch n.Value {
	case "null", "Null", "NULL", "~":
		return true
	}
	return false
}

// scalar reads a text, which may be empty where it is so in quotes.
func (r *reader) scalar(key, n *yamltree.Node) (string, bool) {
	if !r.is(key, n, yamltree.KindScalar) {
		return "", false
	}
	return n.Value, true
}

// filled reads a text that isn't empty.
func (r *reader) filled(key, n *yamltree.Node) (string, bool) {
	s, ok := r.scalar(key, n)
	if ok && s == "" {
		r.fault(n, fmt.Sprintf("%q is empty", key.Value), "leave the key out")
		return "", false
	}
	return s, ok
}

// into makes a field that reads a text and where it stands.
func (r *reader) into(name string, text *descriptors.Text) field {
	return field{name, func(key, value *yamltree.Node) {
		if _, ok := r.filled(key, value); ok {
			*text = r.text(value)
		}
	}}
}

// text is a scalar with its place in the file.
func (r *reader) text(n *yamltree.Node) descriptors.Text {
	return descriptors.Text{Value: n.Value, Locate: func(i int) descriptors.Position { return r.position(n.Offset(i)) }}
}

// flag reads true or false.
func (r *reader) flag(key, n *yamltree.Node) bool {
	s, ok := r.filled(key, n)
	if ok && s != "true" && s != "false" {
		r.fault(n, fmt.Sprintf("%q must be true or false", key.Value), "")
	}
	return s == "true"
}

// later makes a field that nothing reads yet. It may be there when it is off.
func (r *reader) later(name, path string) field {
	return field{name, func(key, value *yamltree.Node) {
		if value.Kind == yamltree.KindEmpty || isNull(value) {
			r.scalar(key, value)
		} else if value.Kind != yamltree.KindBad && !isOff(value) {
			r.fault(key, path+notYet, "")
		}
	}}
}

const notYet = " is not supported yet"

// isOff reports whether a value switches off what it is for.
func isOff(n *yamltree.Node) bool {
	switch n.Kind {
	case yamltree.KindScalar:
		return n.Value == "" || n.Plain && n.Value == "false"
	case yamltree.KindMapping:
		for _, e := range n.Entries {
			if !isOff(e.Value) {
				return false
			}
		}
		return true
	case yamltree.KindSequence:
		return len(n.Items) == 0
	}
	return false
}

func (r *reader) position(offset int) descriptors.Position {
	line, column := r.file.Position(offset)
	return descriptors.Position{File: r.name, Line: line, Column: column}
}

// fault reports an error at a node.
func (r *reader) fault(n *yamltree.Node, message, hint string) {
	r.faultAt(n.At, n.End-n.At, message, hint)
}

// warn reports a warning at a node.
func (r *reader) warn(n *yamltree.Node, message, hint string) {
	r.report.add(&Problem{Pos: r.position(n.At), Width: r.width(n.At, n.End-n.At), Warning: true, Message: message, Hint: hint})
}

func (r *reader) faultAt(at, bytes int, message, hint string) {
	r.report.add(&Problem{Pos: r.position(at), Width: r.width(at, bytes), Message: message, Hint: hint})
}

// width is how many characters some bytes are; those of the first line are
// shown.
func (r *reader) width(at, bytes int) int {
	line, _, _ := strings.Cut(r.file.Text(at, at+bytes), "\n")
	return utf8.RuneCountInString(line)
}
