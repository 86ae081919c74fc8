package descriptors

import (
	"strings"
	"testing"
)

// TestHashOfLongTexts hashes texts around the length up to which expressions see
// them: the hash is that of all the bytes, wherever it stands.
func TestHashOfLongTexts(t *testing.T) {
	for _, size := range []int{1, maxText - 1, maxText, maxText + 1, maxCapped, 3 * maxText} {
		key := strings.Repeat("k", size-1) + "1"
		d := descriptor("d", "key", key, "other", "o")
		c := check("GET", "/?q="+key, "x-api-key", key)
		c.Metadata = Object{"f": Object{"key": key, "list": someList{key}}}
		c.ContextExtensions = map[string]string{"key": key}
		for _, v := range []struct {
			expression string
			req        *Request
		}{
			{`sha256(descriptor.key)`, d},
			{`sha256(descriptor["k" + "ey"])`, d},
			{`sha256(has(descriptor.none) ? descriptor.none : descriptor.key)`, d},
			{`sha256(descriptor[?"key"].orValue("none"))`, d},
			{`sha256(entries[0].value)`, d},
			{`entries.filter(e, e.key == "key").map(e, sha256(e.value))[0]`, d},
			{`sha256(entries.filter(e, e.key == "key")[0].value)`, d},
			{`[descriptor].map(m, sha256(descriptor.key))[0]`, d},
			{`true ? sha256(request.headers["x-api-key"]) : ""`, c},
			{`sha256(request.?headers[?"x-api-key"].orValue(request.method))`, c},
			{`sha256(request.query_params.q)`, c},
			{`sha256(context_extensions.key)`, c},
			{`sha256(metadata.f.key)`, c},
			{`sha256(metadata.f.list[0])`, c},
		} {
			for _, native := range []bool{true, false} {
				ev := newEvaluation(clientIP{}, newSANs())
				ev.begin(v.req, nil)
				for before, want := range map[string]string{"": shortHash(key), "key-": "key-" + shortHash(key)} {
					got, err := textFor(t, before+"${"+v.expression+"}", native).write(ev)
					if err != nil || got != want {
						t.Errorf("%s of %d bytes: %q, want %q (%v)", v.expression, size, got, want, err)
					}
				}
			}
		}
	}
}

// TestHashOfForgedTexts puts together what expressions see of a long text from
// two short ones: its hash isn't that of the long one.
func TestHashOfForgedTexts(t *testing.T) {
	key := strings.Repeat("k", maxText+1)
	forged := descriptor("d", "a", capped(key)[:maxText], "b", capped(key)[maxText:])
	for _, expression := range []string{
		`sha256(descriptor.a + descriptor.b)`,
		`[descriptor.a + descriptor.b].map(x, sha256(x))[0]`,
		`[{"x": descriptor.a + descriptor.b}].map(m, sha256(m.x))[0]`,
		`sha256({"x": descriptor.a + descriptor.b}.x)`,
		`sha256([descriptor.a + descriptor.b][0])`,
		`sha256(true ? descriptor.a + descriptor.b : "")`,
		`sha256(optional.of(descriptor.a + descriptor.b).orValue(""))`,
		`sha256(descriptor[?"none"].orValue(descriptor.a + descriptor.b))`,
		`[descriptor.a + descriptor.b].map(descriptor, sha256(descriptor))[0]`,
	} {
		ev := newEvaluation(clientIP{}, newSANs())
		ev.begin(forged, nil)
		got, err := textFor(t, "${"+expression+"}", true).write(ev)
		if err != nil || len(got) != hashDigits {
			t.Errorf("%s: %q, want a hash (%v)", expression, got, err)
		}
		if got == shortHash(key) {
			t.Errorf("%s is the hash of another text", expression)
		}
	}
}
