package config

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/extauthz/extauthz/internal/config/yamltree"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// limitsField reads the section of limits.
func (r *reader) limitsField(into *hierarchy.Document) field {
	return field{"limits", func(key, value *yamltree.Node) {
		// A manifest has a manager: see ParseManifest.
		fields := append(r.documentFields(into), r.later("manager", "limits.manager"))
		r.fields(key, value, "limits", fields)
	}}
}

func (r *reader) documentFields(into *hierarchy.Document) []field {
	return []field{
		{"system", func(key, value *yamltree.Node) {
			r.fields(key, value, "system", r.level(&into.System, true))
		}},
		r.levels("resources", "a resource", &into.Resources, true),
		{"tiers", func(key, value *yamltree.Node) {
			into.Tiers = make(map[string]hierarchy.Tier, len(value.Entries))
			r.named(key, value, func(name, value *yamltree.Node) {
				var t hierarchy.Tier
				r.fields(name, value, "a tier", append(r.level(&t.Level, false), r.levels("resources", "a resource of a tier", &t.Resources, false)))
				into.Tiers[name.Value] = t
			})
		}},
		{"entities", func(key, value *yamltree.Node) {
			into.Entities = make(map[string]hierarchy.Entity, len(value.Entries))
			r.named(key, value, func(name, value *yamltree.Node) {
				var e hierarchy.Entity
				r.fields(name, value, "an entity", r.entityFields(&e))
				into.Entities[name.Value] = e
			})
		}},
	}
}

// levels reads names of resources and a level for each.
func (r *reader) levels(name, what string, into *map[string]hierarchy.Level, fallbacks bool) field {
	return field{name, func(key, value *yamltree.Node) {
		*into = make(map[string]hierarchy.Level, len(value.Entries))
		r.named(key, value, func(name, value *yamltree.Node) {
			if name.Value == ratelimit.ReservedResource {
				r.fault(name, fmt.Sprintf("%q is a reserved name", name.Value), "limits for every resource stand beside `resources`, not in it")
				return
			}
			var l hierarchy.Level
			r.fields(name, value, what, r.level(&l, fallbacks))
			(*into)[name.Value] = l
		})
	}}
}

// level are the fields that every level has; fallbacks: also on_unavailable.
func (r *reader) level(into *hierarchy.Level, fallbacks bool) []field {
	fields := []field{
		{"limits", func(key, value *yamltree.Node) {
			if value.Kind == yamltree.KindMapping && len(value.Entries) == 0 {
				r.fault(key, `"limits" is empty`, "leave the key out; mode: bypass admits everything")
			}
			r.named(key, value, func(name, value *yamltree.Node) {
				if l, ok := r.limit(name, value); ok {
					into.Limits = append(into.Limits, l)
				}
			})
		}},
		{"mode", func(key, value *yamltree.Node) {
			s, ok := r.filled(key, value)
			if !ok {
				return
			}
			if into.Mode, ok = ratelimit.ParseMode(s); !ok {
				complaint, hint := oneOf(s, "disabled", "bypass", "on")
				r.fault(value, complaint, hint)
			}
		}},
	}
	if fallbacks {
		fields = append(fields, field{"on_unavailable", func(key, value *yamltree.Node) {
			s, ok := r.filled(key, value)
			if !ok {
				return
			}
			f, complaint, hint := fallback(s)
			if into.OnUnavailable = f; complaint != "" {
				r.fault(value, complaint, hint)
			}
		}})
	}
	return fields
}

func (r *reader) entityFields(e *hierarchy.Entity) []field {
	text := func(into *string) func(key, value *yamltree.Node) {
		return func(key, value *yamltree.Node) { *into, _ = r.filled(key, value) }
	}
	return append(
		r.level(&e.Level, false),
		r.levels("resources", "a resource of an entity", &e.Resources, false),
		field{"display_name", text(&e.DisplayName)},
		field{"tier", text(&e.Tier)},
		field{"parent", text(&e.Parent)},
		field{"cascade", func(key, value *yamltree.Node) { e.Cascade = r.flag(key, value) }},
		field{"metadata", func(key, value *yamltree.Node) {
			e.Metadata = make(map[string]string, len(value.Entries))
			r.named(key, value, func(name, value *yamltree.Node) {
				if s, ok := r.filled(name, value); ok {
					e.Metadata[name.Value] = s
				}
			})
		}},
	)
}

// limit reads a limit in its text form, or as rate and burst.
func (r *reader) limit(name, value *yamltree.Node) (ratelimit.Limit, bool) {
	if err := ratelimit.CheckLimitName(name.Value); err != nil {
		r.fault(name, "a limit: "+err.Error(), "")
		return ratelimit.Limit{}, false
	}
	if value.Kind != yamltree.KindMapping {
		text, ok := r.filled(name, value)
		if !ok {
			return ratelimit.Limit{}, false
		}
		return r.parse(name.Value, text, value)
	}
	var rate, burst *yamltree.Node
	r.fields(name, value, "a limit", []field{
		{"rate", func(key, value *yamltree.Node) { rate = r.filledNode(key, value) }},
		{"burst", func(key, value *yamltree.Node) { burst = r.filledNode(key, value) }},
	})
	if rate == nil {
		if value.Find("rate") == nil {
			r.fault(name, fmt.Sprintf("the limit %q has no rate", name.Value), "rate: 100/min")
		}
		return ratelimit.Limit{}, false
	}
	l, ok := r.parse(name.Value, rate.Value, rate)
	if !ok || burst == nil {
		return l, ok
	}
	if l.Text() != l.WithBurst(l.Rate).Text() {
		r.fault(rate, "the burst is there twice", "")
		return l, false
	}
	n, err := strconv.ParseUint(burst.Value, 10, 63)
	if err != nil {
		r.fault(burst, fmt.Sprintf("the burst %q is not a whole number between 1 and 1e15", burst.Value), "")
		return l, false
	}
	return r.valid(l.WithBurst(int64(n)), burst)
}

func (r *reader) filledNode(key, value *yamltree.Node) *yamltree.Node {
	if _, ok := r.filled(key, value); !ok {
		return nil
	}
	return value
}

func (r *reader) parse(name, text string, at *yamltree.Node) (ratelimit.Limit, bool) {
	l, err := ratelimit.ParseRate(name, text)
	return l, r.right(err, at)
}

func (r *reader) valid(l ratelimit.Limit, at *yamltree.Node) (ratelimit.Limit, bool) {
	return l, r.right(l.Validate(), at)
}

func (r *reader) right(err error, at *yamltree.Node) bool {
	if err == nil {
		return true
	}
	message := err.Error()
	if invalid := new(ratelimit.InvalidLimitError); errors.As(err, &invalid) {
		message = fmt.Sprintf("%q is no limit: %s", at.Value, invalid.Reason)
	}
	r.fault(at, message, "")
	return false
}

// check reports what hierarchy finds in a document, at its place in the file.
func (r *reader) check(doc hierarchy.Document, root *yamltree.Node) {
	limits := root.Find("limits")
	if limits != nil {
		r.checkDocument(doc, limits)
	}
}

// checkDocument is check for a document and the mapping that has it.
func (r *reader) checkDocument(doc hierarchy.Document, limits *yamltree.Node) {
	known := map[*yamltree.Node]map[string]yamltree.Entry{} // :: mapping -> its entries by key
	for _, w := range doc.Check() {
		at := limits
		for _, key := range w.Keys {
			if known[at] == nil {
				known[at] = make(map[string]yamltree.Entry, len(at.Entries))
				for _, e := range at.Entries {
					known[at][e.Key.Value] = e
				}
			}
			if next := known[at][key].Value; next != nil {
				at = next
			}
		}
		if w.Fatal {
			r.fault(at, w.Message, "")
		} else {
			r.warn(at, w.Message, "")
		}
	}
}
