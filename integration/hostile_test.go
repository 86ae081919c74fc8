//go:build integration

package integration

import (
	"fmt"
	"strings"
	"testing"
)

// TestHostileValues sends what a client may put into the header that names it.
// Whatever it is, the answer is a decision, and nobody gets more than the limit:
// with stock gRPC a value that isn't UTF-8 fails the call, and an Envoy that
// fails open would let it through.
func TestHostileValues(t *testing.T) {
	const capacity = 3
	w := newWorld(t, fmt.Sprintf(byTenant, "3/day"))
	for filter, addr := range w.filters() {
		t.Run(filter, func(t *testing.T) {
			for name, value := range map[string]string{
				"one byte that isn't UTF-8":  "\xff",
				"such a byte after a name":   "acme\xff",
				"a sequence cut short":       "acme\xe2\x82",
				"a surrogate":                "\xed\xa0\x80",
				"overlong":                   "\xc0\xaf",
				"many such bytes":            strings.Repeat("\xfe", 5000),
				"40 KB":                      strings.Repeat("x", 40<<10),
				"40 KB that isn't UTF-8":     strings.Repeat("\xf8", 40<<10),
				"empty":                      "",
				"blanks":                     "   ",
				"a tab inside":               "a\tb",
				"a reserved word":            "_default_",
				"a template":                 "${descriptor.tenant}",
				"quotes":                     `"'` + "`",
				"a path":                     "../../etc",
				"other scripts":              "アクメ-العميل-😀",
				"right to left and joiners":  "a\u202eb\u200dc",
				"an address in brackets":     "[::1]:80",
				"a number":                   "0",
				"a word of JSON":             "null",
				"spelt as an escape of JSON": `\u0000`,
			} {
				admitted := w.admitted(t, addr, name, value, 3*capacity)
				if admitted > capacity {
					t.Errorf("%s: %d of %d admitted, the limit is %d", name, admitted, 3*capacity, capacity)
				}
			}
		})
	}
	w.noFaults(t)
}

// TestSeparatorsDontMeet sends values that a careless key would join or cut:
// each has a bucket of its own, with the whole capacity in it.
func TestSeparatorsDontMeet(t *testing.T) {
	const capacity = 2
	w := newWorld(t, fmt.Sprintf(byTenant, "2/day"))
	for filter, addr := range w.filters() {
		t.Run(filter, func(t *testing.T) {
			values := []string{"a", "b", "ab", "A"}
			for _, sep := range []string{"#", "/", "%", "|", ",", ":", "%23", "%2F", "##", "//", "%%", "||", ",,", "::", ";", "=", "&", "+", "\\", "~"} {
				values = append(values, sep, "a"+sep+"b", "a"+sep, sep+"b")
			}
			for _, v := range values {
				if admitted := w.admitted(t, addr, v, v, capacity+1); admitted != capacity {
					t.Errorf("%q: %d of %d admitted, want %d", v, admitted, capacity+1, capacity)
				}
			}
		})
	}
	w.noFaults(t)
}

// admitted sends n requests of a tenant and counts those that pass; anything but
// 200 and 429 fails the test.
func (w *world) admitted(t *testing.T, addr, name, tenant string, n int) int {
	t.Helper()
	passed := 0
	for range n {
		switch r := w.ask(t, addr, "/", "x-tenant", tenant); r.status {
		case 200:
			passed++
		case 429:
		default:
			t.Errorf("%s: %d %.80q, want 200 or 429", name, r.status, r.body)
		}
	}
	return passed
}
