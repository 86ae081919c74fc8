package descriptors

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
)

// compiler compiles the parts of one rule and collects what is wrong with them.
type compiler struct {
	env *environment
	*faults
	name    string // of the rule, for messages
	answers bool   // compiling on_allow or on_deny
	noReads bool   // leave everything to CEL; for the test that compares
	// uses are the variables that tell the rule's protocol, where they are first
	// used.
	uses map[Protocol]*Fault
	// needs are what the rule's texts and consume read that may be missing, with
	// the place of each.
	needs map[string]*Fault
	given paths // what the rule's match promises
}

// message puts the rule and its part before what is wrong.
func (c *compiler) message(part, format string, args ...any) string {
	return fmt.Sprintf("rule %q: %s: ", c.name, part) + fmt.Sprintf(format, args...)
}

// expression checks the CEL in source, which stands in a text at an offset. It
// returns nil after it has noted what is wrong.
func (c *compiler) expression(part string, text Text, offset int, source string) *expression {
	e := &expression{env: c.env.rules, text: text, offset: offset, source: source}
	if c.answers {
		e.env = c.env.answers
	}
	if !utf8.ValidString(source) {
		c.fail(faultAt(text, offset, 1, c.message(part, "the expression is not UTF-8"), ""))
		return nil
	}
	checked, issues := e.env.Compile(source)
	if issues.Err() != nil {
		c.report(part, e, issues)
		return nil
	}
	e.ast = checked.NativeRep()
	before := len(c.errors)
	c.inspect(part, e)
	if len(c.errors) > before {
		return nil
	}
	if estimate, err := e.env.EstimateCost(checked, sizes{}); err != nil || estimate.Max > maxCost {
		c.fail(faultAt(text, offset, utf8.RuneCountInString(source),
			c.message(part, "the expression can take too long for one request"),
			"use fewer loops within loops, and shorter regular expressions"))
		return nil
	}
	return e
}

// report notes what CEL says is wrong, in our words.
func (c *compiler) report(part string, e *expression, issues *cel.Issues) {
	for _, issue := range issues.Errors() {
		if strings.Contains(issue.Message, "!error!") {
			continue // follows from another
		}
		at := offsetOf(e.source, issue.Location.Line(), issue.Location.Column())
		t := translated{at: at, width: 1}
		syntax, isSyntax := strings.CutPrefix(issue.Message, "Syntax error: ")
		if isSyntax {
			t.syntax(e.source, syntax)
		} else {
			t.check(e.source, issue.Message, e.env)
		}
		c.fail(faultAt(e.text, e.offset+t.at, t.width, c.message(part, "%s", t.message), t.hint))
		if isSyntax {
			return // what follows is of no use
		}
	}
}

// translated is a fault that CEL found, in our words.
type translated struct {
	at, width     int
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

func (t *translated) syntax(source, message string) {
	if m := badToken.FindStringSubmatch(message); m != nil {
		token := strings.TrimSpace(m[1])
		t.message = fmt.Sprintf("unexpected %q", token)
		switch {
		case strings.HasPrefix(token, `"`) || strings.HasPrefix(token, "'"):
			t.message, t.width = "a string is not closed", utf8.RuneCountInString(token)
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
		t.at = len(source)
		t.message = "the expression ends too early"
	case m != nil:
		word := strings.TrimPrefix(m[1], ".")
		t.message, t.width = fmt.Sprintf("unexpected %q", word), utf8.RuneCountInString(word)
		// `not x` is reported at the x.
		before := strings.TrimSpace(source[:t.at])
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

func (t *translated) check(source, message string, env *cel.Env) {
	switch {
	case t.unknownName(source, message, env):
	case strings.HasPrefix(message, "invalid matches argument"):
		t.message = "not a valid regular expression"
	case strings.HasPrefix(message, "regex program size"):
		t.message = "the regular expression is too large for every request"
		t.hint = "a {n} repeats what is before it n times"
	case strings.HasPrefix(message, "invalid argument to has() macro"):
		t.message = "has() asks for a field"
		t.hint = "as in has(descriptor.user)"
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
func (t *translated) unknownName(source, message string, env *cel.Env) bool {
	if m := noField.FindStringSubmatch(message); m != nil {
		t.move(source, m[1])
		t.message = fmt.Sprintf("unknown field %q", m[1])
		var known []string
		for name := range structures {
			known = append(known, fieldNames(name)...)
		}
		t.hint = didYouMean(m[1], known)
		return true
	}
	m := undeclared.FindStringSubmatch(message)
	if m == nil {
		return false
	}
	name := m[1]
	isCall := t.at < len(source) && source[t.at] == '('
	t.move(source, name)
	if isCall {
		t.message = fmt.Sprintf("unknown function %q", name)
		t.hint = didYouMean(name, functionNames(env))
		return true
	}
	t.message = fmt.Sprintf("unknown variable %q", name)
	t.hint = didYouMean(name, variableNames(env))
	switch {
	case name == "entity":
		t.hint = "what is known of the entity is for on_allow and on_deny"
	case t.hint == "" && t.at > 0 && source[t.at-1] == '-':
		t.hint = `a key with a "-" is read as in descriptor["x-y"]`
	}
	return true
}

// move sets the place to the beginning of a name, which CEL reports at the
// parenthesis after it or the dot before it.
func (t *translated) move(source, name string) {
	t.width = utf8.RuneCountInString(name)
	switch {
	case strings.HasPrefix(source[t.at:], name):
	case strings.HasSuffix(source[:t.at], name):
		t.at -= len(name)
	default:
		if i := strings.Index(source[t.at:], name); i >= 0 {
			t.at += i
		}
	}
}

func variableNames(env *cel.Env) []string {
	var names []string
	for _, v := range variables {
		if _, known := envVariable(env, v.name); known {
			names = append(names, v.name)
		}
	}
	return names
}

func envVariable(env *cel.Env, name string) (*cel.Type, bool) {
	for _, v := range env.Variables() {
		if v.Name() == name {
			return v.Type(), true
		}
	}
	return nil, false
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
