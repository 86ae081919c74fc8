package doctest

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// figures are the cells with numbers of the table under a heading.
func figures(t *testing.T, text, heading string) []string {
	t.Helper()
	_, section, ok := strings.Cut(text, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("README.md has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var all []string
	number := regexp.MustCompile(`^[0-9]`)
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|-") {
			continue
		}
		for cell := range strings.SplitSeq(strings.Trim(line, "|\n"), "|") {
			if cell = strings.TrimSpace(cell); number.MatchString(cell) {
				all = append(all, cell)
			}
		}
	}
	return all
}

// Figures of the README are those of a committed table: each is a cell of one in
// docs/benchmarks.md, where it may have its spread behind it.
func TestFiguresAreMeasured(t *testing.T) {
	measured := read(t, filepath.Join(root, "docs/benchmarks.md"))
	found := figures(t, read(t, filepath.Join(root, "README.md")), "What it takes")
	if len(found) == 0 {
		t.Error("README.md has no figures of what it takes")
	}
	for _, figure := range found {
		if !regexp.MustCompile(`\| ` + regexp.QuoteMeta(figure) + `( \([^|]*\))? \|`).MatchString(measured) {
			t.Errorf("README.md: %s is in no table of docs/benchmarks.md", figure)
		}
	}
}
