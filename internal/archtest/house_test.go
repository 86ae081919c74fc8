package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// maxLines is how long a Go file may be.
const maxLines = 500

// notOurs are the folders that hold what is fetched, built or kept by a tool: not
// the project's text.
var notOurs = map[string]bool{".git": true, ".tools": true, "bin": true, "dist": true, ".idea": true, ".vscode": true}

// machinePath finds a path that exists on one machine alone.
var machinePath = regexp.MustCompile(`(?:^|[\s"'=(:` + "`" + `])/(?:root|home|work|Users)/`)

// root is the module's folder: tests run in their package's.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// files lists the project's files by their path in the module, with slashes.
func files(t *testing.T) []string {
	t.Helper()
	var all []string
	err := fs.WalkDir(os.DirFS(root(t)), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if notOurs[path] {
				return fs.SkipDir
			}
			return nil
		}
		if entry.Type().IsRegular() && !notOurs[path] { // .git is a file in a worktree
			all = append(all, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestFilesAreShort(t *testing.T) {
	for _, file := range files(t) {
		if !strings.HasSuffix(file, ".go") {
			continue
		}
		if n := bytes.Count(read(t, file), []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it by what its parts are for", file, n, maxLines)
		}
	}
}

func TestNoMachinePaths(t *testing.T) {
	for _, file := range files(t) {
		text := read(t, file)
		if bytes.IndexByte(text, 0) >= 0 {
			continue // not text
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			if machinePath.Match(line) {
				t.Errorf("%s:%d names a path of one machine: %s", file, i+1, bytes.TrimSpace(line))
			}
		}
	}
}

func TestMachinePathPattern(t *testing.T) {
	home := "/ho" + "me/"
	for text, want := range map[string]bool{
		"cp " + home + "me/x y":          true,
		`path = "` + home + `me"`:        true,
		"https://example.com" + home:     false,
		"~" + home + " and ./x":          false,
		"GET /orders" + home + "of/mine": false,
	} {
		if got := machinePath.MatchString(text); got != want {
			t.Errorf("machinePath in %q: %t, want %t", text, got, want)
		}
	}
}

// TestPackagesSayWhatTheyAreFor wants a package comment in a file of each
// package, one that begins as Go's do.
func TestPackagesSayWhatTheyAreFor(t *testing.T) {
	documented := map[string]bool{}
	for _, file := range files(t) {
		if !strings.HasSuffix(file, ".go") || strings.Contains(file, "testdata/") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), file), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		dir := filepath.ToSlash(filepath.Dir(file))
		documented[dir] = documented[dir] || saysWhatFor(parsed)
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment: what it is for, what it may import, where to start reading", dir)
		}
	}
}

func saysWhatFor(file *ast.File) bool {
	text := file.Doc.Text()
	if file.Name.Name == "main" {
		return strings.HasPrefix(text, "Command ") || strings.HasPrefix(text, "Package main ")
	}
	return strings.HasPrefix(text, "Package "+file.Name.Name+" ")
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), file))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
