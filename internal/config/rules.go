package config

import (
	"fmt"

	"github.com/extauthz/extauthz/internal/config/yamltree"
	"github.com/extauthz/extauthz/pkg/descriptors"
)

// rules are the rules of the file as they were written.
type rules struct {
	sources []descriptors.RuleSource
	// faulty are the places of the names of rules that were found at fault
	// already: that something is missing there follows from it.
	faulty map[descriptors.Position]bool
}

// rulesField reads the section of rules.
func (r *reader) rulesField(into *rules) field {
	return field{"rules", func(key, value *yamltree.Node) {
		if !r.is(key, value, yamltree.KindSequence) {
			return
		}
		for i, item := range value.Items {
			before := r.report.errors
			if !r.is(nil, item, yamltree.KindMapping) {
				continue
			}
			src := r.rule(item)
			if !src.Name.Present() {
				if item.Find("name") == nil {
					r.faultAt(item.At, 1, fmt.Sprintf("rule %d has no name", i+1), "name: tells rules apart, in metrics and explain")
				}
				src.Name = r.text(item)
				src.Name.Value = fmt.Sprintf("rule %d", i+1)
			}
			if r.report.errors > before || r.broken(item) {
				into.faulty[src.Name.At(0)] = true
			}
			into.sources = append(into.sources, src)
		}
	}}
}

// broken reports whether the text has a fault within a node.
func (r *reader) broken(n *yamltree.Node) bool {
	for _, f := range r.file.Faults {
		if f.At >= n.At && f.At <= n.End {
			return true
		}
	}
	return false
}

func (r *reader) rule(item *yamltree.Node) descriptors.RuleSource {
	var s descriptors.RuleSource
	r.fields(nil, item, "a rule", r.ruleFields(&s))
	for _, text := range []*descriptors.Text{&s.Namespace, &s.Entity, &s.Resource, &s.Tier} {
		r.endsInLine(text)
	}
	return s
}

func (r *reader) ruleFields(s *descriptors.RuleSource) []field {
	return []field{
		r.into("name", &s.Name),
		r.into("match", &s.Match),
		r.into("action", &s.Action),
		r.into("protocol", &s.Protocol),
		r.into("continue", &s.Continue),
		r.into("settle", &s.Settle),
		r.into("independent", &s.Independent),
		r.into("refunds", &s.Refunds),
		r.into("enforce", &s.Enforce),
		r.into("namespace", &s.Namespace),
		r.into("entity", &s.Entity),
		r.into("resource", &s.Resource),
		r.into("tier", &s.Tier),
		{"consume", func(key, value *yamltree.Node) { r.consume(s, key, value) }},
		{"default_limits", func(key, value *yamltree.Node) {
			r.some(key, value)
			r.named(key, value, func(name, limit *yamltree.Node) { s.DefaultLimits = append(s.DefaultLimits, r.limitText(name, limit)) })
		}},
		{"on_allow", func(key, value *yamltree.Node) { s.OnAllow = r.answer(key, value, false) }},
		{"on_deny", func(key, value *yamltree.Node) { s.OnDeny = r.answer(key, value, true) }},
	}
}

// endsInLine warns of a text whose last line end becomes part of the value: an
// entity of that name is another one.
func (r *reader) endsInLine(text *descriptors.Text) {
	if v := text.Value; v != "" && v[len(v)-1] == '\n' {
		r.report.add(&Problem{Pos: text.At(0), Width: 1, Warning: true, Message: "the line end is a part of this text", Hint: "a block that begins with |- or >- has none"})
	}
}

// consume reads one expression for all limits, or one for each that is named.
func (r *reader) consume(s *descriptors.RuleSource, key, value *yamltree.Node) {
	if value.Kind != yamltree.KindMapping {
		if value.Kind == yamltree.KindSequence {
			r.fault(key, `"consume" must be a text or a mapping, not a list`, "")
		} else if _, ok := r.filled(key, value); ok {
			s.Consume = r.text(value)
		}
		return
	}
	r.some(key, value)
	s.ConsumeEach = r.texts(key, value)
}

// texts reads names and a text for each.
func (r *reader) texts(key, value *yamltree.Node) []descriptors.NamedText {
	var all []descriptors.NamedText
	r.named(key, value, func(name, text *yamltree.Node) {
		if _, ok := r.filled(name, text); ok {
			all = append(all, descriptors.NamedText{Name: r.text(name), Value: r.text(text)})
		}
	})
	return all
}

// some wants at least one entry in a mapping.
func (r *reader) some(key, value *yamltree.Node) {
	if value.Kind == yamltree.KindMapping && len(value.Entries) == 0 {
		r.fault(key, fmt.Sprintf("%q is empty", key.Value), "leave the key out")
	}
}

// limitText reads a limit in its text form, or as rate and burst.
func (r *reader) limitText(name, value *yamltree.Node) descriptors.LimitText {
	l := descriptors.LimitText{Name: r.text(name)}
	if value.Kind == yamltree.KindMapping {
		r.fields(name, value, "a limit", []field{r.into("rate", &l.Rate), r.into("burst", &l.Burst)})
	} else if _, ok := r.filled(name, value); ok {
		l.Text = r.text(value)
	}
	return l
}

// answer reads on_allow, or on_deny with all that it may say.
func (r *reader) answer(key, value *yamltree.Node, deny bool) *descriptors.AnswerSource {
	a := &descriptors.AnswerSource{}
	fields := []field{{"headers", func(key, value *yamltree.Node) { a.Headers = r.texts(key, value) }}}
	if deny {
		fields = append(fields, r.into("status", &a.Status), r.into("body", &a.Body), r.into("content_type", &a.ContentType))
	}
	r.fields(key, value, key.Value, fields)
	return a
}
