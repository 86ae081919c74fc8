package yamltree_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/extauthz/extauthz/internal/config/yamltree"
)

// FuzzParse holds, of any text: parsing ends, every place is in the text, and
// what both this package and yaml/v3 read, they read in the same way.
func FuzzParse(f *testing.F) {
	seed(f)
	f.Add("a: >-\n  b\n\n   c\n  d\ne: \"f\\\n  g\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		file := yamltree.Parse([]byte(text))
		for _, x := range file.Faults {
			line, column := file.Position(x.At)
			if x.At < 0 || x.Width < 1 || x.Message == "" || line < 1 || line > file.Lines() || column < 1 {
				t.Errorf("%d:%d: %+v", line, column, x)
			}
		}
		places(t, file, file.Root)
		if file.Found == 0 && file.Root.Kind > yamltree.KindScalar && len(text) < 1<<12 {
			same(t, text, file.Root)
		}
	})
}

func seed(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("../testdata/*/*")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for part := range strings.SplitSeq(string(text), "\n-- ") {
			f.Add(part)
		}
	}
}

// places looks whether each byte of each scalar has a place.
func places(t *testing.T, f *yamltree.File, n *yamltree.Node) {
	t.Helper()
	if n.At < 0 || n.End < n.At {
		t.Fatalf("a node from %d to %d", n.At, n.End)
	}
	f.Text(n.At, n.End)
	last := n.At
	for i := range len(n.Value) + 1 {
		at := n.Offset(i)
		if at < last || at > n.End {
			t.Fatalf("byte %d of %q is at %d, after %d, of a node from %d to %d", i, n.Value, at, last, n.At, n.End)
		}
		last = at
	}
	for _, e := range n.Entries {
		places(t, f, e.Key)
		places(t, f, e.Value)
	}
	for _, i := range n.Items {
		places(t, f, i)
	}
}

// same compares a tree with that of the library, where the library can read the
// text.
func same(t *testing.T, text string, root *yamltree.Node) {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) != 1 {
		return
	}
	if want, got := render(doc.Content[0]), show(root); want != got {
		t.Errorf("%q\nthe library: %s\nours:        %s", text, want, got)
	}
}

// render writes the library's tree as show does ours.
func render(n *yaml.Node) string {
	var parts []string
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			parts = append(parts, n.Content[i].Value+": "+render(n.Content[i+1]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case yaml.SequenceNode:
		for _, item := range n.Content {
			parts = append(parts, render(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case yaml.ScalarNode:
		if n.Value == "" && n.Style == 0 {
			return "~"
		}
		return fmt.Sprintf("%q", n.Value)
	}
	return "?"
}
