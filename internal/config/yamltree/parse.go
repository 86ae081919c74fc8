package yamltree

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Parse reads a text. It never fails: what is wrong is in the file's Faults, in
// the order of the text, and in its tree a bad node.
func Parse(text []byte) *File { return parse(text, false) }

// ParseAliases is [Parse] for files of others, in which anchors, aliases and merge
// keys stand for what they name.
func ParseAliases(text []byte) *File { return parse(text, true) }

func parse(text []byte, aliases bool) *File {
	s := strings.ReplaceAll(strings.TrimPrefix(string(text), "\ufeff"), "\r\n", "\n")
	f := &File{text: s, marks: marksOf(s), Root: &Node{Kind: KindBad}, aliases: aliases}
	if f.legible() && !f.directed() {
		f.document()
	}
	return f
}

func (f *File) fault(at, width int, message, hint string) {
	if f.Found++; f.Found <= MaxFaults {
		f.Faults = append(f.Faults, Fault{At: at, Width: max(width, 1), Message: message, Hint: hint})
	}
}

// legible finds what can't be in a text: bytes that are no characters, and
// characters that control something or can't be seen.
func (f *File) legible() bool {
	for i := 0; i < len(f.text); {
		r, n := utf8.DecodeRuneInString(f.text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			f.fault(i, 1, fmt.Sprintf("the byte 0x%02x is not UTF-8", f.text[i]), "")
		case unicode.IsControl(r) && r != '\n' && r != '\t', r == '\u2028', r == '\u2029', r == '\ufeff', r == '\ufffe', r == '\uffff':
			f.fault(i, n, fmt.Sprintf("the character %U can't be here", r), fmt.Sprintf(`in double quotes, \u%04x is the same`, r))
		}
		i += n
	}
	return f.Found == 0
}

// directed finds directives, which stand before anything else.
func (f *File) directed() bool {
	for at := 0; at < len(f.text); at = lineEnd(f.text, at) + 1 {
		line := strings.TrimRight(f.text[at:lineEnd(f.text, at)], " \t")
		if strings.HasPrefix(line, "%") {
			f.fault(at, len(line), "directives are not used here", "")
			return true
		}
		if !isVoid(line) {
			return false
		}
	}
	return false
}

// isVoid reports whether a line has nothing but a comment.
func isVoid(line string) bool {
	line = strings.TrimLeft(line, " \t")
	return line == "" || line[0] == '#'
}

// document makes the tree of the one document.
func (f *File) document() {
	docs, err := decode(strings.NewReader("\n" + f.text))
	switch {
	case err != nil:
		f.syntax(err)
		return
	case len(docs) == 0:
		f.Root = &Node{Kind: KindEmpty}
		return
	case len(docs) > 1:
		f.fault(f.at(docs[1]), 3, "a second document begins here", "a configuration is one document")
	}
	f.Root = f.node(docs[0].Content[0], 1)
}

// decode reads the documents of a text, no more than two. The texts that it is
// given have a line end before them: the library leaves line 0 out of what it
// says, and says another one in its stead.
func decode(text io.Reader) ([]*yaml.Node, error) {
	decoder := yaml.NewDecoder(text)
	var docs []*yaml.Node
	for len(docs) < 2 {
		doc := new(yaml.Node)
		if err := decoder.Decode(doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		docs = append(docs, doc)
	}
	return docs, nil
}

// at is where a node of the library's stands in the text.
func (f *File) at(y *yaml.Node) int { return f.offset(y.Line-1, y.Column) }

// node makes a node of the library's one; depth counts from 1.
func (f *File) node(y *yaml.Node, depth int) *Node {
	n := &Node{At: f.at(y), text: f.text}
	n.End = n.At
	switch {
	case f.aliases && y.Kind == yaml.AliasNode:
		return f.aliased(y, depth)
	case isEmpty(y) && (f.aliases || y.Anchor == ""):
		n.Kind = KindEmpty
		return n
	}
	n.At = f.behindAnchor(n.At, y)
	n.End = n.At
	switch {
	case f.decorated(n.At, y):
		return n
	case y.Kind == yaml.ScalarNode:
		n.Kind, n.Plain, n.Value = KindScalar, y.Style == 0, y.Value
		n.End = n.scalarEnd()
		return n
	case depth > MaxDepth:
		f.fault(n.At, 1, tooDeep, "")
		return n
	case y.Kind == yaml.SequenceNode:
		n.Kind = KindSequence
		n.Items = make([]*Node, len(y.Content))
		for i, item := range y.Content {
			n.Items[i] = f.node(item, depth+1)
			n.End = n.Items[i].End
		}
	default:
		n.Kind = KindMapping
		f.entries(n, y, depth)
	}
	if y.Style&yaml.FlowStyle != 0 {
		n.End = f.closing(max(n.End, n.At+1))
	}
	return n
}

// decorated finds a tag, an anchor or an alias: each stands where its node
// begins.
func (f *File) decorated(at int, y *yaml.Node) bool {
	if y.Kind == yaml.MappingNode && len(y.Content) > 0 && f.at(y.Content[0]) == at {
		return false // if anything, its first key is
	}
	switch f.text[at:min(at+1, len(f.text))] {
	case "!":
		f.tag(at)
	case "&":
		f.fault(at, 1+len(y.Anchor), "anchors are not used here", "write the value out, or put quotes around the text")
	case "*":
		f.fault(at, 1+len(y.Value), aliased, "write the value out, or put quotes around the text")
	default:
		return false
	}
	return true
}

// tag reports a tag. Where it is certain to be the text of an expression up to
// the line's end, that is shown in quotes.
func (f *File) tag(at int) {
	const shown = 60
	rest, _, ends := strings.Cut(f.text[at:min(at+shown, len(f.text))], "\n")
	rest = strings.TrimRight(rest, " \t")
	hint := quoteIt
	if ends && !strings.ContainsAny(rest, ",]}#") {
		hint += ": '" + strings.ReplaceAll(rest, "'", "''") + "'"
	}
	word, _, _ := strings.Cut(rest, " ")
	f.fault(at, len(word), tagged, hint)
}

// entries reads the keys of a mapping and their values.
func (f *File) entries(n *Node, y *yaml.Node, depth int) {
	n.Entries = make([]Entry, 0, len(y.Content)/2)
	first := make(map[string]*Node, len(y.Content)/2)
	var merged []*Node
	for i := 0; i+1 < len(y.Content); i += 2 {
		if f.aliases && isMerge(y.Content[i]) {
			merged = append(merged, f.node(y.Content[i+1], depth+1))
			continue
		}
		key := f.key(y.Content[i])
		if key.Kind == KindScalar {
			if other := first[key.Value]; other != nil {
				line, _ := f.Position(other.At)
				f.fault(key.At, key.End-key.At, fmt.Sprintf("the key %q is there twice", key.Value), fmt.Sprintf("first on line %d", line))
				key.Kind = KindBad
			} else {
				first[key.Value] = key
			}
		}
		value := f.node(y.Content[i+1], depth+1)
		if colon := strings.IndexByte(key.Value, ':'); key.Plain && colon >= 0 && value.Kind == KindEmpty {
			f.fault(key.At+colon, 1, "a space is missing behind the colon", "")
			key.Kind = KindBad
		}
		if key.Kind == KindScalar {
			n.Entries = append(n.Entries, Entry{Key: key, Value: value})
		}
		n.End = max(key.End, value.End)
	}
	for _, m := range merged {
		f.merge(n, m, first)
	}
}

// key makes a node of a mapping's key: a scalar, or a bad one.
func (f *File) key(y *yaml.Node) *Node {
	at := f.at(y)
	before := strings.TrimRight(f.text[:at], " \t")
	switch {
	case strings.HasSuffix(before, "?") && len(before) < at:
		f.fault(len(before)-1, 1, "complex keys are not used here", "write `key: value`")
	case f.aliases && y.Kind == yaml.AliasNode:
		f.fault(at, 1+len(y.Value), "an alias can't be a key", "write the text out")
	case y.Kind == yaml.MappingNode || y.Kind == yaml.SequenceNode:
		f.fault(at, 1, "a collection can't be a key", "put quotes around the text")
	case isMerge(y):
		f.fault(at, 2, "merge keys are not used here", "write the keys out")
	default:
		n := f.node(y, 1)
		if n.Kind == KindEmpty {
			n.Kind, n.Plain = KindScalar, true
		}
		return n
	}
	return &Node{At: at, End: at}
}

// closing is the offset behind the bracket that follows the last entry.
func (f *File) closing(at int) int {
	for i := at; i < len(f.text); i++ {
		switch f.text[i] {
		case ' ', '\t', '\n', ',':
		case ']', '}':
			return i + 1
		default:
			return at
		}
	}
	return at
}
