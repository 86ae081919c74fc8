package infra_test

import (
	"path"
	"slices"
	"strings"
)

// call is one thing that is asked of DynamoDB: a transaction is several. Keys
// are the partition keys that it names; a scan names none.
type call struct {
	action string
	keys   []string
	index  bool
}

// tagged is the variable of the principal's tag in the policies.
const tagged = "${aws:PrincipalTag/extauthz:namespace}"

// allows evaluates a policy of the template as IAM does, for a principal with a
// tag, or, where that is empty, without.
func allows(document any, tag string, c call) bool {
	allowed := false
	for _, s := range document.(map[string]any)["Statement"].([]any) {
		statement := s.(map[string]any)
		if !slices.Contains(texts(statement["Action"]), "dynamodb:"+c.action) || !of(statement["Resource"], c.index) ||
			!holds(statement["Condition"], tag, c.keys) {
			continue
		}
		if statement["Effect"] == "Deny" {
			return false
		}
		allowed = true
	}
	return allowed
}

func texts(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	var all []string
	for _, x := range v.([]any) {
		all = append(all, x.(string))
	}
	return all
}

// of reports whether a resource is the table, or its indexes.
func of(resource any, index bool) bool {
	want := "Table.Arn" // of !GetAtt
	if index {
		want = "${Table.Arn}/index/*" // of !Sub
	}
	return slices.Contains(texts(resource), want)
}

// holds evaluates a condition. ForAllValues is true of no values, so that Null
// has to say that there are some.
func holds(condition any, tag string, keys []string) bool {
	if condition == nil {
		return true
	}
	for operator, what := range condition.(map[string]any) {
		value := what.(map[string]any)["dynamodb:LeadingKeys"]
		switch operator {
		case "Null":
			if value != "false" || len(keys) == 0 {
				return false
			}
		case "ForAllValues:StringLike":
			patterns := texts(value)
			if slices.ContainsFunc(keys, func(k string) bool { return !matches(patterns, tag, k) }) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// matches is StringLike: * is any text, slashes too.
func matches(patterns []string, tag, key string) bool {
	flat := func(s string) string { return strings.ReplaceAll(s, "/", "\x00") }
	for _, p := range patterns {
		if strings.Contains(p, tagged) && tag == "" {
			continue // a variable without a value matches nothing
		}
		p = strings.ReplaceAll(p, tagged, tag)
		if ok, err := path.Match(flat(p), flat(key)); err == nil && ok {
			return true
		}
	}
	return false
}
