package doctest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/extauthz/extauthz/internal/config"
)

const root = "../.."

// block is a fenced piece of a document.
type block struct {
	file, kind, text string
	line             int
}

// blocks are the fenced pieces of all documents, but for those of the design,
// which also speaks of what is not built.
func blocks(t *testing.T) []block {
	t.Helper()
	var out []block
	for _, f := range documents(t) {
		text := read(t, f)
		fence := regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")
		for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
			out = append(out, block{
				file: f, kind: text[m[2]:m[3]], text: text[m[4]:m[5]],
				line: 2 + strings.Count(text[:m[0]], "\n"),
			})
		}
	}
	return out
}

func documents(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md", "envoy-examples/*/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if f != filepath.Join(root, "docs/design.md") {
				out = append(out, f)
			}
		}
	}
	return out
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestConfigurationsLoad(t *testing.T) {
	n := 0
	for _, b := range blocks(t) {
		if b.kind != "yaml" {
			continue
		}
		n++
		file := filepath.Join(t.TempDir(), "extauthz.yaml")
		if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, report := config.Load(file, config.Options{}); report.Err() != nil {
			t.Errorf("%s:%d: %v", b.file, b.line, report.Err())
		}
	}
	if n == 0 {
		t.Error("no configuration was found")
	}
}

// A program in the documents is part of one that is compiled and run.
func TestProgramsRun(t *testing.T) {
	programs := ""
	for _, f := range []string{"example_test.go", "open_test.go", "pkg/ratelimit/example_test.go"} {
		programs += squeeze(read(t, filepath.Join(root, f)))
	}
	for _, b := range blocks(t) {
		if b.kind == "go" && !strings.Contains(programs, squeeze(b.text)) {
			t.Errorf("%s:%d: in none of the programs that are run", b.file, b.line)
		}
	}
}

// squeeze takes indentation away.
func squeeze(s string) string {
	return regexp.MustCompile(`(?m)^[ \t]+`).ReplaceAllString(s, "")
}

// A command in the documents is a target of the Makefile, or a line of a test
// script.
func TestCommandsRun(t *testing.T) {
	makefile := read(t, filepath.Join(root, "Makefile"))
	scripts := ""
	files, err := filepath.Glob(filepath.Join(root, "cmd/extauthz/testdata/*/*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		scripts += read(t, f) + "\n"
	}
	n := 0
	for _, b := range blocks(t) {
		if b.kind != "sh" {
			continue
		}
		for line := range strings.Lines(b.text) {
			command, _, _ := strings.Cut(strings.TrimSpace(line), "  #")
			n++
			if target, ok := strings.CutPrefix(command, "make "); ok {
				for _, name := range strings.Fields(target) {
					if !strings.Contains(name, "=") && !strings.Contains(makefile, "\n"+name+":") {
						t.Errorf("%s:%d: the Makefile has no target %s", b.file, b.line, name)
					}
				}
			} else if strings.HasPrefix(command, "aws ") && strings.HasSuffix(b.file, "/operations.md") {
				continue // run by infra's TestAWSCommandsRun
			} else if !strings.Contains(scripts, command) {
				t.Errorf("%s:%d: no test script runs %s", b.file, b.line, command)
			}
		}
	}
	if n == 0 {
		t.Error("no command was found")
	}
}

// A link to a file of the repository leads somewhere.
func TestLinksLead(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, f := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, f), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(f), m[1])); err != nil {
				t.Errorf("%s: %s leads nowhere", f, m[1])
			}
		}
	}
}
