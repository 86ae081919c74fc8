package descriptors

import (
	"errors"
	"fmt"
	"math"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// amount is how many tokens an expression of consume takes.
type amount interface {
	tokens(ev *evaluation) (int64, error)
}

type (
	fixed      int64
	hitsAmount struct{}
	celAmount  struct{ celProgram }
)

func (f fixed) tokens(*evaluation) (int64, error) { return int64(f), nil }

func (hitsAmount) tokens(ev *evaluation) (int64, error) { return inBounds(hitsOf(ev)) }

func (a celAmount) tokens(ev *evaluation) (int64, error) {
	v, err := a.value(ev)
	if err != nil {
		return 0, err
	}
	return tokensOf(v)
}

// tokensOf is a value as a number of tokens.
func tokensOf(v ref.Val) (int64, error) {
	switch v := v.Value().(type) {
	case int64:
		return inBounds(v)
	case uint64:
		return inBounds(int64(min(v, math.MaxInt64)))
	case float64:
		if v != math.Trunc(v) || math.Abs(v) > exactWhole {
			return 0, fmt.Errorf("%v is no whole number of tokens", v)
		}
		return inBounds(int64(v))
	}
	return 0, fmt.Errorf("a value of type %s is no number of tokens", v.Type().TypeName())
}

var errTokens = errors.New("not between 0 and 1e15 tokens")

func inBounds(n int64) (int64, error) {
	if n < 0 || n > ratelimit.MaxCost {
		return 0, fmt.Errorf("%d is %w", n, errTokens)
	}
	return n, nil
}

// consume is what a rule takes: the same from each limit, or what it names.
type consume struct {
	each  amount
	names []string
	named []amount
	// ready is the cost where it is the same for every request.
	ready *ratelimit.Cost
}

// cost is what the rule takes for a request. A limit that comes with a
// descriptor has a name that no rule knows: what is named for others is not for
// it, and the descriptor's hits are.
func (c *consume) cost(ev *evaluation) (ratelimit.Cost, error) {
	if c.ready != nil && (c.each != nil || ev.req.Override == nil) {
		return *c.ready, nil
	}
	each := c.each
	if each == nil && ev.req.Override != nil {
		each = hitsAmount{}
	}
	if each != nil {
		n, err := each.tokens(ev)
		return ratelimit.EachLimit(n), err
	}
	takes := make([]ratelimit.Take, len(c.named))
	for i, a := range c.named {
		n, err := a.tokens(ev)
		if err != nil {
			return ratelimit.Cost{}, err
		}
		takes[i] = ratelimit.Take{Limit: c.names[i], Tokens: n}
	}
	return ratelimit.TakeNamed(takes...), nil
}

// consume compiles what a rule takes.
func (c *compiler) consume(src *RuleSource) *consume {
	if src.Consume.Present() && len(src.ConsumeEach) > 0 {
		c.fail(whole(src.Consume, c.message("consume", "it is one expression, or names limits, not both"), ""))
		return nil
	}
	out := &consume{}
	switch {
	case src.Consume.Present():
		out.each = c.amount("consume", src.Consume)
	case len(src.ConsumeEach) == 0:
		out.each = hitsAmount{}
	default:
		for _, take := range src.ConsumeEach {
			c.limitName("consume", take.Name, out.names)
			out.names = append(out.names, take.Name.Value)
			out.named = append(out.named, c.amount("consume", take.Value))
		}
	}
	out.prepare()
	return out
}

// prepare makes the cost now where no request can change it.
func (c *consume) prepare() {
	if n, ok := c.each.(fixed); ok {
		cost := ratelimit.EachLimit(int64(n))
		c.ready = &cost
	}
	takes := make([]ratelimit.Take, len(c.named))
	for i, a := range c.named {
		n, ok := a.(fixed)
		if !ok {
			return
		}
		takes[i] = ratelimit.Take{Limit: c.names[i], Tokens: int64(n)}
	}
	if len(takes) > 0 {
		cost := ratelimit.TakeNamed(takes...)
		c.ready = &cost
	}
}

// limitName checks a name of a limit that stands beside others.
func (c *compiler) limitName(part string, name Text, others []string) {
	if err := ratelimit.CheckLimitName(name.Value); err != nil {
		c.fail(whole(name, c.message(part, "%s", err), ""))
	}
	for _, other := range others {
		if other == name.Value {
			c.fail(whole(name, c.message(part, "%s is there twice", name.Value), ""))
		}
	}
}

func (c *compiler) amount(part string, source Text) amount {
	e := c.expression(part, source, 0, source.Value)
	if e == nil {
		return nil
	}
	c.note(part, e)
	n := e.ast.Expr()
	switch t := e.ast.GetType(n.ID()); t.Kind() {
	case types.IntKind, types.UintKind, types.DoubleKind, types.DynKind:
	default:
		hint := ""
		if t.Kind() == types.StringKind {
			hint = "int(...) makes a number of a text"
		}
		c.fail(whole(source, c.message(part, "a value of type %s is no number of tokens", t), hint))
		return nil
	}
	if n.Kind() == ast.LiteralKind {
		tokens, err := tokensOf(n.AsLiteral())
		if err != nil {
			c.fail(whole(source, c.message(part, "%s", err), ""))
			return nil
		}
		return fixed(tokens)
	}
	if n.Kind() == ast.IdentKind && n.AsIdent() == "hits" {
		return hitsAmount{}
	}
	program, err := e.program(n)
	if err != nil {
		c.fail(whole(source, c.message(part, "%s", err), ""))
		return nil
	}
	return celAmount{program}
}
