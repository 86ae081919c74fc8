package yamltree

import (
	"strings"
	"testing"
)

// flat is a tree as one text.
func flat(n *Node) string {
	var parts []string
	switch n.Kind {
	case KindMapping:
		for _, e := range n.Entries {
			parts = append(parts, e.Key.Value+":"+flat(e.Value))
		}
		return "{" + strings.Join(parts, " ") + "}"
	case KindSequence:
		for _, item := range n.Items {
			parts = append(parts, flat(item))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case KindScalar:
		return n.Value
	case KindEmpty:
		return "-"
	}
	return "?"
}

func TestParseAliases(t *testing.T) {
	for text, want := range map[string]string{
		"a: &x {u: 1, v: two}\nb: *x\n":                                    "{a:{u:1 v:two} b:{u:1 v:two}}",
		"a: &x\n  u: 1\nb:\n  <<: *x\n  u: 2\n  w: 3\n":                    "{a:{u:1} b:{u:2 w:3}}",
		"a: &x {u: 1}\nb: &y {v: 2, u: 9}\nc: {<<: [*x, *y], w: 3}\n":      "{a:{u:1} b:{v:2 u:9} c:{w:3 u:1 v:2}}",
		"a: &x \"t: #\"\nb: &e\nc: *x\nd: *e\ne: &z # why\n  plain\nf: *z": "{a:t: # b:- c:t: # d:- e:plain f:plain}",
		"- &l [1, &m 2]\n- *l\n- *m\n":                                     "[[1 2] [1 2] 2]",
	} {
		f := ParseAliases([]byte(text))
		if got := flat(f.Root); got != want || f.Found > 0 {
			t.Errorf("%q: %s, want %s, %v", text, got, want, f.Faults)
		}
		if Parse([]byte(text)).Found == 0 {
			t.Errorf("%q: our own files take it too", text)
		}
	}
	for _, text := range []string{
		"a: &x {<<: 7}\n", "a: &x {b: *x}\n", "*y : 1\n", "a: &x b\n*x : 1\n",
		"a: &a [1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\n" +
			"e: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n",
	} {
		if f := ParseAliases([]byte(text)); f.Found == 0 {
			t.Errorf("%q: %s", text, flat(f.Root))
		}
	}
}

// FuzzParseAliases: what is without aliases is read as it is without them.
func FuzzParseAliases(f *testing.F) {
	f.Add("a: &x {u: 1}\nb: {<<: *x}\n")
	f.Add("a: &x [*x]\n")
	f.Fuzz(func(t *testing.T, text string) {
		with, without := ParseAliases([]byte(text)), Parse([]byte(text))
		if without.Found == 0 && (with.Found > 0 || flat(with.Root) != flat(without.Root)) {
			t.Errorf("%s, without aliases %s", flat(with.Root), flat(without.Root))
		}
	})
}
