package dropin

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Imported is a configuration in our own format.
type Imported struct {
	Text    string // of the file
	Remarks int    // how many things in it mean something else
}

// Import writes the rules that decide as files do, in the order in which that
// service looks descriptors up: values, then patterns, then keys alone. Where a
// descriptor went one way there, and found no limit, a rule that allows keeps it
// from going another here. What means something else is remarked beside it. The
// files compile.
func Import(files []File) Imported {
	w := importer{names: map[string]bool{}}
	for i := range files {
		f := &files[i]
		domain := place{way: way{path: f.Domain.Value}, domain: "domain == " + strconv.Quote(f.Domain.Value)}
		w.list(f.Descriptors, &domain)
	}
	w.rule(ruleText{name: "everything else", action: "allow"})
	return Imported{Text: w.head() + w.body.String(), Remarks: w.remarks}
}

// importer writes rules.
type importer struct {
	body    strings.Builder
	names   map[string]bool // those that rules have
	remarks int
}

// place is where in the tree a node is.
type place struct {
	way
	domain string   // the condition of the domain
	match  string   // those of the entries, each with an && before it
	steps  []step   // one for each entry
	keys   []string // of the entries
}

// step is what the way to a node says of the value of one entry.
type step struct {
	text   string // the value itself, or what stands for it
	varies bool   // it is the request's
}

// importHead begins every file.
const importHead = `# Rules for a configuration of envoyproxy/ratelimit.
#
# Each descriptor is decided by itself, as there. Without "independent: true" the
# descriptors of a call are one decision: all are charged, or none.
#
# In all of it:
# - a bucket refills all the time, there all at once when a window ends;
# - a descriptor with an empty value has no limit, there that of its key;
# - a limit that comes with a descriptor counts where a rule takes it, there always.
`

func (w *importer) head() string {
	head := importHead
	if w.remarks > 0 {
		head += "# What else means something else is remarked beside it.\n"
	}
	return head + "rules:\n"
}

// ranked are the descriptors of a list in the order in which they are looked up.
func ranked(list []Descriptor) []*Descriptor {
	var all []*Descriptor
	for rank := range 3 {
		for i := range list {
			if d := &list[i]; rankOf(d) == rank {
				all = append(all, d)
			}
		}
	}
	return all
}

func rankOf(d *Descriptor) int {
	switch {
	case isPattern(d):
		return 1
	case d.Value.Value != "":
		return 0
	}
	return 2
}

func isPattern(d *Descriptor) bool { return strings.Contains(d.Key.Value+d.Value.Value, star) }

func (w *importer) list(list []Descriptor, at *place) {
	all := ranked(list)
	for i, d := range all {
		p := at.to(d)
		w.node(d, &p)
		w.list(d.Descriptors, &p)
		if slices.ContainsFunc(all[i+1:], func(later *Descriptor) bool { return goesOn(d, later) }) {
			w.rule(ruleText{name: p.path + " ends", match: p.condition(">="), action: "allow"})
		}
	}
}

// goesOn reports whether a descriptor that leads to a node, and no rule of it
// takes, would be taken by one of a node that is looked up later.
func goesOn(d, later *Descriptor) bool {
	if d.RateLimit != nil && len(d.Descriptors)+len(later.Descriptors) == 0 {
		return false // it takes all there are
	}
	if strings.Contains(d.Key.Value+later.Key.Value, star) {
		return true
	}
	return d.Key.Value == later.Key.Value && (isPattern(d) || isPattern(later) || later.Value.Value == "")
}

// to is the place of a child.
func (p *place) to(d *Descriptor) place {
	e := descriptors.Entry{Key: d.Key.Value, Value: d.Value.Value}
	entry := "entries[" + strconv.Itoa(len(p.steps)) + "]"
	is := entry + ".key == " + strconv.Quote(e.Key)
	s := step{text: e.Value, varies: !d.ShareThreshold.On}
	switch {
	case strings.Contains(e.Key, star):
		is = resembles(entry+`.key + "_" + `+entry+".value", joined(e))
		s.text = joined(e)
	case isPattern(d):
		is += " && " + resembles(entry+".value", e.Value)
	case e.Value != "":
		is += " && " + entry + ".value == " + strconv.Quote(e.Value)
		s.varies = false
	}
	return place{
		way: p.way.to(d, e), domain: p.domain, match: p.match + " && " + is,
		steps: append(slices.Clone(p.steps), s), keys: append(slices.Clone(p.keys), e.Key),
	}
}

// resembles is the condition that a text is like a pattern.
func resembles(text, pattern string) string {
	parts := strings.Split(pattern, star)
	if len(parts) == 2 && parts[1] == "" && !strings.Contains(text, "+") {
		return text + ".startsWith(" + strconv.Quote(parts[0]) + ")"
	}
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	if strings.Contains(text, "+") {
		text = "(" + text + ")"
	}
	return text + ".matches(" + strconv.Quote("(?s)^"+strings.Join(parts, ".*")+"$") + ")"
}

// condition is that of descriptors that lead to the node, with as many entries as
// the way has, or at least as many.
func (p *place) condition(size string) string {
	return fmt.Sprintf("%s && entries.size() %s %d%s", p.domain, size, len(p.steps), p.match)
}

// node writes the rule of a node with a limit.
func (w *importer) node(d *Descriptor, p *place) {
	l := d.RateLimit
	if l == nil {
		return
	}
	r := ruleText{name: p.path, match: p.condition("=="), at: d.Key, remarks: remarksOn(d, p.counted() != nil)}
	switch {
	case l.Unlimited.On:
		r.action = "allow"
	case l.RequestsPerUnit.N == 0 && d.ShadowMode.On:
		r.action = "allow"
	case l.RequestsPerUnit.N == 0:
		r.action = "deny"
	default:
		r.entity, r.limitName = p.entity(), LimitName
		r.limit = perUnit(l.RequestsPerUnit.N, units[strings.ToUpper(l.Unit.Value)])
		if name := l.Name.Value; ratelimit.CheckLimitName(name) == nil {
			r.limitName = name
		} else if name != "" {
			r.remarks = append(r.remarks, fmt.Sprintf("name: %q can't be a limit's name here, it is called %s", name, LimitName))
		}
		r.shadow = d.ShadowMode.On
	}
	w.rule(r)
	if r.shadow { // for whom it isn't enforced goes on to the next rule
		w.rule(ruleText{name: p.path + " admits", match: r.match, action: "allow"})
	}
}

// remarksOn are what means something else of a node; counted: by values too.
func remarksOn(d *Descriptor, counted bool) []string {
	var all []string
	add := func(is bool, remark string) {
		if is {
			all = append(all, remark)
		}
	}
	l := d.RateLimit
	add(d.QuotaMode.On, "quota_mode: there it denies when all quotas of a call are exceeded, here by itself")
	add(d.ShadowMode.On, "shadow_mode: there answers have the limit, here metrics alone")
	add(len(l.Replaces) > 0, "replaces: there the limit that is replaced isn't charged, here both are")
	add(len(d.Metadata) > 0, "metadata: there they go with answers, here they don't")
	add(counted, "detailed_metric, value_to_metric: there values are in metrics, here rules alone; `extauthz top` has entities")
	add(l.RequestsPerUnit.N == 0 && !l.Unlimited.On, "requests_per_unit: 0: there answers have the limit, here they don't")
	add(int64(l.RequestsPerUnit.N) > perUnit(l.RequestsPerUnit.N, units["SECOND"]).Rate && strings.EqualFold(l.Unit.Value, "second"), "requests_per_unit: a bucket refills by 9,000,000 a second at most")
	return all
}

// entity is the text of the entity: the values that vary from request to request,
// put together so that no others give the same; a constant where none does.
func (p *place) entity() string {
	var varying []string
	last := ""
	for i, s := range p.steps {
		last = s.text
		if s.varies {
			varying = append(varying, p.read(i))
		}
	}
	if len(varying) == 0 {
		return strings.ReplaceAll(last, "${", "$${")
	}
	for i := range len(varying) - 1 {
		varying[i] += `.replace("%", "%25").replace("/", "%2F")`
	}
	return "${" + strings.Join(varying, "}/${") + "}"
}

// read is the expression of the value of an entry, the shortest that means it.
func (p *place) read(i int) string {
	key := p.keys[i]
	if strings.Contains(key, star) || slices.Contains(p.keys[:i], key) || slices.ContainsFunc(p.keys, func(k string) bool { return strings.Contains(k, star) }) {
		return "entries[" + strconv.Itoa(i) + "].value"
	}
	if simpleName.MatchString(key) && !slices.Contains(reserved, key) {
		return "descriptor." + key
	}
	return "descriptor[" + strconv.Quote(key) + "]"
}

var simpleName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// reserved are the words that are no names in CEL.
var reserved = words(`as break const continue else false for function if import in let loop namespace null package return true var void while`)
