package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/extauthz/extauthz/internal/config/yamltree"
)

// ResponseHeaders are the names that response_headers can have.
func ResponseHeaders() []string {
	return []string{"retry-after", "ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}
}

// keyHeaders is the one setting that is a list in the file. In the environment
// it is a text with commas.
const keyHeaders = "response_headers"

// headersSetting says which headers tell clients of their limits.
func headersSetting() setting {
	return setting{
		key: keyHeaders, def: strings.Join(ResponseHeaders()[:3], ","),
		set: func(c *checked, v string) (complaint, hint string) {
			c.ResponseHeaders = []string{}
			for name := range strings.SplitSeq(v, ",") {
				if v == "" {
					break
				}
				name = strings.TrimSpace(name)
				if complaint, hint = checkHeader(c.ResponseHeaders, name); complaint != "" {
					return complaint, hint
				}
				c.ResponseHeaders = append(c.ResponseHeaders, name)
			}
			return "", ""
		},
	}
}

// checkHeader complains of a name that can't follow the ones before.
func checkHeader(before []string, name string) (complaint, hint string) {
	if slices.Contains(before, name) {
		return fmt.Sprintf("%q is named twice", name), ""
	}
	return oneOf(name, ResponseHeaders()...)
}

// headers makes the field of the list, whose faults are told at its items.
func (p process) headers(r *reader) field {
	return field{keyHeaders, func(key, value *yamltree.Node) {
		if !r.is(key, value, yamltree.KindSequence) {
			return
		}
		var names []string
		for _, item := range value.Items {
			name, ok := r.scalar(nil, item)
			if !ok {
				continue
			}
			if complaint, hint := checkHeader(names, name); complaint != "" {
				r.fault(item, complaint, hint)
				continue
			}
			names = append(names, name)
		}
		list := *value
		list.Value = strings.Join(names, ",")
		p[keyHeaders] = &list
	}}
}
