package config

import (
	"strings"

	"github.com/extauthz/extauthz/internal/config/yamltree"
)

// itemCheck complains of an item of a list that can't follow the ones before.
type itemCheck func(before []string, item string) (complaint, hint string)

// split reads a setting that is a list in the file, and in the environment a
// text with commas.
func split(v string, check itemCheck) (items []string, complaint, hint string) {
	items = []string{}
	if v == "" {
		return items, "", ""
	}
	for item := range strings.SplitSeq(v, ",") {
		item = strings.TrimSpace(item)
		if complaint, hint = check(items, item); complaint != "" {
			return items, complaint, hint
		}
		items = append(items, item)
	}
	return items, "", ""
}

// list makes a field of such a setting, whose faults are told at its items.
func (p process) list(r *reader, name, key string, check itemCheck) field {
	return field{name, func(at, value *yamltree.Node) {
		if !r.is(at, value, yamltree.KindSequence) {
			return
		}
		var items []string
		for _, n := range value.Items {
			item, ok := r.scalar(nil, n)
			if !ok {
				continue
			}
			if complaint, hint := check(items, item); complaint != "" {
				r.fault(n, complaint, hint)
				continue
			}
			items = append(items, item)
		}
		list := *value
		list.Value = strings.Join(items, ",")
		p[key] = &list
	}}
}
