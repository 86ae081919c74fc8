package yamltree_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/extauthz/extauthz/internal/config/yamltree"
)

// FuzzParse holds, of any text: parsing ends, every place is in the text, and
// what both this package and goccy/go-yaml read, they read in the same way.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("../testdata/*/*")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "\n-- ") {
			f.Add(part)
		}
	}
	f.Add("a: >-\n  b\n\n   c\n  d\ne: \"f\\\n  g\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		file := yamltree.Parse([]byte(text))
		for _, x := range file.Faults {
			if x.At < 0 || x.Width < 1 || x.Message == "" {
				t.Errorf("a fault at %d, %d wide: %q", x.At, x.Width, x.Message)
			}
			if line, column := file.Position(x.At); line < 1 || line > file.Lines() || column < 1 {
				t.Errorf("a fault at %d:%d", line, column)
			}
		}
		places(t, file, file.Root)
		if file.Found == 0 && len(text) < 1<<12 {
			same(t, text, file.Root)
		}
	})
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
	file, err := parser.ParseBytes([]byte(strings.TrimPrefix(text, "\ufeff")), 0)
	if err != nil || len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return
	}
	if want, got := render(file.Docs[0].Body), show(root); want != got && !strings.Contains(want, "?") {
		t.Errorf("%q\nthe library: %s\nours:        %s", text, want, got)
	}
}

// render writes the library's tree as show does ours; ? for what ours has not.
func render(n ast.Node) string {
	var parts []string
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			parts = append(parts, v.Key.GetToken().Value+": "+render(v.Value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case *ast.SequenceNode:
		for _, v := range n.Values {
			parts = append(parts, render(v))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return scalar(n)
}

func scalar(n ast.Node) string {
	switch n := n.(type) {
	case *ast.LiteralNode:
		return quote(n.Value.Value)
	case *ast.StringNode:
		return quote(n.Value)
	case *ast.NullNode:
		if n.GetToken().Type == token.ImplicitNullType {
			return "~"
		}
		return quote(n.GetToken().Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return quote(n.GetToken().Value)
	}
	return "?"
}

func quote(s string) string { return fmt.Sprintf("%q", s) }
