package descriptors

import (
	"net/url"
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

// queryParams are the first values of all parameters.
func queryParams(path string) map[string]string {
	params := map[string]string{}
	for query := queryOf(path); query != ""; {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		name = unescaped(name)
		if _, again := params[name]; !again {
			params[name] = unescaped(value)
		}
	}
	return params
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
