package ratelimit

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
	"unsafe"

	"pgregory.net/rapid"
)

func mustKey(t testing.TB, namespace, entity, resource, variant string) Key {
	t.Helper()
	k, err := NewKey(namespace, entity, resource, variant)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Values made to collide: separators, escapes, hashes of other values, lengths
// around each bound.
func partGen() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`[a/%~#:|]{1,6}`),
		rapid.String().Filter(func(s string) bool { return s != "" }),
		rapid.SampledFrom([]string{
			"a", "a/b", "a%2Fb", "%", "%25", "\x00", "\xff", "é", "é", "а", // the last is Cyrillic
			strings.Repeat("x", 128), strings.Repeat("x", 129), strings.Repeat("x", 256), strings.Repeat("x", 257),
			strings.Repeat("/", 85), strings.Repeat("/", 86), EntityID(strings.Repeat("x", 257)), strings.Repeat("y", 60_000),
		}),
	)
}

func TestKeyIsInjective(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(n string) [4]string {
			return [4]string{
				rapid.SampledFrom([]string{"default", "acme", "a-b"}).Draw(t, n+"ns"),
				partGen().Draw(t, n+"entity"), partGen().Draw(t, n+"resource"),
				rapid.SampledFrom([]string{"", "shadow:r", "MINUTEx1"}).Draw(t, n+"variant"),
			}
		}
		a, b := draw("a"), draw("b")
		if a[2] == ReservedResource || b[2] == ReservedResource {
			t.Skip("reserved")
		}
		ka, err := NewKey(a[0], a[1], a[2], a[3])
		if err != nil {
			t.Fatal(err)
		}
		kb, err := NewKey(b[0], b[1], b[2], b[3])
		if err != nil {
			t.Fatal(err)
		}
		if (a == b) != (ka == kb) || (a == b) != (ka.ID() == kb.ID()) {
			t.Fatalf("%q and %q give %q and %q", a, b, ka.ID(), kb.ID())
		}
		if len(ka.ID()) > 64+maxEntity+maxResource+maxVariant+3 {
			t.Fatalf("ID of %d bytes", len(ka.ID()))
		}
		for i := range len(ka.ID()) {
			if c := ka.ID()[i]; c <= ' ' || c > '~' {
				t.Fatalf("byte %#x in %q", c, ka.ID())
			}
		}
		if got := ka.WithEntity(b[1]); got != mustKeyOf(t, a[0], b[1], a[2], a[3]) {
			t.Fatalf("WithEntity gives %q", got.ID())
		}
		if ka.Namespace() != a[0] || ka.EntityID() != EntityID(a[1]) || ka.ResourceID() != ResourceID(a[2]) {
			t.Fatalf("parts of %q: %q %q %q", ka.ID(), ka.Namespace(), ka.EntityID(), ka.ResourceID())
		}
	})
}

func mustKeyOf(t *rapid.T, namespace, entity, resource, variant string) Key {
	k, err := NewKey(namespace, entity, resource, variant)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestNewKeyRefuses(t *testing.T) {
	for _, c := range []struct{ ns, entity, resource, want string }{
		{"", "e", "r", "the namespace is empty"},
		{"default", "", "r", "the entity is empty"},
		{"default", "e", "", "the resource is empty"},
		{"default", "e", "_default_", `the resource "_default_" is a reserved name`},
		{"_x", "e", "r", `the namespace "_x" may hold letters, digits and . _ - : @ only, and begins with a letter or a digit`},
		{"a/b", "e", "r", `the namespace "a/b" may hold letters, digits and . _ - : @ only, and begins with a letter or a digit`},
		{"é", "e", "r", `the namespace "é" may hold letters, digits and . _ - : @ only, and begins with a letter or a digit`},
		{strings.Repeat("n", 65), "e", "r", `the namespace "` + strings.Repeat("n", 65) + `" is longer than 64 bytes`},
	} {
		_, err := NewKey(c.ns, c.entity, c.resource, "")
		var bad *InvalidKeyError
		if !errors.As(err, &bad) || err.Error() != c.want {
			t.Errorf("NewKey(%q, %q, %q): %v, want %s", c.ns, c.entity, c.resource, err, c.want)
		}
	}
}

func TestKeyKeepsLittleOfLongValues(t *testing.T) {
	k := mustKey(t, "default", strings.Repeat("e", 60_000), "r", "")
	if k.Entity() != strings.Repeat("e", shownRaw) || len(k.ID()) > 100 {
		t.Errorf("entity of %d bytes, ID %q", len(k.Entity()), k.ID())
	}
	for _, c := range []struct{ entity, want string }{
		{"e" + strings.Repeat("é", 300), "e" + strings.Repeat("é", 31)}, // byte 64 is within one
		{strings.Repeat("\x80", 300), strings.Repeat("\x80", shownRaw-utf8.UTFMax)},
	} {
		if got := mustKey(t, "default", c.entity, "r", "").Entity(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add("a/b", "c", "a", "b/c")
	f.Add("%2F", "x", "/", "x")
	f.Fuzz(func(t *testing.T, e1, r1, e2, r2 string) {
		k1, err1 := NewKey("default", e1, r1, "")
		k2, err2 := NewKey("default", e2, r2, "")
		if err1 != nil || err2 != nil {
			return
		}
		if (e1 == e2 && r1 == r2) != (k1.ID() == k2.ID()) {
			t.Fatalf("(%q, %q) and (%q, %q): %q and %q", e1, r1, e2, r2, k1.ID(), k2.ID())
		}
	})
}

func TestRawPartsAreWhatKeysWereMadeOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := string(rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "raw"))
		id := EntityID(raw)
		got := RawPart(id)
		if id[0] == hashMark {
			raw = id
		}
		if got != raw {
			t.Fatalf("%q is in keys as %q, which is read as %q", raw, id, got)
		}
	})
}

// TestAKeyKeepsNothingElse: what a key holds is its own, and not a part of the
// text that it was made of.
func TestAKeyKeepsNothingElse(t *testing.T) {
	for _, text := range []string{"acme", "/v1/\u00e9", strings.Repeat("x", 257)} {
		for _, rest := range []string{"acme", "/v1/\u00e9"} {
			request := strings.Clone(text + rest)
			k := mustKey(t, "default", request[:len(text)], request[len(text):], "")
			k = k.WithEntity(request[:len(text)])
			for part, s := range map[string]string{"the entity": k.Entity(), "the resource": k.Resource(), "the id": k.ID()} {
				first, last := unsafe.Pointer(unsafe.StringData(request)), unsafe.Add(unsafe.Pointer(unsafe.StringData(request)), len(request)-1)
				if at := unsafe.Pointer(unsafe.StringData(s)); uintptr(at) >= uintptr(first) && uintptr(at) <= uintptr(last) {
					t.Errorf("%s of %.20q is a part of the request", part, text)
				}
			}
			if k.Resource() != rest || !strings.HasPrefix(text, k.Entity()) {
				t.Errorf("%.20q and %q became %.20q and %q", text, rest, k.Entity(), k.Resource())
			}
		}
	}
}
