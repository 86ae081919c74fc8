package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/extauthz/extauthz/pkg/embedstore"
)

// documented are the fields of each section of docs/cli-json.md, and whether
// they may be left out.
func documented(t *testing.T) map[string]map[string]bool {
	t.Helper()
	f, err := os.Open("../../docs/cli-json.md")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	row := regexp.MustCompile("^\\| `([^`]+)` \\| (.*)\\|$")
	sections := map[string]map[string]bool{}
	section := ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "## "); ok {
			section, sections[name] = name, map[string]bool{}
		} else if m := row.FindStringSubmatch(lines.Text()); m != nil {
			sections[section][m[1]] = strings.HasPrefix(m[2], "*maybe*")
		}
	}
	return sections
}

// paths are the fields of a value of JSON.
func paths(v any, at string, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			paths(inner, strings.TrimPrefix(at+"."+name, "."), into)
		}
	case []any:
		into[at+"[]"] = true
		for _, inner := range v {
			paths(inner, at+"[]", into)
		}
	default:
		into[at] = true
	}
}

// covers reports whether a documented field stands for a printed one, itself or
// what is in it.
func covers(field, printed string) bool {
	if prefix, ok := strings.CutSuffix(field, ".*"); ok {
		return strings.HasPrefix(printed, prefix+".")
	}
	return printed == field || strings.HasPrefix(printed, field+".") || strings.HasPrefix(printed, field+"[]")
}

// What is printed as JSON is what is documented: no field is missing in the
// document, and no field that is promised isn't printed.
func TestJSONIsAsDocumented(t *testing.T) {
	address := serveAdmin(t, embedstore.New(embedstore.Config{}))
	dir := t.TempDir()
	manifest, theirs := filepath.Join(dir, "m.yaml"), filepath.Join(dir, "theirs.yaml")
	for path, text := range map[string]string{
		manifest: "manager: ci\nsystem: {limits: {rpm: 1/min}}\nresources: {r: {limits: {rpm: 2/min}}}\n" +
			"entities: {e: {mode: bypass, resources: {r: {limits: {rpm: 3/min}}}}, new: {tier: t}}\n",
		theirs: "manager: them\nentities: {e: {resources: {r: {limits: {rpm: 4/min}}}}}\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sections := documented(t)
	seen := map[string]map[string]bool{}
	for _, c := range []struct {
		section, line string
		status        int
	}{
		{"error", "namespace show default", exitFailed},
		{"item", "system set-defaults -l rpm:1 --on-unavailable allow", exitOK},
		{"error", "resource set-defaults r -l x", exitFailed},
		{"error", "entity show nobody", exitFailed},
		{"item", "entity create e --display-name d --tier t --parent p --cascade --metadata k=v --as boss", exitOK},
		{"item", "entity set-limits e -r r -l rpm:1", exitOK},
		{"item", "entity disable e -r r", exitOK},
		{"items", "entity show e", exitOK},
		{"items", "resource list", exitOK},
		{"plan", "limits plan -f " + manifest, exitOK},
		{"plan", "limits apply -y -f " + manifest, exitOK},
		{"plan", "limits plan -f " + theirs, exitFailed},
		{"item", "system get-defaults", exitOK},
		{"item", "resource delete-defaults r -y", exitOK},
		{"export", "limits export --manager ci", exitOK},
		{"balance", "balance new other", exitOK},
		{"operated", "entity reset new -r other", exitOK},
		{"denials", "denials list --limit 3", exitOK},
		{"top", "top --by denials", exitOK},
		{"top", "top --by consumption", exitOK},
		{"events", "audit list", exitOK},
		{"namespaces", "namespace register a b", exitOK},
		{"namespaces", "namespace list", exitOK},
		{"namespace", "namespace show a", exitOK},
		{"namespace", "namespace delete a -y", exitOK},
		{"namespaces", "namespace orphans", exitOK},
		{"items", "entity delete e -y", exitOK},
		{"cost", "cost", exitOK},
	} {
		var stdout, stderr bytes.Buffer
		args := append(strings.Fields(c.line), "-o", "json")
		if c.section != "cost" { // which asks nobody
			args = append(args, "--server", address)
		}
		if got := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr); got != c.status {
			t.Fatalf("%s: %d\n%s", c.line, got, stderr.String())
		}
		out, section := stdout.Bytes(), c.section
		if section == "error" {
			out = stderr.Bytes()
		}
		var v any
		if err := json.Unmarshal(out, &v); err != nil {
			t.Fatalf("%s: %v\n%s", c.line, err, out)
		}
		printed := map[string]bool{}
		paths(v, "", printed)
		compare(t, c.line, sections[section], printed)
		if seen[section] == nil {
			seen[section] = map[string]bool{}
		}
		maps.Copy(seen[section], printed)
	}
	for section, printed := range seen {
		for field := range sections[section] {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(printed)), func(p string) bool { return covers(field, p) }) {
				t.Errorf("%s: nothing has printed %s, so that nothing holds it", section, field)
			}
		}
	}
}

func compare(t *testing.T, line string, fields, printed map[string]bool) {
	t.Helper()
	for p := range printed {
		if strings.HasSuffix(p, "[]") {
			continue // an empty list has no fields
		}
		if !slices.ContainsFunc(slices.Collect(maps.Keys(fields)), func(f string) bool { return covers(f, p) }) {
			t.Errorf("%s prints %s, which isn't documented", line, p)
		}
	}
	for f, maybe := range fields {
		list, _, inList := strings.Cut(f, "[]")
		if maybe || inList && printed[list+"[]"] {
			continue
		}
		if !slices.ContainsFunc(slices.Collect(maps.Keys(printed)), func(p string) bool { return covers(f, p) }) {
			t.Errorf("%s doesn't print %s", line, f)
		}
	}
}
