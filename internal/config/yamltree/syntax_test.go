package yamltree_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/internal/config/yamltree"
)

// TestSyntax holds what is said of a text that is no YAML, and where: in words
// of ours for each that the library has for what a file could have.
func TestSyntax(t *testing.T) {
	const (
		tag    = `"!" begins a tag of YAML, and tags are not used here`
		digits = `\x, \u and \U need 2, 4 and 8 hexadecimal digits of a character`
		open   = "a quote that opens on this line is not closed"
		key    = "this is neither a key nor a part of the value before it"
		item   = "this is neither an item of the list nor a part of the one before it"
		doc    = "this line is not part of what stands before it"
		anchor = "& and * begin anchors and aliases of YAML, which are not used here"
	)
	for text, want := range map[string]string{
		"a: b: c\nd: e":                         "1:5+1 a colon with a space behind it can't be here",
		"a:\n  b: c: d":                         "2:7+1 a colon with a space behind it can't be here",
		"a: b: é":                               "1:5+1 a colon with a space behind it can't be here",
		"a: b\nwords\n\n# x\nc: d":              "2:1+5 a key and its colon are missing",
		"a: {b: c\n\n\n  d: e}\nf:":             "4:3+5 a comma or the closing } is missing, here or above",
		"a:\n  [b: c,\n   [d]\n\n  e: f\n  ]\n": "5:3+4 a comma or the closing ] is missing, here or above",
		"a: [b\nc: d\ne: f\n":                   "2:1+4 a comma or the closing ] is missing, here or above",
		"a: {b: c":                              "1:1+8 a comma or the closing } is missing, here or above",
		"a: [{b: c}\n\n# x\n":                   "1:1+10 a comma or the closing ] is missing, here or above",
		"a: b\nc: [d]]\ne: f":                   "2:1+7 " + key,
		"a: b\n" + strings.Repeat("# x\n\n", 99) + "c:\n    d: e\n  f: g\nh: i\n": "202:3+4 " + key,
		"a: b\nc: 'd' e\n\n# x\n\nf: g":                                           "2:1+8 " + key,
		"a: 'b' c":                                                                "1:1+8 " + key,
		"a:\n  - b\n  c: d\n":                                                     "3:3+4 " + item,
		"a: [b,, c]\nd: e":                                                        "1:1+10 a value is missing",
		"a:\n  b: {c: d,\n  ,}\n":                                                 "3:3+2 a value is missing",
		"- a\nb: c\n":                                                             "2:1+4 " + item,
		"a: b\n...\nc: d":                                                         "3:1+4 " + doc,
		"{a: b}\n\nc: d":                                                          "3:1+4 " + doc,
		"a: - b":                                                                  "1:4+1 a list can't begin on the line of its key",
		"a: ? b":                                                                  "1:4+1 complex keys are not used here",
		"a: b\nc: @d":                                                             "2:4+1 a text can't begin with this",
		"a: %":                                                                    "1:4+1 a text can't begin with this",
		"- @":                                                                     "1:3+1 a text can't begin with this",
		"a:\n\tb: c":                                                              "2:1+1 a tab can't indent a line",
		"a: b\n\tc: d":                                                            "2:2+4 a tab can't indent a line",
		"a: |\n\tb":                                                               "2:2+1 a tab can't indent a line",
		"a: b\nc: \"d\n\n  e: f":                                                  "2:1+5 " + open,
		"a: 'b\n---\nc: d":                                                        "1:1+5 " + open,
		`a: "abcd\qc"`:                                                            "1:9+1 this is no escape in double quotes",
		`a: "abcd\é"`:                                                             "1:9+1 this is no escape in double quotes",
		`a: "\x4"`:                                                                "1:1+8 " + digits,
		`a: "\ud800"`:                                                             "1:1+11 " + digits,
		"a: |x\n  b":                                                              "1:1+5 nothing can follow | or > on its line",
		"a: >0\n  b":                                                              "1:1+5 no 0 can follow | or >",
		"a: b\nc: *d\ne: f":                                                       "2:1+5 aliases are not used here",
		"a: *.b":                                                                  "1:1+6 " + anchor,
		"a: & b":                                                                  "1:1+6 " + anchor,
		"a: b\nc: !x!y z\n":                                                       "2:1+9 " + tag,
		"a: b\nc: !x\"y\"\n":                                                      "2:1+8 " + tag,
		"a: !<x":                                                                  "1:1+6 " + tag,
		"a: !<>":                                                                  "1:1+6 " + tag,
		"a: !x%zz":                                                                "1:1+8 " + tag,
		"a: !x%ff":                                                                "1:1+8 " + tag,
		"a: " + strings.Repeat("[\n ", 20_000):                                    "10001:2+1 more than 64 levels in each other",
		strings.Repeat("- ", 20_000):                                              "1:1+39999 more than 64 levels in each other",
	} {
		f := yamltree.Parse([]byte(text))
		if diff := cmp.Diff(want, faults(f)); diff != "" || f.Root.Kind != yamltree.KindBad {
			t.Errorf("%.200q (-want +got):\n%s", text, diff)
		}
	}
}
