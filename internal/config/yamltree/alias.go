package yamltree

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxCopied is how many nodes aliases may stand for: each alias of a file can
// double it.
const maxCopied = 100_000

// aliased makes a node of what an alias stands for. It stands where that does.
func (f *File) aliased(y *yaml.Node, depth int) *Node {
	at := f.at(y)
	if f.copied += countOf(y.Alias, maxCopied+1-f.copied); f.copied > maxCopied || f.within > MaxDepth {
		f.fault(at, 1+len(y.Value), "aliases stand for too much", "write the values out")
		return &Node{At: at, End: at, text: f.text}
	}
	f.within++
	n := f.node(y.Alias, depth)
	f.within--
	return n
}

// countOf is how many nodes one has in it, up to a bound.
func countOf(y *yaml.Node, most int) int {
	n := 1
	for _, c := range y.Content {
		if n >= most {
			break
		}
		n += countOf(c, most-n)
	}
	return n
}

// isEmpty reports whether there is nothing where a value could be.
func isEmpty(y *yaml.Node) bool { return y.Kind == yaml.ScalarNode && y.Style == 0 && y.Value == "" }

// behindAnchor is where a node begins that may have an anchor before it, where
// those are read.
func (f *File) behindAnchor(at int, y *yaml.Node) int {
	if !f.aliases || y.Anchor == "" || !strings.HasPrefix(f.text[at:], "&"+y.Anchor) {
		return at
	}
	at += 1 + len(y.Anchor)
	for at < len(f.text) {
		switch f.text[at] {
		case ' ', '\t', '\n':
			at++
		case '#':
			at = lineEnd(f.text, at)
		default:
			return at
		}
	}
	return at
}

func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == "<<" && key.Style == 0
}

// merge adds the entries of a mapping, or of those of a list, whose keys another
// doesn't have yet.
func (f *File) merge(into, from *Node, keys map[string]*Node) {
	switch from.Kind {
	case KindSequence:
		for _, item := range from.Items {
			f.merge(into, item, keys)
		}
	case KindMapping:
		for _, e := range from.Entries {
			if keys[e.Key.Value] == nil {
				keys[e.Key.Value] = e.Key
				into.Entries = append(into.Entries, e)
			}
		}
	case KindBad:
	default:
		f.fault(from.At, from.End-from.At, "a merge key merges mappings", "")
	}
}
