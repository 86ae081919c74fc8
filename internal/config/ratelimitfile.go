package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/extauthz/extauthz/internal/config/yamltree"
	"github.com/extauthz/extauthz/internal/dropin"
	"github.com/extauthz/extauthz/pkg/descriptors"
)

// ratelimitReader reads a file of envoyproxy/ratelimit, and says in that
// service's words what is wrong with it. It reads scalars as YAML 1.1 does, as
// that service: a value that is null is absent, `yes` is true and 010 is 8.
type ratelimitReader struct{ *reader }

// ratelimitKeys are all keys of the format. That service lets each stand in any
// mapping, and reads it in its own alone.
var ratelimitKeys = []string{
	"domain", "key", "value", "descriptors", "rate_limit", "unit", "requests_per_unit", "unlimited", "shadow_mode",
	"quota_mode", "name", "replaces", "detailed_metric", "value_to_metric", "share_threshold", "metadata",
}

const ratelimitUnread = "error loading config file: "

// readRatelimit reads a file that was parsed.
func readRatelimit(r *reader) (file dropin.File, ok bool) {
	rr := ratelimitReader{r}
	root := r.file.Root
	file = dropin.File{Domain: rr.place(root)}
	switch root.Kind {
	case yamltree.KindEmpty:
	case yamltree.KindMapping:
		rr.mapping(root, "the file", []field{
			rr.text("domain", &file.Domain),
			{"descriptors", func(_, value *yamltree.Node) { file.Descriptors = rr.descriptors(value) }},
		})
	default:
		rr.fault(root, ratelimitUnread+"it must be a mapping: keys and their values", "")
		return file, false
	}
	return file, true
}

// place is an absent text that stands where a node does.
func (r ratelimitReader) place(n *yamltree.Node) descriptors.Text {
	return descriptors.Text{Locate: func(int) descriptors.Position { return r.position(n.At) }}
}

func isAbsent(n *yamltree.Node) bool { return n.Kind == yamltree.KindEmpty || isNull(n) }

// mapping reads the keys of a mapping that have a value.
func (r ratelimitReader) mapping(n *yamltree.Node, what string, fields []field) {
	for _, e := range n.Entries {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == e.Key.Value })
		switch {
		case e.Key.Plain && resolve(e.Key.Value) != e.Key.Value:
			r.fault(e.Key, "config error, key is not of type string: "+e.Key.Value, "put quotes around it")
		case i >= 0:
			if !isAbsent(e.Value) && e.Value.Kind != yamltree.KindBad {
				fields[i].read(e.Key, e.Value)
			}
		case slices.Contains(ratelimitKeys, e.Key.Value):
			r.warn(e.Key, fmt.Sprintf("%q is not read in %s", e.Key.Value, what), "indent it as the keys that it belongs to")
		default:
			r.fault(e.Key, fmt.Sprintf("config error, unknown key '%s'", e.Key.Value), nearest(e.Key.Value, ratelimitKeys))
		}
	}
}

// list reads the mappings of a list.
func (r ratelimitReader) list(n *yamltree.Node, read func(item *yamltree.Node)) {
	if n.Kind != yamltree.KindSequence {
		r.fault(n, ratelimitUnread+"it must be a list, not "+kindNames[n.Kind], "each item begins with a dash")
		return
	}
	for _, item := range n.Items {
		switch item.Kind {
		case yamltree.KindBad:
		case yamltree.KindMapping:
			read(item)
		default:
			r.fault(item, "config error, yaml file contains list of type other than map: "+r.file.Text(item.At, item.End), "")
		}
	}
}

func (r ratelimitReader) descriptors(n *yamltree.Node) []dropin.Descriptor {
	var all []dropin.Descriptor
	r.list(n, func(item *yamltree.Node) {
		d := dropin.Descriptor{At: r.place(item)}
		r.mapping(item, "a descriptor", []field{
			r.text("key", &d.Key),
			r.text("value", &d.Value),
			{"rate_limit", func(key, value *yamltree.Node) { d.RateLimit = r.rateLimit(key, value) }},
			{"descriptors", func(_, value *yamltree.Node) { d.Descriptors = r.descriptors(value) }},
			r.flag("shadow_mode", &d.ShadowMode),
			r.flag("quota_mode", &d.QuotaMode),
			r.flag("detailed_metric", &d.DetailedMetric),
			r.flag("value_to_metric", &d.ValueToMetric),
			r.flag("share_threshold", &d.ShareThreshold),
			{"metadata", func(_, value *yamltree.Node) { d.Metadata = r.metadata(value) }},
		})
		all = append(all, d)
	})
	return all
}

func (r ratelimitReader) rateLimit(key, n *yamltree.Node) *dropin.RateLimit {
	l := &dropin.RateLimit{At: r.reader.text(key)}
	if !r.is(key, n, yamltree.KindMapping) {
		return nil
	}
	r.mapping(n, "rate_limit", []field{
		r.text("unit", &l.Unit),
		{"requests_per_unit", func(_, value *yamltree.Node) { l.RequestsPerUnit = r.number(value) }},
		r.flag("unlimited", &l.Unlimited),
		r.text("name", &l.Name),
		{"replaces", func(_, value *yamltree.Node) {
			r.list(value, func(item *yamltree.Node) {
				name := r.place(item)
				r.mapping(item, "an item of replaces", []field{r.text("name", &name)})
				l.Replaces = append(l.Replaces, name)
			})
		}},
	})
	return l
}

// text makes a field that reads a text, which may be empty.
func (r ratelimitReader) text(name string, to *descriptors.Text) field {
	return field{name, func(key, value *yamltree.Node) {
		if value.Kind != yamltree.KindScalar {
			r.fault(key, fmt.Sprintf("%s%q must be a text, not %s", ratelimitUnread, name, kindNames[value.Kind]), "")
			return
		}
		*to = r.reader.text(value)
	}}
}

// flag makes a field that reads a boolean.
func (r ratelimitReader) flag(name string, to *dropin.Flag) field {
	return field{name, func(key, value *yamltree.Node) {
		on, ok := resolve(value.Value).(bool)
		if !ok || value.Kind != yamltree.KindScalar || !value.Plain {
			r.fault(value, fmt.Sprintf("%s%q must be true or false", ratelimitUnread, name), "")
			return
		}
		*to = dropin.Flag{On: on, At: r.reader.text(key)}
	}}
}

// number reads a whole number of 32 bits.
func (r ratelimitReader) number(n *yamltree.Node) dropin.Number {
	v, ok := resolve(n.Value).(int64)
	if !ok || n.Kind != yamltree.KindScalar || !n.Plain || v < 0 || v > math.MaxUint32 {
		r.fault(n, fmt.Sprintf("%s%q is not a whole number from 0 to %d", ratelimitUnread, n.Value, uint32(math.MaxUint32)), "")
		return dropin.Number{Said: true}
	}
	return dropin.Number{N: uint32(v), Said: true, At: r.reader.text(n)}
}

// metadata reads a mapping of anything.
func (r ratelimitReader) metadata(n *yamltree.Node) map[string]any {
	m, ok := r.value(n).(map[string]any)
	if !ok {
		r.fault(n, ratelimitUnread+`"metadata" must be a mapping`, "")
	}
	return m
}

// value is a node as metadata have it.
func (r ratelimitReader) value(n *yamltree.Node) any {
	switch n.Kind {
	case yamltree.KindMapping:
		m := make(map[string]any, len(n.Entries))
		for _, e := range n.Entries {
			m[e.Key.Value] = r.value(e.Value)
		}
		return m
	case yamltree.KindSequence:
		list := make([]any, len(n.Items))
		for i, item := range n.Items {
			list[i] = r.value(item)
		}
		return list
	case yamltree.KindScalar:
		if !n.Plain {
			return n.Value
		}
		switch v := resolve(n.Value).(type) {
		case int64:
			return float64(v)
		default:
			return v
		}
	}
	return nil
}

var yamlFloat = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)

// resolve is what YAML 1.1 takes a text without quotes for: nil, a bool, an
// int64, a float64, or the text.
func resolve(s string) any {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return nil
	case "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return true
	case "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return false
	}
	plain := strings.ReplaceAll(s, "_", "")
	if n, err := strconv.ParseInt(plain, 0, 64); err == nil {
		return n
	}
	if yamlFloat.MatchString(plain) {
		if f, err := strconv.ParseFloat(plain, 64); err == nil {
			return f
		}
	}
	return s
}
