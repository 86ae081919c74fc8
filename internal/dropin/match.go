package dropin

import (
	"strings"

	"github.com/extauthz/extauthz/pkg/descriptors"
)

// node is a descriptor of the configuration, or a domain.
type node struct {
	children  map[descriptors.Entry]*node // :: key and value, or key alone -> node
	wildcards []wildcard                  // in the order of the file
	limit     *limit                      // nil: none
	override  *override                   // of a domain
}

// override are the rules for limits that come with descriptors of a domain.
type override struct{ charge, deny *descriptors.Rule }

// wildcard is a child whose value, or key, has a star in it.
type wildcard struct {
	node  *node
	key   string   // empty: the star is in the key
	parts []string // of the value, or of key and value, between the stars
	// shared is what stands for the value in the bucket's entity; empty: the value
	// itself does.
	shared string
}

// star stands for any number of characters.
const star = "*"

// next is the child that an entry leads to, nil when there is none, and what
// stands for its value in the bucket's entity. The value itself comes first, then
// wildcards in the order of the file, then the key alone.
func (n *node) next(e descriptors.Entry) (child *node, value string) {
	if e.Value != "" {
		if child := n.children[e]; child != nil {
			return child, e.Value
		}
	}
	for i := range n.wildcards {
		w := &n.wildcards[i]
		if !w.matches(e) {
			continue
		}
		if w.shared != "" {
			return w.node, w.shared
		}
		return w.node, e.Value
	}
	return n.children[descriptors.Entry{Key: e.Key}], e.Value
}

func (w *wildcard) matches(e descriptors.Entry) bool {
	if w.key == "" {
		return like(w.parts, e.Key+joint+e.Value)
	}
	return w.key == e.Key && like(w.parts, e.Value)
}

// like reports whether a text is made of parts, in their order, with anything
// between them.
func like(parts []string, text string) bool {
	first, last := parts[0], parts[len(parts)-1]
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	rest := text[len(first) : len(text)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return true
}

// find is the limit that a descriptor leads to, nil when there is none, and the
// entity of its bucket where there is one. Only a limit at the last entry counts,
// and no way is tried twice: what a value led to is not left for what its key
// alone would.
func (n *node) find(entries []descriptors.Entry) (*limit, string) {
	var room [8]string // of most descriptors
	values := room[:0]
	for _, e := range entries {
		child, value := n.next(e)
		if child == nil {
			return nil, ""
		}
		n, values = child, append(values, value)
	}
	if n.limit == nil || n.limit.limits == nil {
		return n.limit, ""
	}
	return n.limit, entityOf(entries, values)
}

// entityOf is the entity of a descriptor, with the values that its entries count
// for; nil: their own.
func entityOf(entries []descriptors.Entry, values []string) string {
	var entity strings.Builder
	entity.Grow(sizeOf(entries))
	for i, e := range entries {
		if i > 0 {
			entity.WriteByte(',')
		}
		value := e.Value
		if values != nil {
			value = values[i]
		}
		writeEntry(&entity, e.Key, value)
	}
	return entity.String()
}

// sizeOf is how long the entity of entries is where nothing of them is escaped.
func sizeOf(entries []descriptors.Entry) int {
	n := 0
	for i := range entries {
		n += len(entries[i].Key) + len(entries[i].Value) + 2
	}
	return n
}

// writeEntry writes key=value so that no two lists of entries become one text.
func writeEntry(to *strings.Builder, key, value string) {
	writeEscaped(to, key, "%,=")
	to.WriteByte('=')
	writeEscaped(to, value, "%,")
}

func writeEscaped(to *strings.Builder, s, special string) {
	for s != "" {
		i := strings.IndexAny(s, special)
		if i < 0 {
			to.WriteString(s)
			return
		}
		const digits = "0123456789ABCDEF"
		to.WriteString(s[:i])
		to.WriteByte('%')
		to.WriteByte(digits[s[i]>>4])
		to.WriteByte(digits[s[i]&15])
		s = s[i+1:]
	}
}
