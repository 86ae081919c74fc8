package envoy

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// The headers that answers set beside those that are chosen, in lower case.
const (
	contentType = "content-type"
	grpcStatus  = "grpc-status"
	// envoyRateLimited keeps an Envoy before this one from trying again.
	envoyRateLimited = "x-envoy-ratelimited"

	jsonType = "application/json"
)

// header is one of an answer.
type header struct {
	name  string
	value []byte // UTF-8
}

// The fields of a HeaderValue.
const (
	headerKey   protowire.Number = 1
	headerValue protowire.Number = 2
)

// appendHeader appends a field that is a HeaderValue.
func appendHeader(to []byte, field protowire.Number, h header) []byte {
	to, value := begin(to, field)
	to = appendBytes(to, headerKey, h.name)
	return end(appendBytes(to, headerValue, h.value), value)
}

// waitSeconds is how long to wait in whole seconds, rounded up: Envoy rounds
// down, which invites a retry that comes too early.
func waitSeconds(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return max(1, ratelimit.WholeSeconds(d))
}

// set replaces the header of this name, or adds it.
func (r *reply) set(name, value string) {
	name = strings.ToLower(name)
	from := len(r.texts)
	r.texts = append(r.texts, utf8Text(value)...)
	text := r.texts[from:len(r.texts):len(r.texts)]
	i := slices.IndexFunc(r.headers, func(h header) bool { return h.name == name })
	if i >= 0 {
		r.headers[i].value = text
		return
	}
	r.headers = append(r.headers, header{name, text})
}

// configure sets what a rule's on_deny says; d may be nil. typed says whether it
// may give the answer a type.
func (r *reply) configure(d *descriptors.DenialAnswer, typed bool) {
	if d == nil {
		return
	}
	for _, h := range d.Headers {
		if !h.Remove && sendable(h.Value) && (typed || h.Name != contentType) {
			r.set(h.Name, h.Value)
		}
	}
}

// grpcMessage is the message of a denial for a gRPC client: the rule's body
// where that is plain text. d may be nil.
func grpcMessage(d *descriptors.DenialAnswer, a *decision.Answer) string {
	if d != nil && d.Body != "" && (d.ContentType == "" || strings.HasPrefix(d.ContentType, "text/plain")) {
		return d.Body
	}
	return public(a).Message
}

// sendable reports whether a header's value holds no control characters. Envoy
// doesn't look: a line break would begin a header of its own at the client.
func sendable(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// public is what a client may know of a denial.
func public(a *decision.Answer) ratelimit.Denial {
	if a.Decision.Reason >= ratelimit.ReasonExceeded {
		return a.Decision.Public()
	}
	if a.Verdict == decision.Invalid {
		return ratelimit.Denial{Error: "invalid", Message: "The request can't be understood."}
	}
	return ratelimit.Denial{Error: "denied", Message: "The request is denied."}
}

// appendPublic appends public as JSON, as encoding/json would write it.
func appendPublic(to []byte, a *decision.Answer) []byte {
	d := public(a)
	to = appendQuoted(append(to, `{"error":`...), d.Error)
	to = appendQuoted(append(to, `,"message":`...), d.Message)
	if d.Resource != "" {
		to = appendQuoted(append(to, `,"resource":`...), d.Resource)
	}
	if d.Limit != "" {
		to = appendQuoted(append(to, `,"limit":`...), d.Limit)
	}
	if d.RetryAfterSeconds != 0 {
		to = strconv.AppendFloat(append(to, `,"retry_after_seconds":`...), d.RetryAfterSeconds, 'f', -1, 64)
	}
	return append(to, '}')
}

// appendQuoted appends a text as JSON.
func appendQuoted(to []byte, s string) []byte {
	if plainJSON(s) {
		return append(append(append(to, '"'), s...), '"')
	}
	quoted, err := json.Marshal(s)
	if err != nil { // no text can't be written
		return append(to, `""`...)
	}
	return append(to, quoted...)
}

// plainJSON reports whether a text stands for itself in JSON, in HTML too.
func plainJSON(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}
