package descriptors

import (
	"encoding/json"
	"html"
	"strconv"
	"strings"
	"unicode/utf8"
)

// EntityInfo is what a decision knows of the entity, for the texts of on_allow
// and on_deny.
type EntityInfo struct {
	ID, Tier string
	Metadata map[string]string
}

// HeaderAnswer is a header to set, or to remove because what it would say is
// missing.
type HeaderAnswer struct {
	Name   string // in lower case
	Value  string // printable
	Remove bool
}

// DenialAnswer is how a rule wants its denials to be answered.
type DenialAnswer struct {
	Status      int    // 0: the usual one
	Body        string // empty: the usual one
	ContentType string
	Headers     []HeaderAnswer
}

// answer is on_allow or on_deny, compiled.
type answer struct {
	status      int
	body        *text
	contentType string
	escape      func(string) string // of values in the body
	headers     []answerHeader
}

type answerHeader struct {
	name  string
	value *text
}

// maxHeaderValue is the longest value of a header that is set, in bytes.
const maxHeaderValue = 4096

// AllowHeaders are the headers to set on the request when it is allowed, nil
// when the rule has none. It is safe for concurrent use.
func (r *Rule) AllowHeaders(req *Request, e EntityInfo) []HeaderAnswer {
	if r.onAllow == nil {
		return nil
	}
	entity := e // which takes memory, where e would also if there is nothing to do
	ev := r.rules.acquire(req, &entity)
	defer r.rules.release(ev)
	return r.onAllow.headersFor(ev)
}

// Denial is how the rule wants a denial to be answered, nil when it doesn't say.
// It is safe for concurrent use.
func (r *Rule) Denial(req *Request, e EntityInfo) *DenialAnswer {
	if r.onDeny == nil {
		return nil
	}
	entity := e // as in AllowHeaders
	ev := r.rules.acquire(req, &entity)
	defer r.rules.release(ev)
	d := &DenialAnswer{Status: r.onDeny.status, ContentType: r.onDeny.contentType, Headers: r.onDeny.headersFor(ev)}
	if r.onDeny.body == nil {
		return d
	}
	body, err := r.onDeny.body.writeEscaped(ev, r.onDeny.escape)
	if err != nil { // the usual body is better than a part of one
		d.ContentType = ""
		return d
	}
	d.Body = body
	return d
}

func (a *answer) headersFor(ev *evaluation) []HeaderAnswer {
	if len(a.headers) == 0 {
		return nil
	}
	all := make([]HeaderAnswer, len(a.headers))
	for i, h := range a.headers {
		value, err := h.value.write(ev)
		if err != nil || !isHeaderValue(value) {
			all[i] = HeaderAnswer{Name: h.name, Remove: true}
			continue
		}
		all[i] = HeaderAnswer{Name: h.name, Value: value}
	}
	return all
}

// isHeaderValue reports whether a text can be sent as a header's value: it can't
// end the header, nor is it anything but text.
func isHeaderValue(s string) bool {
	if len(s) > maxHeaderValue || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, isControl)
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// writeEscaped makes the text with what comes from the request escaped.
func (t *text) writeEscaped(ev *evaluation, escape func(string) string) (string, error) {
	var b strings.Builder
	for _, part := range t.parts {
		s, err := part.write(ev)
		if err != nil {
			return "", err
		}
		if _, constant := part.(literal); !constant {
			s = escape(strings.ToValidUTF8(capped(s), "\uFFFD"))
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// escapeFor is how values are written into a body of a type, so that none can
// end the string that it stands in.
func escapeFor(contentType string) func(string) string {
	switch {
	case strings.Contains(contentType, "json"):
		return func(s string) string {
			quoted, err := json.Marshal(s)
			if err != nil {
				return ""
			}
			return string(quoted[1 : len(quoted)-1])
		}
	case strings.Contains(contentType, "html"), strings.Contains(contentType, "xml"):
		return html.EscapeString
	}
	return func(s string) string { return s }
}

// answer compiles on_allow or on_deny.
func (c *compiler) answer(part string, src *AnswerSource) *answer {
	if src == nil {
		return nil
	}
	c.answers = true
	defer func() { c.answers = false }()
	a := &answer{contentType: src.ContentType.Value, escape: escapeFor(src.ContentType.Value)}
	if part == "on_allow" {
		for _, t := range []Text{src.Status, src.Body, src.ContentType} {
			if t.Present() {
				c.fail(whole(t, c.message(part, "only headers can be set on what is allowed"), ""))
			}
		}
	}
	if src.Status.Present() && part != "on_allow" {
		n, err := strconv.Atoi(src.Status.Value)
		if err != nil || n < 400 || n > 599 {
			c.fail(whole(src.Status, c.message(part, "the status is not a number from 400 to 599"), "429 is the usual one"))
		}
		a.status = n
	}
	if strings.ContainsFunc(src.ContentType.Value, isControl) || strings.Contains(src.ContentType.Value, "${") {
		c.fail(whole(src.ContentType, c.message(part, "the content type is not a constant text in one line"), ""))
	}
	a.body = c.text(part, src.Body)
	for _, h := range src.Headers {
		a.headers = append(a.headers, c.header(part, h, a.headers))
	}
	return a
}

// notToSet are headers that belong to the connection or frame the message.
var notToSet = map[string]bool{
	"host": true, "content-length": true, "transfer-encoding": true, "connection": true,
	"te": true, "upgrade": true, "keep-alive": true, "proxy-connection": true, "trailer": true,
}

func (c *compiler) header(part string, h NamedText, others []answerHeader) answerHeader {
	name := h.Name.Value
	switch {
	case !isHeaderName(name):
		hint := ""
		if lower := strings.ToLower(name); isHeaderName(lower) {
			hint = "did you mean " + strconv.Quote(lower) + "?"
		}
		c.fail(whole(h.Name, c.message(part, "%q is no name of a header in lower case", name), hint))
	case notToSet[name]:
		c.fail(whole(h.Name, c.message(part, "the header %s can't be set", name), ""))
	}
	for _, other := range others {
		if other.name == name {
			c.fail(whole(h.Name, c.message(part, "%s is there twice", name), ""))
		}
	}
	c.toClient = part == "on_deny"
	value := c.text(part, h.Value)
	c.toClient = false
	if value == nil {
		return answerHeader{name: name, value: &text{}}
	}
	for _, l := range value.literals() {
		if strings.ContainsFunc(l, isControl) || !utf8.ValidString(l) {
			c.fail(whole(h.Value, c.message(part, "the value of %s is not text in one line", name), ""))
		}
	}
	return answerHeader{name: name, value: value}
}

// isHeaderName reports whether a name is one that HTTP/2 can have.
func isHeaderName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' || !isWord(c) && !strings.ContainsRune("!#$%&'*+-.^`|~", rune(c)) {
			return false
		}
	}
	return name != ""
}
