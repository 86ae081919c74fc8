package dropin

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// ruleText is a rule to be written.
type ruleText struct {
	name, match, action string // an action that is empty charges
	at                  descriptors.Text
	remarks             []string

	entity    string
	limitName string
	limit     ratelimit.Limit
	shadow    bool
}

// rule writes a rule.
func (w *importer) rule(r ruleText) {
	for _, remark := range r.remarks {
		w.remarks++
		w.line("  # " + where(r.at) + remark)
	}
	w.line("  - name: " + scalar(w.name(r.name)))
	if r.match != "" {
		w.line("    match: " + scalar(r.match))
	}
	if r.action != "" {
		w.line("    action: " + r.action)
		return
	}
	w.line("    entity: " + scalar(r.entity))
	w.line("    default_limits: {" + r.limitName + ": " + scalar(r.limit.Text()) + "}")
	if r.shadow {
		w.line("    enforce: 0%")
	}
	w.line("    independent: true")
}

func (w *importer) line(s string) { w.body.WriteString(s + "\n") }

func where(at descriptors.Text) string {
	if p := at.At(0); p.Line > 0 {
		return fmt.Sprintf("%s:%d: ", p.File, p.Line)
	}
	return ""
}

// longestName is that of a rule, in bytes.
const longestName = 64

// name is a name that a rule can have and no other has.
func (w *importer) name(wanted string) string {
	clean := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, wanted)
	name := shortened(clean, longestName)
	for i := 2; w.names[name]; i++ {
		number := " " + strconv.Itoa(i)
		name = shortened(clean, longestName-len(number)) + number
	}
	w.names[name] = true
	return name
}

// shortened is the beginning of a text, in whole characters.
func shortened(s string, most int) string {
	for len(s) > most {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// scalar is a text as YAML has it: in single quotes, or in double ones where it
// has what can't stand in those.
func scalar(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
