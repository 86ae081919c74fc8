package dropin

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Options are what the rules depend on beside their files.
type Options struct {
	Namespace string // of all buckets; it is valid
	// MergeDomains lets several files be about one domain.
	MergeDomains bool
	// Quotas makes a quota of every limit.
	Quotas bool
}

// LimitName is the name of the one limit that each bucket has.
const LimitName = "requests"

// joint stands between a key and its value in messages and names of rules.
const joint = "_"

// units are the units of time, by their names in RLS. None begins at a boundary
// of the calendar, there as here.
var units = map[string]time.Duration{
	"SECOND": time.Second,
	"MINUTE": time.Minute,
	"HOUR":   time.Hour,
	"DAY":    24 * time.Hour,
	"WEEK":   7 * 24 * time.Hour,
	"MONTH":  30 * 24 * time.Hour,
	"YEAR":   365 * 24 * time.Hour,
}

// mostPerSecond is the fastest that a bucket refills, in tokens a second.
const mostPerSecond = 9_000_000

// limit is what a node does with the descriptors that lead to it.
type limit struct {
	rule *descriptors.Rule
	// limits are the one limit of the node, as default limits; nil where nothing
	// is charged.
	limits []ratelimit.Limit
}

// compiler makes rules of files and collects what is wrong with them.
type compiler struct {
	options          Options
	rules            *Rules
	errors, warnings []*descriptors.Fault
}

// Compile makes rules of files, in their order. It reports every fault at once:
// with errors there are no Rules. Warnings are what is allowed and hardly meant,
// or means something else here.
func Compile(files []File, o Options) (*Rules, []*descriptors.Fault, []*descriptors.Fault) {
	c := &compiler{options: o, rules: &Rules{options: o, domains: map[string]*node{}}}
	for i := range files {
		c.file(&files[i])
	}
	if len(c.errors) > 0 {
		return nil, c.errors, c.warnings
	}
	c.overrides()
	c.rules.all = c.rules.list()
	return c.rules, nil, c.warnings
}

func (c *compiler) fail(at descriptors.Text, format string, args ...any) {
	c.errors = append(c.errors, fault(at, fmt.Sprintf(format, args...), ""))
}

func (c *compiler) warn(at descriptors.Text, message, hint string) {
	c.warnings = append(c.warnings, fault(at, message, hint))
}

func fault(at descriptors.Text, message, hint string) *descriptors.Fault {
	width := max(1, utf8.RuneCountInString(at.Value))
	return &descriptors.Fault{Pos: at.At(0), Source: at, Width: width, Message: message, Hint: hint}
}

func (c *compiler) file(f *File) {
	name := f.Domain.Value
	domain, again := c.rules.domains[name]
	switch {
	case name == "":
		c.fail(f.Domain, "config file cannot have empty domain")
	case name == ratelimit.ReservedResource:
		c.fail(f.Domain, "the domain %s has a reserved name", name)
	case again && !c.options.MergeDomains:
		c.fail(f.Domain, "duplicate domain '%s' in config file", name)
	}
	if domain == nil {
		domain = newNode()
		c.rules.domains[name] = domain
	}
	c.descriptors(domain, f.Descriptors, way{path: name})
}

func newNode() *node { return &node{children: map[descriptors.Entry]*node{}} }

// way is what leads to a node: its path, joined with dots, and the descriptors on
// it.
type way struct {
	path string
	of   []*Descriptor
}

func (w way) to(d *Descriptor, e descriptors.Entry) way {
	return way{path: w.path + "." + joined(e), of: append(slices.Clip(w.of), d)}
}

// descriptors adds the nodes of a list to their parent.
func (c *compiler) descriptors(parent *node, list []Descriptor, to way) {
	for i := range list {
		d := &list[i]
		if d.Key.Value == "" {
			c.fail(d.At, "descriptor has empty key")
			continue
		}
		entry := descriptors.Entry{Key: d.Key.Value, Value: d.Value.Value}
		own := to.to(d, entry)
		if parent.children[entry] != nil {
			c.fail(d.Key, "duplicate descriptor composite key '%s'", own.path)
			continue
		}
		n := newNode()
		parent.children[entry] = n
		c.wildcard(parent, n, d, entry)
		n.limit = c.limit(d, own)
		c.descriptors(n, d.Descriptors, own)
	}
}

// joined is an entry as messages, and names of rules, have it.
func joined(e descriptors.Entry) string {
	if e.Value == "" {
		return e.Key
	}
	return e.Key + joint + e.Value
}

// wildcard adds a node to its parent's wildcards if it is one.
func (c *compiler) wildcard(parent, n *node, d *Descriptor, e descriptors.Entry) {
	inKey := strings.Contains(e.Key, star)
	if !inKey && !strings.Contains(e.Value, star) {
		if d.ShareThreshold.On {
			c.fail(d.ShareThreshold.At, "share_threshold can only be used with wildcard values (containing '*'), but found key '%s'", joined(e))
		}
		return
	}
	w := wildcard{node: n, key: e.Key, parts: strings.Split(e.Value, star)}
	pattern := e.Value
	if inKey {
		pattern = joined(e)
		w.key, w.parts = "", strings.Split(pattern, star)
	}
	if d.ShareThreshold.On {
		w.shared = pattern
	}
	parent.wildcards = append(parent.wildcards, w)
}

// counted are the entries by which metrics tell apart what leads to a limit; nil
// where they don't. With detailed_metric beside the limit these are the
// request's, else those with value_to_metric, and the others as they are written;
// so is, always, a pattern whose matches share a bucket.
func (w way) counted() []descriptors.Entry {
	detailed := w.of[len(w.of)-1].DetailedMetric.On
	if !detailed && !slices.ContainsFunc(w.of, func(d *Descriptor) bool { return d.ValueToMetric.On }) {
		return nil
	}
	all := make([]descriptors.Entry, len(w.of))
	for i, d := range w.of {
		if d.ShareThreshold.On || !detailed && !d.ValueToMetric.On {
			all[i] = descriptors.Entry{Key: d.Key.Value, Value: d.Value.Value}
		}
	}
	return all
}

// limit makes the limit of a node, nil when it has none.
func (c *compiler) limit(d *Descriptor, to way) *limit {
	r := d.RateLimit
	if r == nil {
		c.pointless(d)
		return nil
	}
	adopted := descriptors.Adopted{
		Name: r.Name.Value, Lenience: c.lenience(d), Metadata: d.Metadata,
		Unlimited: r.Unlimited.On, Replaces: c.replaces(r), Counted: to.counted(),
	}
	if strings.ContainsFunc(r.Name.Value, notInHeaders) {
		c.fail(r.Name, "a name has no line ends, quotes or backslashes: Envoy puts it into a header as it is")
	}
	unit := strings.ToUpper(r.Unit.Value)
	period, known := units[unit]
	name := descriptors.Text{Value: to.path, Locate: d.Key.Locate}
	switch {
	case r.Unlimited.On && known:
		c.fail(r.Unit, "should not specify rate limit unit when unlimited")
		return nil
	case r.Unlimited.On:
		return &limit{rule: descriptors.Adopt(name, descriptors.Allow, adopted)}
	case !known:
		at := r.Unit
		if !at.Present() {
			at = r.At
		}
		c.fail(at, "invalid rate limit unit '%s'", r.Unit.Value)
		return nil
	}
	adopted.Unit = unit
	n := r.RequestsPerUnit
	if n.N == 0 {
		if !n.Said {
			c.warn(r.At, "requests_per_unit is not there: every request is denied", "requests_per_unit: 0 says so")
		}
		return &limit{rule: descriptors.Adopt(name, descriptors.Deny, adopted)}
	}
	adopted.Limit = perUnit(n.N, period)
	if adopted.Limit.Rate < int64(n.N) {
		c.warn(n.At, fmt.Sprintf("a bucket gains %d a second at most: of %d, the rest is a burst", mostPerSecond, n.N), "unlimited: true needs no store")
	}
	return &limit{rule: descriptors.Adopt(name, descriptors.Charge, adopted), limits: []ratelimit.Limit{adopted.Limit}}
}

// perUnit is the bucket for a number of requests in each period.
func perUnit(n uint32, period time.Duration) ratelimit.Limit {
	rate := min(int64(n), int64(period/time.Second)*mostPerSecond)
	return ratelimit.Custom(LimitName, int64(n), rate, period)
}

func (c *compiler) lenience(d *Descriptor) descriptors.Lenience {
	switch {
	case d.ShadowMode.On:
		return descriptors.Shadow
	case d.QuotaMode.On || c.options.Quotas:
		return descriptors.Quota
	}
	return descriptors.Strict
}

func (c *compiler) replaces(r *RateLimit) []string {
	var names []string
	for _, name := range r.Replaces {
		switch name.Value {
		case "":
			c.fail(name, "should not have an empty replaces entry")
		case r.Name.Value:
			c.fail(name, "replaces should not contain name of same descriptor")
		}
		names = append(names, name.Value)
	}
	return names
}

// pointless warns of what a node without a limit says about one.
func (c *compiler) pointless(d *Descriptor) {
	for _, f := range []struct {
		name string
		flag Flag
	}{{"shadow_mode", d.ShadowMode}, {"quota_mode", d.QuotaMode}, {"detailed_metric", d.DetailedMetric}} {
		if f.flag.On {
			c.warn(f.flag.At, f.name+" has no effect: there is no rate_limit beside it", "it says nothing about the descriptors below")
		}
	}
}

func notInHeaders(r rune) bool { return r < ' ' || r == 0x7f || r == '"' || r == '\\' }

// overrides makes the rules for limits that come with descriptors: one for each
// domain.
func (c *compiler) overrides() {
	adopted := descriptors.Adopted{}
	if c.options.Quotas {
		adopted.Lenience = descriptors.Quota
	}
	for domain, n := range c.rules.domains {
		name := descriptors.Text{Value: domain + " (override)"}
		n.override = &override{
			charge: descriptors.Adopt(name, descriptors.Charge, adopted),
			deny:   descriptors.Adopt(name, descriptors.Deny, adopted),
		}
	}
}

// list are the rules of all nodes, in the order of their names.
func (r *Rules) list() []*descriptors.Rule {
	var all []*descriptors.Rule
	for _, domain := range r.domains {
		all = domain.rules(all)
	}
	slices.SortStableFunc(all, func(a, b *descriptors.Rule) int { return strings.Compare(a.Name(), b.Name()) })
	return all
}

func (n *node) rules(all []*descriptors.Rule) []*descriptors.Rule {
	if n.limit != nil {
		all = append(all, n.limit.rule)
	}
	if n.override != nil {
		all = append(all, n.override.charge, n.override.deny)
	}
	for _, child := range n.children {
		all = child.rules(all)
	}
	return all
}
