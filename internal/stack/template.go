package stack

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/extauthz/extauthz/infra"
)

// parameter is what the template says of one of its parameters.
type parameter struct {
	Type           string   `yaml:"Type"`
	Default        string   `yaml:"Default"`
	AllowedValues  []string `yaml:"AllowedValues"`
	AllowedPattern string   `yaml:"AllowedPattern"`
	MinValue       *int     `yaml:"MinValue"`
	MaxValue       *int     `yaml:"MaxValue"`
}

// parameters are those of the template, which is read once: to be read alone.
var parameters = sync.OnceValue(func() map[string]parameter {
	var t struct {
		Parameters map[string]parameter `yaml:"Parameters"`
	}
	// It is in this program, and tested.
	_ = yaml.Unmarshal([]byte(infra.Template), &t)
	return t.Parameters
})

// Check refuses a value that the template's parameter of a name doesn't take.
// The error matches [ErrInvalid].
func Check(name, value string) error {
	p, ok := parameters()[name]
	if !ok {
		return &Error{Class: ErrInvalid, What: fmt.Sprintf("the template has no parameter %s", name)}
	}
	hint, right := "", true
	switch {
	case len(p.AllowedValues) > 0:
		right, hint = slices.Contains(p.AllowedValues, value), "one of "+strings.Join(p.AllowedValues, ", ")
	case p.Type == "Number":
		n, err := strconv.Atoi(value)
		low, high := 0, math.MaxInt
		hint = "a whole number"
		if p.MinValue != nil {
			low = *p.MinValue
			hint += fmt.Sprintf(" from %d", low)
		}
		if p.MaxValue != nil {
			high = *p.MaxValue
			hint += fmt.Sprintf(" to %d", high)
		}
		right = err == nil && low <= n && n <= high
	case p.AllowedPattern != "":
		matched, err := regexp.MatchString(p.AllowedPattern, value)
		right, hint = err == nil && matched, "it matches "+p.AllowedPattern
	}
	if !right {
		return &Error{Class: ErrInvalid, What: fmt.Sprintf("%s can't be %q", name, value), Hint: hint}
	}
	return nil
}

const (
	unstamped = "SchemaVersion: 1}"
	stamped   = "SchemaVersion: 1, Version: %q}"
)

// template is what a stack is made of, stamped with the version of the program
// that makes it.
func template(version string) string {
	if version == "" {
		return infra.Template
	}
	return strings.Replace(infra.Template, unstamped, fmt.Sprintf(stamped, version), 1)
}

// stamp finds the version in a template.
var stamp = regexp.MustCompile(`SchemaVersion: \d+, Version: "([^"]*)"\}`)

// compare says whether a template is this program's, and by which version of
// the program it was put there; empty: not known.
func compare(body string) (same bool, version string) {
	if m := stamp.FindStringSubmatch(body); m != nil {
		version = m[1]
	}
	return body == template(version), version
}
