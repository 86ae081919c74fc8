package yamltree_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/extauthz/extauthz/internal/config/yamltree"
)

// FuzzParse holds, of any text: parsing ends, and every place is in the text.
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
