package descriptors

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Rule is one compiled rule. It is immutable and safe for concurrent use.
type Rule struct {
	name      string
	source    Text // of the name
	rules     *Rules
	action    Action // Allow, Deny or Charge
	protocols Protocol
	goOn      bool // continue
	settle    bool
	alone     bool // independent
	refunds   bool
	enforce   uint64 // of enforceWhole

	match                             condition // nil: every request
	namespace, entity, resource, tier *text
	consume                           *consume
	defaults                          []ratelimit.Limit
	onAllow, onDeny                   *answer

	shadow  string   // the variant of its shadows
	adopted *Adopted // nil: it is a rule of this package
	// needs are what may be missing, with the place of each; see misses.go.
	needs map[string]*Fault
}

// enforceWhole is 100 %: enforce has two decimals.
const enforceWhole = 10_000

// Name is the rule's name, unique among the rules.
func (r *Rule) Name() string { return r.name }

// Position is where the rule's name stands; zero for a rule from no file.
func (r *Rule) Position() Position { return r.source.At(0) }

// Action is what the rule does with what it takes: Allow, Deny or Charge.
func (r *Rule) Action() Action { return r.action }

const (
	maxRuleName = 64
	percent     = "%"
)

// rule compiles one rule. The needs of the compiler are the rule's afterwards.
func (c *compiler) rule(src *RuleSource, namespace string) *Rule {
	r := &Rule{name: src.Name.Value, source: src.Name, shadow: "shadow:" + src.Name.Value, needs: map[string]*Fault{}}
	r.action = c.action(src.Action)
	r.goOn = c.flag("continue", src.Continue)
	r.settle = c.flag("settle", src.Settle)
	r.alone = c.flag("independent", src.Independent)
	r.refunds = c.flag("refunds", src.Refunds)
	r.enforce = c.percentage(src.Enforce)
	r.match = c.match(src.Match)
	if r.action == Charge {
		c.charging(r, src, namespace)
	} else {
		c.nothingToCharge(src)
	}
	c.onlyWhere(r.action != Deny, "on_allow", src.OnAllow, src.Action)
	c.onlyWhere(r.action != Allow, "on_deny", src.OnDeny, src.Action)
	r.onAllow = c.answer("on_allow", src.OnAllow)
	r.onDeny = c.answer("on_deny", src.OnDeny)
	r.protocols = c.protocols(src)
	if r.onAllow != nil && len(r.onAllow.headers) > 0 && r.protocols == ProtocolRateLimit {
		c.warn(whole(src.OnAllow.Headers[0].Name, c.message("on_allow", "the rule is for ratelimit, which can't set headers of a request"), ""))
	}
	if r.refunds && r.protocols == ProtocolExtAuthz {
		c.warn(whole(src.Refunds, c.message("refunds", "the rule is for ext_authz, in which nothing is given back"), ""))
	}
	for path, place := range c.needs {
		if !isGiven(path, c.given) {
			r.needs[path] = place
		}
	}
	return r
}

// charging compiles what a rule that charges has.
func (c *compiler) charging(r *Rule, src *RuleSource, namespace string) {
	if !src.Entity.Present() {
		c.fail(whole(src.Name, c.message("entity", "it says who is charged and is not there"), "entity: ${...}, or action: allow"))
	}
	r.entity = c.text("entity", src.Entity)
	r.tier = c.tier(src.Tier)
	r.resource = c.text("resource", src.Resource)
	if r.resource == nil {
		r.resource = constantText(src.Name)
	}
	r.namespace = c.text("namespace", src.Namespace)
	if r.namespace == nil {
		r.namespace = constantText(Text{Value: namespace})
	}
	c.constantKey(r, src)
	r.consume = c.consume(src)
	r.defaults = c.defaultLimits(src.DefaultLimits)
}

func constantText(source Text) *text {
	return &text{parts: []writer{literal(source.Value)}, source: source}
}

// constantKey checks now what no request can change.
func (c *compiler) constantKey(r *Rule, src *RuleSource) {
	if ns, ok := r.namespace.constant(); ok && src.Namespace.Present() {
		if err := ratelimit.CheckNamespace(ns); err != nil {
			c.fail(whole(src.Namespace, c.message("namespace", "%s", err), ""))
		}
	}
	if resource, ok := r.resource.constant(); ok && resource == ratelimit.ReservedResource {
		where := src.Resource
		if !where.Present() {
			where = src.Name
		}
		c.fail(whole(where, c.message("resource", "%s is a reserved name", resource), ""))
	}
}

// tier compiles the tier, which may be missing without the rule being so.
func (c *compiler) tier(source Text) *text {
	needs := c.needs
	c.needs = map[string]*Fault{}
	t := c.text("tier", source)
	c.needs = needs
	return t
}

func (c *compiler) nothingToCharge(src *RuleSource) {
	given := []NamedText{
		{Text{Value: "entity"}, src.Entity},
		{Text{Value: "resource"}, src.Resource},
		{Text{Value: "namespace"}, src.Namespace},
		{Text{Value: "tier"}, src.Tier},
		{Text{Value: "continue"}, src.Continue},
		{Text{Value: "settle"}, src.Settle},
		{Text{Value: "independent"}, src.Independent},
		{Text{Value: "refunds"}, src.Refunds},
		{Text{Value: "enforce"}, src.Enforce},
		{Text{Value: "consume"}, src.Consume},
	}
	if len(src.ConsumeEach) > 0 {
		given = append(given, NamedText{Text{Value: "consume"}, src.ConsumeEach[0].Name})
	}
	if len(src.DefaultLimits) > 0 {
		given = append(given, NamedText{Text{Value: "default_limits"}, src.DefaultLimits[0].Name})
	}
	for _, g := range given {
		if g.Value.Present() {
			c.fail(whole(g.Value, c.message(g.Name.Value, "a rule with action: %s charges nothing", src.Action.Value), ""))
		}
	}
}

func (c *compiler) onlyWhere(allowed bool, part string, src *AnswerSource, action Text) {
	if src != nil && !allowed {
		c.fail(whole(action, c.message(part, "a rule with action: %s never answers so", action.Value), ""))
	}
}

// oneOf reads a text that is one of some words; absent is the first.
func (c *compiler) oneOf(part string, source Text, words ...string) int {
	if !source.Present() {
		return 0
	}
	for i, word := range words {
		if source.Value == word {
			return i
		}
	}
	c.fail(whole(source, c.message(part, "%q is not one of %s", source.Value, strings.Join(words, ", ")), didYouMean(source.Value, words)))
	return 0
}

func (c *compiler) action(source Text) Action {
	return [...]Action{Charge, Allow, Deny}[c.oneOf("action", source, "charge", "allow", "deny")]
}

func (c *compiler) flag(part string, source Text) bool {
	return c.oneOf(part, source, "false", "true") == 1
}

// percentage reads 10%, or 0.5%: at most two decimals.
func (c *compiler) percentage(source Text) uint64 {
	if !source.Present() {
		return enforceWhole
	}
	number, ok := strings.CutSuffix(source.Value, percent)
	if !ok {
		hint := ""
		if _, err := strconv.ParseFloat(source.Value, 64); err == nil {
			hint = "did you mean " + strconv.Quote(source.Value+percent) + "?"
		}
		c.fail(whole(source, c.message("enforce", "%q is not a percentage", source.Value), hint))
		return enforceWhole
	}
	units, decimals, _ := strings.Cut(number, ".")
	n, err := strconv.ParseUint(units+(decimals + "00")[:2], 10, 32)
	if err != nil || len(decimals) > 2 || n > enforceWhole || units == "" {
		c.fail(whole(source, c.message("enforce", "%q is not between 0%% and 100%%, with two decimals at most", source.Value), ""))
		return enforceWhole
	}
	return n
}

func (c *compiler) match(source Text) condition {
	if !source.Present() {
		return nil
	}
	e := c.expression("match", source, 0, source.Value)
	if e == nil {
		return nil
	}
	n := e.ast.Expr()
	if t := e.ast.GetType(n.ID()); t.Kind() != types.BoolKind {
		hint := ""
		if t.Kind() == types.DynKind {
			hint = "compare it, as in x == true"
		}
		c.fail(whole(source, c.message("match", "its type is %s, not bool", t), hint))
		return nil
	}
	for path := range given(n, true) {
		c.given[path] = 0
	}
	m, err := e.conditionOf(n, !c.noReads)
	if err != nil {
		c.fail(whole(source, c.message("match", "%s", err), ""))
		return nil
	}
	return m
}

// protocols says to which protocols a rule belongs.
func (c *compiler) protocols(src *RuleSource) Protocol {
	limit, authz := c.uses[ProtocolRateLimit], c.uses[ProtocolExtAuthz]
	asked := bothProtocols
	if src.Protocol.Present() {
		asked = [...]Protocol{ProtocolRateLimit, ProtocolExtAuthz}[c.oneOf("protocol", src.Protocol, "ratelimit", "ext_authz")]
	}
	if limit != nil && authz != nil {
		authz.Hint = "the rule uses variables of both protocols; write one for each"
		c.fail(authz)
		return bothProtocols
	}
	for own, use := range c.uses {
		if asked&own == 0 {
			use.Hint = fmt.Sprintf("the rule says protocol: %s", src.Protocol.Value)
			c.fail(use)
		}
		return own
	}
	return asked
}

// defaultLimits reads the limits that apply where no level has any.
func (c *compiler) defaultLimits(src []LimitText) []ratelimit.Limit {
	var limits []ratelimit.Limit
	var names []string
	for _, l := range src {
		c.limitName("default_limits", l.Name, names)
		names = append(names, l.Name.Value)
		where, value := l.Text, l.Text.Value
		if !where.Present() {
			where, value = l.Rate, l.Rate.Value
			if l.Burst.Present() {
				value += ":" + l.Burst.Value
			}
			if strings.Contains(l.Rate.Value, ":") && l.Burst.Present() {
				c.fail(whole(l.Burst, c.message("default_limits", "the burst of %s is there twice", l.Name.Value), ""))
				continue
			}
		}
		limit, err := ratelimit.ParseRate(l.Name.Value, value)
		if err != nil {
			if where.Present() && ratelimit.CheckLimitName(l.Name.Value) == nil {
				c.fail(whole(where, c.message("default_limits", "%s", err), ""))
			} else if !where.Present() {
				c.fail(whole(l.Name, c.message("default_limits", "%s has no rate", l.Name.Value), "as in 60/min"))
			}
			continue
		}
		limits = append(limits, limit)
	}
	return limits
}

// checkName checks the name of a rule, before which nothing of it can be told.
func checkName(src *RuleSource, index int, seen map[string]bool, into *faults) {
	name := src.Name.Value
	switch {
	case name == "":
		into.fail(whole(firstText(src), fmt.Sprintf("rule %d has no name", index+1), "name: tells rules apart, in metrics and explain"))
	case len(name) > maxRuleName || !utf8.ValidString(name) || strings.ContainsFunc(name, isControl):
		into.fail(whole(src.Name, fmt.Sprintf("the name of rule %d is longer than %d bytes, or not text in one line", index+1, maxRuleName), ""))
	case seen[name]:
		into.fail(whole(src.Name, fmt.Sprintf("rule %q is there twice", name), "names of rules are unique"))
	}
	seen[name] = true
}

// firstText is a text that stands where the rule does.
func firstText(src *RuleSource) Text {
	for _, t := range []Text{src.Match, src.Entity, src.Action, src.Resource, src.Namespace, src.Consume} {
		if t.Present() {
			return t
		}
	}
	return Text{}
}
