package descriptors

import (
	"fmt"
	"unicode/utf8"
)

// compiler compiles the parts of one rule and collects what is wrong with them.
type compiler struct {
	env *environment
	*faults
	name    string // of the rule, for messages
	answers bool   // compiling on_allow or on_deny
	// toClient: compiling a header that clients are sent.
	toClient bool
	noReads  bool // leave everything to CEL; for the test that compares
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
	if estimate, err := e.env.EstimateCost(checked, sizes{e.ast}); err != nil || estimate.Max > maxCost {
		c.fail(faultAt(text, offset, utf8.RuneCountInString(source),
			c.message(part, "the expression can take too long for one request"),
			"use fewer loops within loops, and shorter regular expressions"))
		return nil
	}
	return e
}
