package descriptors

import (
	"cmp"
	"slices"
	"sync"
)

// Options are what rules depend on beside their own text.
type Options struct {
	// Namespace is that of rules that name none; it is valid.
	Namespace string
	// ClientIP is where the client's address is taken from: peer, which is the
	// default, x-envoy-external-address, or xff:N.
	ClientIP Text
	// DenyNoMatch says that what no rule takes is denied. Then a request that
	// every rule misses is no cause for a warning.
	DenyNoMatch bool
}

// Rules are compiled rules. They are immutable and safe for concurrent use.
type Rules struct {
	all       []*Rule
	rateLimit []*Rule // those that descriptors meet
	extAuthz  []*Rule // those that checks meet
	routing   []string
	refunds   bool // any has them
	source    clientIP
	pool      sync.Pool // of *evaluation
}

// Compile checks and compiles rules, in their order. It reports every fault at
// once: with errors there are no Rules; warnings are what is allowed and hardly
// meant. Without rules it is the mapping that works unconfigured: see
// zeroConfiguration.
func Compile(src []RuleSource, opts Options) (*Rules, []*Fault, []*Fault) {
	var found faults
	rules := newRules(parseClientIP(opts.ClientIP, &found))
	env, err := newEnvironment()
	if err != nil {
		return nil, []*Fault{{Message: err.Error(), Width: 1}}, nil
	}
	if len(src) == 0 {
		rules.add(zeroConfiguration(rules, opts.Namespace))
	}
	names := map[string]bool{}
	for i := range src {
		checkName(&src[i], i, names, &found)
		r := newCompiler(env, &found, src[i].Name.Value).rule(&src[i], opts.Namespace)
		r.rules = rules
		rules.add(r)
	}
	if len(found.errors) > 0 {
		return nil, inOrder(found.errors), inOrder(found.warnings)
	}
	rules.warnings(&found, opts)
	rules.routing = rules.routingHeaders()
	return rules, nil, inOrder(found.warnings)
}

func newRules(source clientIP) *Rules {
	names := newSANs()
	return &Rules{source: source, pool: sync.Pool{New: func() any { return newEvaluation(source, names) }}}
}

func newCompiler(env *environment, into *faults, rule string) *compiler {
	return &compiler{
		env: env, faults: into, name: rule,
		uses: map[Protocol]*Fault{}, needs: map[string]*Fault{}, given: paths{},
	}
}

func (r *Rules) add(rule *Rule) {
	r.all = append(r.all, rule)
	r.refunds = r.refunds || rule.refunds
	if rule.protocols&ProtocolRateLimit != 0 {
		r.rateLimit = append(r.rateLimit, rule)
	}
	if rule.protocols&ProtocolExtAuthz != 0 {
		r.extAuthz = append(r.extAuthz, rule)
	}
}

// inOrder sorts faults by where they stand.
func inOrder(faults []*Fault) []*Fault {
	slices.SortStableFunc(faults, func(a, b *Fault) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
	return faults
}

// All are the rules in their order. The slice is not to be changed.
func (r *Rules) All() []*Rule { return r.all }

// RoutingHeaders are the headers that any rule may set on what is allowed, in
// lower case and sorted: a server removes those that the deciding rule doesn't
// set, so that clients can't choose them. The slice is not to be changed.
func (r *Rules) RoutingHeaders() []string { return r.routing }

func (r *Rules) routingHeaders() []string {
	var names []string
	for _, rule := range r.all {
		if rule.onAllow == nil {
			continue
		}
		for _, h := range rule.onAllow.headers {
			names = append(names, h.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
