package config

import (
	"fmt"
	"slices"
	"strings"
)

// ResponseHeaders are the names that response_headers can have.
func ResponseHeaders() []string {
	return []string{"retry-after", "ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}
}

const keyHeaders = "response_headers"

// headersSetting says which headers tell clients of their limits.
func headersSetting() setting {
	return setting{
		key: keyHeaders, def: strings.Join(ResponseHeaders()[:3], ","),
		set: func(c *checked, v string) (complaint, hint string) {
			c.ResponseHeaders, complaint, hint = split(v, checkHeader)
			return complaint, hint
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
