package yamltree_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/internal/config/yamltree"
)

// TestOffset holds that every byte of a value is known by its place.
func TestOffset(t *testing.T) {
	for text, want := range map[string]string{
		"a: XY":                   "1:4 1:5 1:6",
		"a: 'X''Y'":               "1:5 1:6 1:8 1:9",
		`a: "X\ty"`:               "1:5 1:6 1:8 1:9",
		`a: "\u00e9X"`:            "1:5 1:5 1:11 1:12",
		`a: "\x20\\\"X\x`:         "",
		`a: "\x20\\\"X"`:          "1:5 1:9 1:11 1:13 1:14",
		"a: X\n   Y":              "1:4 1:5 2:4 2:5",
		"a: >\n  X\n  Y\nb: c":    "2:3 2:4 3:3 3:4 4:1",
		"a: |\n  X\n\n  Y\nb: c":  "2:3 2:4 3:1 4:3 4:4 5:1",
		"a: | # x\n   X\n":        "2:4 2:5 3:1",
		"a: \"X\n    \\\n    Y\"": "1:5 1:6 3:5 3:6",
		"a: \"X\\\n    Y \" # c":  "1:5 2:5 2:6 2:7",
		"a: {ü: X, é: \"Y\"}":     "",
	} {
		f := yamltree.Parse([]byte(text))
		n := f.Root.Find("a")
		if n == nil || n.Kind != yamltree.KindScalar {
			if want != "" {
				t.Errorf("%q: %s", text, faults(f))
			}
			continue
		}
		var got []string
		for i := range len(n.Value) + 1 {
			line, column := f.Position(n.Offset(i))
			got = append(got, fmt.Sprintf("%d:%d", line, column))
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%q is %q (-want +got):\n%s", text, n.Value, diff)
		}
	}
}

// TestPositionCountsCharacters holds also for a file that is one long line.
func TestPositionCountsCharacters(t *testing.T) {
	const n = 1000
	f := yamltree.Parse([]byte("{" + strings.Repeat("é: {ü: x}, ", n)[:11*n+n+n-2] + ", a: Y}"))
	line, column := f.Position(f.Root.Find("a").Offset(0))
	if line != 1 || column != 2+11*n+len("a: ") {
		t.Errorf("%d:%d of %d lines", line, column, f.Lines())
	}
	if got := f.Line(1); !strings.HasSuffix(got, "a: Y}") || !strings.HasPrefix(got, "{é") {
		t.Errorf("the line is %q", got)
	}
}

// written are ways to write lines of words as one scalar, and what parts the
// words of a line and the lines in its value.
var written = map[string]struct {
	write  func(lines []string) string
	joined string
}{
	"plain":  {func(l []string) string { return strings.Join(l, "\n    ") }, " "},
	"single": {func(l []string) string { return "'" + strings.ReplaceAll(strings.Join(l, "\n   "), "'", "''") + "'" }, " "},
	"double": {func(l []string) string { return `"` + escaped.Replace(strings.Join(l, "\n\t  ")) + `"` }, " "},
	"escapes": {func(l []string) string {
		return `"` + strings.ReplaceAll(escaped.Replace(strings.Join(l, "\n")), "\n", "\\n\\\n     ") + `"`
	}, "\n"},
	"quoted":  {func(l []string) string { return strconv.QuoteToASCII(strings.Join(l, "\n")) }, "\n"},
	"literal": {func(l []string) string { return "|-\n    " + strings.Join(l, "\n    ") }, "\n"},
	"folded":  {func(l []string) string { return ">- # x\n  " + strings.Join(l, "\n  ") }, " "},
}

var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "é", `\xe9`)

// TestPlaceHoldsTheCharacter holds of scalars of every style: what isn't blank
// is in the file where its place is, or an escape that stands for it, and no two
// characters have the same place.
func TestPlaceHoldsTheCharacter(t *testing.T) {
	word := rapid.StringMatching(`[a-zé世]["'\\#:,é世a-z😀]{0,6}[a-zé世]`)
	rapid.Check(t, func(t *rapid.T) {
		var lines []string
		for range rapid.IntRange(1, 4).Draw(t, "lines") {
			lines = append(lines, strings.Join(rapid.SliceOfN(word, 1, 5).Draw(t, "line"), rapid.SampledFrom([]string{" ", "  "}).Draw(t, "blank")))
		}
		for style, w := range written {
			text := "ö: x\né: {a: b}\nkey: " + w.write(lines) + " \n"
			if style == "literal" || style == "folded" {
				text = strings.TrimSuffix(text, " \n")
			}
			text += "\nlast: x\n"
			f := yamltree.Parse([]byte(text))
			n := f.Root.Find("key")
			if n == nil || n.Value != strings.Join(lines, w.joined) || f.Root.Find("last") == nil {
				t.Fatalf("%s: %q is %s\n%s", style, text, show(f.Root), faults(f))
			}
			if fault := misplaced(f, n); fault != "" {
				t.Fatalf("%s: %q: %s", style, text, fault)
			}
		}
	})
}

// misplaced says which character of a value isn't where its place is.
func misplaced(f *yamltree.File, n *yamltree.Node) string {
	last := n.At - 1
	for i, r := range n.Value {
		at := n.Offset(i)
		if at <= last && r != ' ' || at >= n.End {
			return fmt.Sprintf("the place of %q, byte %d, is %d, after %d", r, i, at, last)
		}
		last = at
		if source := f.Text(at, n.End); r != ' ' && r != '\n' && !stands(source, r) {
			return fmt.Sprintf("where %q should be is %q", r, source)
		}
	}
	if at := n.Offset(len(n.Value)); at > n.End || at <= last {
		return fmt.Sprintf("the end of the value is at %d, that of the node at %d", at, n.End)
	}
	return ""
}

// stands reports whether a text begins with a character or an escape for it.
func stands(source string, r rune) bool {
	if strings.HasPrefix(source, string(r)) {
		return true
	}
	got, _, _, err := strconv.UnquoteChar(source[:min(len(source), 10)], '"')
	return err == nil && (got == r || r == utf8.RuneError) || strings.HasPrefix(source, `\xe9`) && r == 'é'
}
