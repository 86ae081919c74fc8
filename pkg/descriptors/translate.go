package descriptors

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
)

// report notes what CEL says is wrong, in our words.
func (c *compiler) report(part string, e *expression, issues *cel.Issues) {
	for _, issue := range issues.Errors() {
		if strings.Contains(issue.Message, "!error!") {
			continue // follows from another
		}
		at := offsetOf(e.source, issue.Location.Line(), issue.Location.Column())
		t := translated{source: e.source, at: at, width: 1}
		syntax, isSyntax := strings.CutPrefix(issue.Message, "Syntax error: ")
		switch {
		case isSyntax:
			t.syntax(syntax)
		case !t.unknownName(issue.Message, c.answers, e.env):
			t.check(issue.Message)
		}
		c.fail(faultAt(e.text, e.offset+t.at, t.width, c.message(part, "%s", t.message), t.hint))
		if isSyntax {
			return // what follows is of no use
		}
	}
}

// translated is a fault that CEL found, in our words.
type translated struct {
	source        string
	at, width     int // in source
	message, hint string
}

var (
	badToken     = regexp.MustCompile(`^token recognition error at: '([\s\S]*)'$`)
	badInput     = regexp.MustCompile(`^(?:(?:mismatched|extraneous) input|no viable alternative at input) '([\s\S]*?)'(?: expecting|$)`)
	undeclared   = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
	noField      = regexp.MustCompile(`^undefined field '([^']*)'`)
	noOverload   = regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '(.*)'$`)
	noSelection  = regexp.MustCompile(`^type '([^']*)' does not support field selection`)
	wordsForSign = map[string]string{"and": "&&", "or": "||", "not": "!", "=": "=="}
)

func (t *translated) syntax(message string) {
	if m := badToken.FindStringSubmatch(message); m != nil {
		token := strings.TrimSpace(m[1])
		t.message = fmt.Sprintf("unexpected %q", token)
		switch {
		case strings.HasPrefix(token, `"`) || strings.HasPrefix(token, "'"):
			t.message, t.width = "a string is not closed", utf8.RuneCountInString(token)
			if strings.Contains(token, `\`) {
				t.message += ", or has an escape that CEL doesn't know"
			}
		case token == "=":
			t.hint = "equality is =="
		case strings.HasPrefix(token, "$"):
			t.hint = "this is CEL already: write it without ${ }"
		}
		return
	}
	m := badInput.FindStringSubmatch(message)
	switch {
	case strings.Contains(message, "'<EOF>'") && (m == nil || m[1] == "<EOF>"):
		t.at = len(t.source)
		t.message = "the expression ends too early"
	case m != nil:
		word := strings.TrimPrefix(m[1], ".")
		t.message, t.width = fmt.Sprintf("unexpected %q", word), utf8.RuneCountInString(word)
		// `not x` is reported at the x.
		before := strings.TrimSpace(t.source[:t.at])
		if sign, ok := wordsForSign[word]; ok {
			t.hint = "write " + sign
		} else if strings.HasSuffix(before, "not") {
			t.hint = "write !"
		} else if strings.HasSuffix(before, ".") {
			t.hint = fmt.Sprintf("a key that is a word of CEL is read as in x[%q]", word)
		}
	default:
		t.message = message
	}
}

func (t *translated) check(message string) {
	switch {
	case strings.HasPrefix(message, "invalid matches argument"):
		t.message = "not a valid regular expression"
	case strings.HasPrefix(message, "regex program size"):
		t.message = "the regular expression is too large for every request"
		t.hint = "a {n} repeats what is before it n times"
	case strings.HasPrefix(message, "invalid argument to has() macro"):
		t.message = "has() asks for a field"
		t.hint = "as in has(descriptor.user)"
	case strings.HasPrefix(message, "expression code point size exceeds limit"):
		t.message = fmt.Sprintf("the expression is longer than %d characters", maxText)
	case strings.HasPrefix(message, "expression recursion limit exceeded"):
		t.message = "the expression is nested too deeply"
	default:
		if m := noOverload.FindStringSubmatch(message); m != nil {
			name := m[1]
			if sign, ok := operators.FindReverse(name); ok && sign != "" {
				name = sign
			} else if name == operators.Index {
				name = "[ ]"
			}
			t.message = fmt.Sprintf("%s can't be applied to %s", name, m[2])
		} else if m := noSelection.FindStringSubmatch(message); m != nil {
			t.message = fmt.Sprintf("a %s has no fields", m[1])
		} else {
			t.message = message
		}
	}
}

// unknownName reports whether the message is about a name that isn't known, and
// says which one is near.
func (t *translated) unknownName(message string, answers bool, env *cel.Env) bool {
	if m := noField.FindStringSubmatch(message); m != nil {
		t.move(m[1])
		t.message = fmt.Sprintf("unknown field %q", m[1])
		var known []string
		for name := range structures {
			known = append(known, fieldNames(name)...)
		}
		t.hint = didYouMean(m[1], known)
		for _, v := range variables {
			if _, ok := variableField(v.name, m[1]); ok {
				t.hint = v.name + " has it"
				break
			}
		}
		return true
	}
	m := undeclared.FindStringSubmatch(message)
	if m == nil {
		return false
	}
	name := m[1]
	isCall := t.at < len(t.source) && t.source[t.at] == '('
	t.move(name)
	if isCall {
		t.message = fmt.Sprintf("unknown function %q", name)
		t.hint = didYouMean(name, functionNames(env))
		return true
	}
	t.message = fmt.Sprintf("unknown variable %q", name)
	t.hint = didYouMean(name, variableNames(answers))
	switch {
	case name == "entity":
		t.hint = "what is known of the entity is for on_allow and on_deny"
	case t.hint == "" && t.at > 0 && t.source[t.at-1] == '-':
		t.hint = `a key with a "-" is read as in descriptor["x-y"]`
	}
	return true
}

// move sets the place to the beginning of a name, which CEL reports at the
// parenthesis after it or the dot before it.
func (t *translated) move(name string) {
	t.width = utf8.RuneCountInString(name)
	switch {
	case strings.HasPrefix(t.source[t.at:], name):
	case strings.HasSuffix(t.source[:t.at], name):
		t.at -= len(name)
	default:
		if i := strings.Index(t.source[t.at:], name); i >= 0 {
			t.at += i
		}
	}
}

func variableNames(answers bool) []string {
	var names []string
	for _, v := range variables {
		if answers || !v.answers {
			names = append(names, v.name)
		}
	}
	return names
}

func functionNames(env *cel.Env) []string {
	names := []string{"has", "all", "exists", "exists_one", "filter", "map"}
	for name := range env.Functions() {
		if name[0] != '_' && name[0] != '@' && name[0] != '!' {
			names = append(names, name)
		}
	}
	return names
}
