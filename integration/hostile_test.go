//go:build integration

package integration

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
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

// repeating says again what a request says wherever an answer may.
const repeating = `
response_headers: [retry-after, ratelimit, ratelimit-policy, x-ratelimit-limit]
rules:
  - name: edge
    match: domain == "edge"
    entity: ${descriptor.tenant}
    default_limits: {n: 1/day}
    on_deny: {body: '{"tenant":"${descriptor.tenant}"}'}
  - name: api
    protocol: ext_authz
    entity: ${request.headers["x-tenant"]} ${request.path}
    default_limits: {n: 1/day}
    on_allow: {headers: {x-entity: "${entity.id}", x-seen: "${request.headers['x-tenant']}", x-path: "${request.url_path}"}}
    on_deny: {body: '<p>${request.path} ${request.headers["x-tenant"]}</p>', content_type: text/html}
dynamic_metadata: true
`

// TestNoHeaderIsInjected sends, byte for byte, what would end a header's line
// somewhere on its way: neither the client nor the backend sees a header that
// wasn't set, and no second answer follows the first.
func TestNoHeaderIsInjected(t *testing.T) {
	w := newWorld(t, repeating)
	decided := 0
	for filter, addr := range w.filters() {
		for i, c := range []struct{ path, tenant string }{
			{"/", "a\r\n set-cookie: injected=1"},
			{"/", "a\rset-cookie: injected=1"},
			{"/", "a\x00b"},
			{"/", "a%0d%0aset-cookie:%20injected=1%0d%0a%0d%0aHTTP/1.1%20200%20OK"},
			{"/", `a\r\nset-cookie: injected=1`},
			{"/", "a\u2028set-cookie: injected=1\u560d\u560aset-cookie: injected=1"},
			{"/", "a\xe5\x98\x8d\xe5\x98\x8aset-cookie: injected=1\xff"},
			{"/", "\t a \t b"},
			{"/", strings.Repeat("\u560d\u560a", 5000)},
			{"/", strings.Repeat("x", 70<<10)},
			{"/%0d%0aset-cookie:%20injected=1", "path"},
			{"/%0d%0aset-cookie:%20injected=1%0d%0a%0d%0a%3Cscript%3E", "path"},
			{"/\u560d\u560aset-cookie:injected=1", "path"},
			{"/?q=%0d%0aset-cookie:%20injected=1", "query"},
			{"/?q=\xff\xfe", "query"},
		} {
			name := fmt.Sprintf("%s %d", filter, i)
			request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\nx-tenant: %s\r\n\r\n", c.path, c.tenant)
			for range 2 { // the second is over the limit
				if w.injects(t, name, addr, request) {
					decided++
				}
			}
		}
	}
	if decided < 30 {
		t.Errorf("only %d requests were decided: the others were refused by Envoy", decided)
	}
	w.noFaults(t)
}

// injects sends a request and looks at all that comes back; it reports whether
// it was decided, and not refused by Envoy.
func (w *world) injects(t *testing.T, name, addr, request string) bool {
	t.Helper()
	status, header, body, rest := exchange(t, name, addr, request)
	if len(rest) > 0 {
		t.Errorf("%s: something follows the answer: %.100q", name, rest)
	}
	seen := http.Header{}
	switch status {
	default:
		t.Errorf("%s: %d %.100q", name, status, body)
	case 400, 431: // Envoy takes no such request
		return false
	case 429:
	case 200:
		if err := json.Unmarshal(body, &seen); err != nil {
			t.Errorf("%s: the backend's answer: %v", name, err)
		}
	}
	for where, headers := range map[string]http.Header{"the client": header, "the backend": seen} {
		for h := range headers {
			if strings.Contains(strings.ToLower(h), "cookie") {
				t.Errorf("%s: %s sees the header %s: %q", name, where, h, headers[h])
			}
		}
	}
	for h, values := range header {
		if text := strings.Join(values, " "); strings.Contains(text, "injected") {
			t.Errorf("%s: %s is %.100q", name, h, text)
		}
	}
	return true
}

// exchange sends a request byte for byte, and reads the answer and what follows
// it; neither of one that Envoy refuses.
func exchange(t *testing.T, name, addr, request string) (status int, header http.Header, body, rest []byte) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = io.WriteString(conn, request)
	if err := errors.Join(err, conn.SetDeadline(time.Now().Add(20*time.Second))); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer answer.Body.Close()
	status, header = answer.StatusCode, answer.Header
	if status == 400 || status == 431 { // it keeps the connection open for a second
		return status, header, nil, nil
	}
	if body, err = io.ReadAll(answer.Body); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	rest, _ = io.ReadAll(reader) // that it is cut off is as good as an end
	return status, header, body, rest
}
