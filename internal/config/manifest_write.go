package config

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// WriteManifest writes a manifest as [ParseManifest] reads it. YAML has no
// bytes that aren't UTF-8: what has them in its name is left out, and returned.
func WriteManifest(w io.Writer, m hierarchy.Manifest) (leftOut []string, err error) {
	b := &manifestWriter{}
	d := &m.Document
	lines := append(b.text("manager", m.Manager), b.section("system", b.level(&d.System))...)
	lines = append(lines, b.levels(d.Resources)...)
	lines = append(lines, named(b, "tiers", d.Tiers, func(t hierarchy.Tier) []string {
		return append(b.level(&t.Level), b.levels(t.Resources)...)
	})...)
	lines = append(lines, named(b, "entities", d.Entities, b.entity)...)
	if len(lines) == 0 {
		lines = []string{"{}"}
	}
	if _, err := io.WriteString(w, strings.Join(lines, "\n")+"\n"); err != nil {
		return nil, fmt.Errorf("writing the manifest: %w", err)
	}
	return b.leftOut, nil
}

// manifestWriter writes mappings of texts, line by line: a manifest has nothing
// else. It remembers what it has to leave out.
type manifestWriter struct{ leftOut []string }

var (
	// plainText is what needs no quotes: names, and limits.
	plainText = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./-]*$|^[0-9]+/[0-9a-z]+(:[0-9]+)?$`)
	// special are words that YAML, if not ours, has another meaning for.
	special = regexp.MustCompile(`(?i)^(null|true|false|yes|no|on|off|y|n)$`)
)

// scalar is a text in YAML. A string of JSON is one too, and in one line
// whatever it has.
func scalar(s string) string {
	if plainText.MatchString(s) && !special.MatchString(s) {
		return s
	}
	quoted, err := json.Marshal(s)
	if err != nil { // every text can be a string of JSON
		return ""
	}
	return string(quoted)
}

// text is a key and its value, unless that is empty.
func (b *manifestWriter) text(key, value string) []string {
	switch {
	case value == "":
		return nil
	case !utf8.ValidString(value):
		b.leftOut = append(b.leftOut, value)
		return nil
	}
	return []string{scalar(key) + ": " + scalar(value)}
}

// section is a key and what is below it, unless that is nothing.
func (b *manifestWriter) section(key string, below []string) []string {
	if len(below) == 0 {
		return nil
	}
	lines := append(make([]string, 0, len(below)+1), scalar(key)+":")
	for _, l := range below {
		lines = append(lines, "  "+l)
	}
	return lines
}

// named is a section whose keys are names that people chose.
func named[T any](b *manifestWriter, key string, m map[string]T, value func(T) []string) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if !utf8.ValidString(name) {
			b.leftOut = append(b.leftOut, name)
			continue
		}
		below := b.section(name, value(m[name]))
		if below == nil {
			below = []string{scalar(name) + ": {}"}
		}
		lines = append(lines, below...)
	}
	return b.section(key, lines)
}

func (b *manifestWriter) levels(m map[string]hierarchy.Level) []string {
	return named(b, "resources", m, func(l hierarchy.Level) []string { return b.level(&l) })
}

func (b *manifestWriter) level(l *hierarchy.Level) []string {
	var limits []string
	for _, limit := range l.Limits {
		limits = append(limits, b.text(limit.Name, limit.Text())...)
	}
	lines := b.section("limits", limits)
	if l.Mode != ratelimit.ModeUnset {
		lines = append(lines, "mode: "+l.Mode.String())
	}
	if l.OnUnavailable != ratelimit.FallbackUnset {
		lines = append(lines, "on_unavailable: "+l.OnUnavailable.String())
	}
	return lines
}

func (b *manifestWriter) entity(e hierarchy.Entity) []string {
	lines := b.text("display_name", e.DisplayName)
	lines = append(lines, b.text("tier", e.Tier)...)
	lines = append(lines, b.text("parent", e.Parent)...)
	if e.Cascade {
		lines = append(lines, "cascade: true")
	}
	var metadata []string
	for _, k := range slices.Sorted(maps.Keys(e.Metadata)) {
		if e.Metadata[k] == "" { // a manifest has no empty values
			b.leftOut = append(b.leftOut, k)
		}
		metadata = append(metadata, b.text(k, e.Metadata[k])...)
	}
	lines = append(lines, b.section("metadata", metadata)...)
	lines = append(lines, b.level(&e.Level)...)
	return append(lines, b.levels(e.Resources)...)
}
