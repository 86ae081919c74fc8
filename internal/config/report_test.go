package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/extauthz/extauthz/internal/config"
)

func TestReport(t *testing.T) {
	const text = "rules:\n  - {name: a, entity: \"${descriptor.x}\"}\nno_match: x\nlimits: {entities: {a: {tier: b}}}\n"
	c, report := config.Parse("x.yaml", []byte(text), config.Options{})
	want := []string{
		`x.yaml:3:11: "x" is not one of allow, deny`,
		`x.yaml:4:31: warning: there is no tier "b"`,
	}
	if diff := cmp.Diff(want, report.Lines()); diff != "" || c != nil {
		t.Errorf("-want +got:\n%s", diff)
	}
	var invalid *config.InvalidError
	if err := report.Err(); !errors.As(err, &invalid) || err.Error() != want[0] {
		t.Errorf("the error is %v", err)
	}
	if report.Errors() != 1 || report.Warnings() != 1 {
		t.Errorf("%d errors, %d warnings", report.Errors(), report.Warnings())
	}
	_, report = config.Parse("x.yaml", []byte("a: b\nno_match: x\n"), config.Options{})
	if got := report.Err().Error(); got != `x.yaml:1:1: unknown key "a" in the file (and 1 more)` {
		t.Error(got)
	}
}

// TestReportIsBounded holds that a hopeless file is told of in few words, and
// counted whole.
func TestReportIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "a%d: b\n", i)
	}
	_, report := config.Parse("x.yaml", []byte(b.String()), config.Options{})
	lines := report.Lines()
	if len(lines) != 1001 || lines[1000] != "and 4000 more" || !strings.HasSuffix(report.String(), "\nand 4000 more\n") {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
	_, report = config.Parse("x.yaml", []byte(strings.Repeat("- !x\n", 5000)), config.Options{})
	if report.Errors() < 5000 || len(report.Problems) != 1000 {
		t.Errorf("%d errors, %d kept", report.Errors(), len(report.Problems))
	}
}

// TestLargeFile holds that many entities load, with a warning, in time in
// proportion to their number: eight times as many take far less than the 64
// times as long that a square would.
func TestLargeFile(t *testing.T) {
	const n = 2_500
	var small, large time.Duration
	linear := false
	for tries := 0; !linear && tries < 5; tries++ { // others may need the machine
		small, large = load(t, n), load(t, 8*n)
		linear = large <= 30*small+100*time.Millisecond
	}
	if !linear {
		t.Errorf("%d entities take %s, 8 times as many %s", n, small, large)
	}
}

// load loads n entities and tells how long it takes.
func load(t *testing.T, n int) time.Duration {
	t.Helper()
	var b strings.Builder
	b.WriteString("limits:\n  tiers: {t: {limits: {rpm: 1/min}}}\n  entities:\n")
	for i := range n {
		fmt.Fprintf(&b, "    e%d: {tier: t, parent: e%d, cascade: false, resources: {r: {limits: {rpm: %d/min}}}}\n", i, i+1, i+1)
	}
	start := time.Now()
	c, report := config.Parse("x.yaml", []byte(b.String()), config.Options{})
	took := time.Since(start)
	if c == nil || len(c.Limits.Entities) != n || len(report.Problems) != 1 {
		t.Fatalf("%.1000s", report)
	}
	return took
}

// FuzzLoad holds that no text makes loading fail otherwise than by a report of
// places that are in the text.
func FuzzLoad(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		c, report := config.Parse("x.yaml", text, config.Options{})
		if (c == nil) != (report.Err() != nil) {
			t.Fatalf("a configuration: %t; %v", c != nil, report.Err())
		}
		lines := strings.Count(string(text), "\n") + 1
		for _, p := range report.Problems {
			if p.Message == "" || p.Pos.Line > lines || p.Pos.Line > 0 && p.Pos.Column < 1 {
				t.Errorf("%+v", p)
			}
			if strings.ContainsAny(p.String(), "\n\x1b\x00") {
				t.Errorf("more than a line: %q", p.String())
			}
		}
		if c != nil && c.Rules == nil {
			t.Error("no rules")
		}
	})
}

func seed(f *testing.F) {
	f.Helper()
	archives, err := filepath.Glob("testdata/broken/*.txtar")
	if err != nil || len(archives) == 0 {
		f.Fatalf("no archives: %v", err)
	}
	for _, archive := range archives {
		a, err := txtar.ParseFile(archive)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			f.Add(file.Data)
		}
	}
	examples, err := filepath.Glob("testdata/examples/*.yaml")
	if err != nil || len(examples) == 0 {
		f.Fatalf("no examples: %v", err)
	}
	for _, name := range append(examples, example) {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
}
