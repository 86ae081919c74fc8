package yamltree_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/internal/config/yamltree"
)

// show writes a tree in one line: texts in quotes, ~ for nothing, ! for bad.
func show(n *yamltree.Node) string {
	var parts []string
	switch n.Kind {
	case yamltree.KindBad:
		return "!"
	case yamltree.KindEmpty:
		return "~"
	case yamltree.KindScalar:
		return fmt.Sprintf("%q", n.Value)
	case yamltree.KindMapping:
		for _, e := range n.Entries {
			parts = append(parts, e.Key.Value+": "+show(e.Value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case yamltree.KindSequence:
		for _, i := range n.Items {
			parts = append(parts, show(i))
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// faults writes what is wrong: line:column, how wide, and the message.
func faults(f *yamltree.File) string {
	var all []string
	for _, x := range f.Faults {
		line, column := f.Position(x.At)
		all = append(all, fmt.Sprintf("%d:%d+%d %s", line, column, x.Width, x.Message))
	}
	return strings.Join(all, "\n")
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"":                   `~`,
		"# nothing\n\n":      `~`,
		"---\n":              `~`,
		"a":                  `"a"`,
		"{a: b}":             `{a: "b"}`,
		"a: b\nc: d\n":       `{a: "b", c: "d"}`,
		"a: b\n...\n# end":   `{a: "b"}`,
		"--- # x\na: b\n":    `{a: "b"}`,
		"\ufeffa: b\r\nc: d": `{a: "b", c: "d"}`,
		// Plain scalars are their source text.
		"a: 010\nb: 1e3\nc: yes\nd: ~\ne: null\nf: -1":  `{a: "010", b: "1e3", c: "yes", d: "~", e: "null", f: "-1"}`,
		"a: x == \"y\" && !has(z)  # c\nb: x#y\n":       `{a: "x == \"y\" && !has(z)", b: "x#y"}`,
		"a: http://x:80/y\nb:c: d\ne: [f,g]:h\n":        ``,
		"a: http://x:80/y\nb:c: d\n":                    `{a: "http://x:80/y", b:c: "d"}`,
		"a: -x\nb: ?x\nc: :x\nd: x: \n":                 ``,
		"a: -x\nb: ?x\nc: :x\n":                         `{a: "-x", b: "?x", c: ":x"}`,
		"a: foo\n  bar\n\n  baz # c\nb: 1\n":            `{a: "foo bar\nbaz", b: "1"}`,
		"a:\n  foo\n  bar\n":                            `{a: "foo bar"}`,
		"key with spaces: v\n\"q k\" : v\n'it''s': v\n": `{key with spaces: "v", q k: "v", it's: "v"}`,
		// Quoted scalars.
		`a: "x\ty\u00e9\x41\U0001F600"`:                    `{a: "x\tyéA😀"}`,
		"a: \"x  \n  y\n\n  z\\\n   w\"\nb: 'c\n  d'\n":    `{a: "x y\nzw", b: "c d"}`,
		"a: ''\nb: \"\"\nc: 'it''s'\nd: \"\\\"\"\n":        `{a: "", b: "", c: "it's", d: "\""}`,
		"a: '# no comment'\nb: \"x: y\" # comment\nc: 'é'": `{a: "# no comment", b: "x: y", c: "é"}`,
		// Block scalars.
		"a: |\n  x\n    y\n\n  z\nb: c\n":               `{a: "x\n  y\n\nz\n", b: "c"}`,
		"a: >-\n  u\n  v\n\n  w\n    q\n  r\n":          `{a: "u v\nw\n  q\nr"}`,
		"a: |2\n    x\n   y\nb: |+\n  c\n\n\nd: |-\n e": `{a: "  x\n y\n", b: "c\n\n\n", d: "e"}`,
		"a: >\n  b\n # c\nd: e\n":                       `{a: "b\n", d: "e"}`,
		"a: |\nb: c\n":                                  `{a: "", b: "c"}`,
		"- |\n x: y\n- >\n z\n":                         `["x: y\n", "z\n"]`,
		// Collections.
		"a:\n- b\n-\n  c: d\n- - e\n  - f\nz: 1\n":       `{a: ["b", {c: "d"}, ["e", "f"]], z: "1"}`,
		"a:\n  - b: c\n    d: e\n  -   f: g\n      h: i": `{a: [{b: "c", d: "e"}, {f: "g", h: "i"}]}`,
		"a:\n  b:\n    c: d\n  e: f\ng: h\n":             `{a: {b: {c: "d"}, e: "f"}, g: "h"}`,
		"a: {b: c, \"d\":e, f: [1, 2,], g: {}, h, i: }":  `{a: {b: "c", d: "e", f: ["1", "2"], g: {}, h: ~, i: ~}}`,
		"a: [\n  b, # c\n  d\n]\nq: {\n  a: b,\n}\n":     `{a: ["b", "d"], q: {a: "b"}}`,
		"a: {b: c d, e: x:y}":                            `{a: {b: "c d", e: "x:y"}}`,
		"a:\nb: \n":                                      `{a: ~, b: ~}`,
	} {
		f := yamltree.Parse([]byte(text))
		if want == "" {
			if f.Found == 0 {
				t.Errorf("%q has no fault: %s", text, show(f.Root))
			}
			continue
		}
		if diff := cmp.Diff(want, show(f.Root)); diff != "" || f.Found > 0 {
			t.Errorf("%q (-want +got):\n%s%s", text, diff, faults(f))
		}
	}
}

// TestFaults holds that all faults are found, and what is left then.
func TestFaults(t *testing.T) {
	for text, want := range map[string]string{
		"a: !x\nb: &y c\nd: *y\n<<: {}\ne: f": "{a: !, b: !, d: !, e: \"f\"}\n" +
			"1:4+2 \"!\" begins a tag of YAML, and tags are not used here\n2:4+2 anchors are not used here\n3:4+2 aliases are not used here\n4:1+2 merge keys are not used here",
		"!t a: &b [c]\n!u : {d: ! e}": "{}\n1:1+2 \"!\" begins a tag of YAML, and tags are not used here\n" +
			"1:7+2 anchors are not used here\n2:1+2 \"!\" begins a tag of YAML, and tags are not used here\n2:10+1 \"!\" begins a tag of YAML, and tags are not used here",
		"a: \x00\nb: \x1b":         "!\n1:4+1 the character U+0000 can't be here\n2:4+1 the character U+001B can't be here",
		"é: \xff":                  "!\n1:4+1 the byte 0xff is not UTF-8",
		"a: \uffff":                "!\n1:4+3 the character U+FFFF can't be here",
		"a: b\rc: d":               "!\n1:5+1 the character U+000D can't be here",
		"# x\n%TAG ! x\n---\na":    "!\n2:1+8 directives are not used here",
		"? a\n: {[b]: c, ? d : e}": "{}\n1:1+1 complex keys are not used here\n2:4+1 a collection can't be a key\n2:12+1 complex keys are not used here",
		"a: {b:, c: d}":            "{a: {c: \"d\"}}\n1:6+1 a space is missing behind the colon",
		"a: 1\na: 2\n\"a\": 3":     "{a: \"1\"}\n2:1+1 the key \"a\" is there twice\n3:1+3 the key \"a\" is there twice",
		"a: b\n--- # x\nc: d":      "{a: \"b\"}\n2:1+3 a second document begins here",
		"# why?\na: b\n---":        "{a: \"b\"}\n3:1+3 a second document begins here",
	} {
		f := yamltree.Parse([]byte(text))
		if diff := cmp.Diff(want, show(f.Root)+"\n"+faults(f)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestDepth(t *testing.T) {
	for name, nested := range map[string]func(n int) string{
		"keys":   deep,
		"dashes": func(n int) string { return strings.Repeat("- ", n-1) + "a" },
		"flow":   func(n int) string { return strings.Repeat("[", n-1) + strings.Repeat("]", n-1) },
	} {
		for n, want := range map[int]bool{yamltree.MaxDepth: true, yamltree.MaxDepth + 2: false, 3000: false} {
			if f := yamltree.Parse([]byte(nested(n))); (f.Found == 0) != want {
				t.Errorf("%d levels of %s: %s", n, name, faults(f))
			}
		}
	}
}

// TestTimeIsLinear holds that large files, and files that are made to be slow,
// take time in proportion to their size: eight times the text takes far less
// than the 64 times as long that a square would.
func TestTimeIsLinear(t *testing.T) {
	const n = 4_000
	for name, nth := range map[string]func(n int) string{
		"aliases":         numbered("a: &a b\nc: [", "*a, ", "]"),
		"large aliases":   numbered("a: &a ["+strings.Repeat("b, ", 1000)+"]\nc: [", "*a, ", "]"),
		"merges":          numbered("a:\n  <<: {", "b%d: c, ", "}"),
		"keys":            numbered("", "a%d: {b: c}\n", ""),
		"items":           numbered("", "- a: b\n", ""),
		"flow":            numbered("a: {", "b%d: c, ", "}"),
		"nothing in flow": numbered("a: {", "b%d: , ", "}"),
		"plain lines":     numbered("a: ", "b\n  ", ""),
		"literal":         numbered("a: |\n", "  b\n", ""),
		"folded":          numbered("a: >\n", "  b\n", ""),
		"quoted lines":    numbered("a: \"", "b\n  ", "\""),
		"escapes":         numbered("a: \"", `\n`, "\""),
		"quotes":          numbered("a: '", "''", "'"),
		"unclosed":        numbered("", "a: \"\n", ""),
		"brackets":        numbered("", "[", ""),
		"dashes":          numbered("", "- ", ""),
		"open braces":     numbered("", "a: {\n", ""),
		"tabs":            numbered("", "\ta\n", ""),
		"blank":           numbered("a: b", "\n", "c: 'd"),
		"colons":          numbered("", ": ", ""),
		"wide":            numbered("{a: {", "é%d: {ü: \"x\"}, ", "}}"),
		"tags":            numbered("[", "!a b, ", "]"),
		"comments":        numbered("a: b\n", "# c\n", "d: e"),
		"wrong at last":   numbered("a:\n", "  - b: c\n", "  d: e"),
	} {
		var small, large time.Duration
		linear := false
		for tries := 0; !linear && tries < 5; tries++ { // others may need the machine
			small, large = timed(nth(n)), timed(nth(8*n))
			linear = large <= 30*small+100*time.Millisecond
		}
		if !linear {
			t.Errorf("%s: %d take %s, 8 times as many %s", name, n, small, large)
		}
	}
}

// numbered makes a text of n parts, each with its number where it has a %d.
func numbered(before, part, after string) func(n int) string {
	return func(n int) string {
		var b strings.Builder
		b.WriteString(before)
		for i := range n {
			b.WriteString(strings.ReplaceAll(part, "%d", strconv.Itoa(i)))
		}
		return b.String() + after
	}
}

// timed is how long it takes to parse a text.
func timed(text string) time.Duration {
	start := time.Now()
	yamltree.Parse([]byte(text))
	yamltree.ParseAliases([]byte(text))
	return time.Since(start)
}

func deep(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}
