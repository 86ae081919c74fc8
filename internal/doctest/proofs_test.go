package doctest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestProofsAreThere looks for each test that docs/proofs.md names, in the
// folder that it names before.
func TestProofsAreThere(t *testing.T) {
	text, err := os.ReadFile("../../docs/proofs.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	folder := ""
	for _, word := range regexp.MustCompile("`(?:cmd|infra|internal|pkg|integration)[a-z/]*`|\\bTest[A-Z]\\w+").FindAllString(string(text), -1) {
		if strings.HasPrefix(word, "`") {
			folder = strings.Trim(word, "`")
			continue
		}
		named++
		if !hasTest(t, filepath.Join("../..", folder), word) {
			t.Errorf("docs/proofs.md: %s has no %s", folder, word)
		}
	}
	if named < 30 {
		t.Errorf("only %d tests are named", named)
	}
}

// hasTest reports whether a folder has a test of that name.
func hasTest(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}
