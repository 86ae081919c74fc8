package descriptors

import (
	"net/url"
	"slices"
	"strings"
)

// queryParam is the first value of a parameter in a path's query, decoded;
// empty when it has none. A part that can't be decoded stands as it is.
func queryParam(path, key string) string {
	for query := queryOf(path); query != ""; {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		if unescaped(name) == key {
			return unescaped(value)
		}
	}
	return ""
}

func queryKeys(path string) []string {
	var keys []string
	seen := map[string]struct{}{}
	for query := queryOf(path); query != ""; {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		name = unescaped(name)
		if _, again := seen[name]; again {
			continue
		}
		seen[name] = struct{}{}
		if value != "" {
			keys = append(keys, name)
		}
	}
	slices.Sort(keys)
	return keys
}

func queryOf(path string) string {
	path, _, _ = strings.Cut(path, "#")
	_, query, _ := strings.Cut(path, "?")
	return query
}

func unescaped(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}
