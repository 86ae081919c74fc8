package descriptors

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplit(t *testing.T) {
	lit := func(s string, offset int) piece { return piece{literal: s, offset: offset} }
	expr := func(s string, offset int) piece { return piece{source: s, offset: offset, isCEL: true} }
	for text, want := range map[string][]piece{
		"plain":                nil,
		"$a $ {x} }":           nil,
		"${a}":                 {expr("a", 2)},
		"x${a}y${b}":           {lit("x", 0), expr("a", 3), lit("y", 5), expr("b", 8)},
		"$${a}":                {lit("${a}", 0)},
		"$$${a}":               {lit("$${a}", 0)},
		"${a}$${b}":            {expr("a", 2), lit("${b}", 4)},
		`${{"k": "}"}["k"]}x`:  {expr(`{"k": "}"}["k"]`, 2), lit("x", 18)},
		`${'}' + "}"}`:         {expr(`'}' + "}"`, 2)},
		`${"\"}"}`:             {expr(`"\"}"`, 2)},
		`${r"\"}`:              {expr(`r"\"`, 2)},
		`${R'\'}`:              {expr(`R'\'`, 2)},
		`${bR'\'}`:             {expr(`bR'\'`, 2)},
		`${bar'\'}'}`:          {expr(`bar'\'}'`, 2)},
		`${"""a"}"b"""}`:       {expr(`"""a"}"b"""`, 2)},
		`${'''}'''}`:           {expr(`'''}'''`, 2)},
		`${""}}`:               {expr(`""`, 2), lit("}", 5)},
		"${a // }\n}":          {expr("a // }\n", 2)},
		"${descriptor.`a}b`}":  {expr("descriptor.`a}b`", 2)},
		"${x ? {'a': {}} : y}": {expr("x ? {'a': {}} : y", 2)},
	} {
		if want == nil {
			want = []piece{lit(text, 0)}
		}
		got, open := split(text)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(piece{})); diff != "" || open != -1 {
			t.Errorf("%s, open at %d (-want +got):\n%s", text, open, diff)
		}
	}
	for text, want := range map[string]int{"${": 0, "a${b": 1, `${"}`: 0, "${{}": 0, "${a // }": 0, `x${"\`: 1, "${a}${": 4} {
		if _, open := split(text); open != want {
			t.Errorf("%s: open at %d, want %d", text, open, want)
		}
	}
}

// FuzzTemplate takes texts apart: what is left out are the marks alone, and
// what compiles can be written.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"a", "${descriptor.user}", "$${", "x${'}'}y", `${r"\"}`, "${{}", "${a // }\n}", "${1}${hits}", "${entries[0].value}\xff"} {
		f.Add(text)
	}
	env, err := newEnvironment()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if len(value) > 500 {
			return
		}
		pieces, open := split(value)
		if open >= 0 {
			if !strings.HasPrefix(value[open:], "${") {
				t.Fatalf("%q is open at %d, where no ${ is", value, open)
			}
			return
		}
		var whole strings.Builder
		for _, p := range pieces {
			if p.isCEL {
				whole.WriteString("${" + p.source + "}")
				if value[p.offset:p.offset+len(p.source)] != p.source {
					t.Fatalf("%q: %q is not at %d", value, p.source, p.offset)
				}
			} else {
				whole.WriteString(strings.ReplaceAll(p.literal, "${", "$${"))
			}
		}
		if whole.String() != value {
			t.Fatalf("%q came apart into %q", value, whole.String())
		}
		made := newCompiler(env, &faults{}, "fuzz").text("text", Text{Value: value})
		if made == nil {
			return
		}
		ev := newEvaluation(clientIP{}, newSANs())
		ev.begin(descriptor("d", "user", "u", "\xff", "\xff"), nil)
		if s, err := made.write(ev); err == nil && s == "" {
			t.Fatalf("%q made an empty text", value)
		}
	})
}
