// Package dropintest has examples of envoyproxy/ratelimit's configuration, each
// with calls and the answers to them: those that its documentation numbers, by
// the same number and written anew, and a few more. Tests run them against the
// rules, against what they are imported as, and against the service.
//
// It imports the standard library and what reads txtar. Start reading at Load.
package dropintest

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

//go:embed examples/*.txtar
var files embed.FS

// Example is a configuration, calls in their order, and what becomes of them.
type Example struct {
	Name  string
	Files []txtar.File // of the configuration
	Steps []Step
	// Metrics are what the calls are counted by, beside their rules: each a rule,
	// entries, a verdict and a number.
	Metrics []string
}

// Step is a call, made some times, or time that passes.
type Step struct {
	Line        string // as it is written
	Pass        time.Duration
	Times       int
	Domain      string
	Descriptors []Descriptor
	Overall     string   // OK or OVER_LIMIT, each time
	Statuses    []string // what each descriptor is told, the last time
}

// Descriptor is one of a call's.
type Descriptor struct {
	Entries [][2]string // keys and values
	Hits    *uint64
	// Limit is one that comes with the descriptor: its number and unit.
	Limit     bool
	LimitOf   uint32
	LimitUnit string
}

// Load are all examples.
func Load(t testing.TB) []Example {
	t.Helper()
	names, err := fs.Glob(files, "examples/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	all := make([]Example, len(names))
	for i, name := range names {
		data, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[i].Name = strings.TrimSuffix(filepath.Base(name), ".txtar")
		for _, f := range txtar.Parse(data).Files {
			switch f.Name {
			case "metrics":
				all[i].Metrics = strings.Split(strings.TrimSpace(string(f.Data)), "\n")
			case "calls":
				if all[i].Steps, err = steps(string(f.Data)); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			default:
				all[i].Files = append(all[i].Files, f)
			}
		}
	}
	return all
}

// Write writes the configuration of some examples into a folder.
func Write(t testing.TB, folder string, examples ...Example) {
	t.Helper()
	for _, e := range examples {
		for _, f := range e.Files {
			if err := os.WriteFile(filepath.Join(folder, e.Name+"-"+f.Name), f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// steps reads lines of calls.
func steps(text string) ([]Step, error) {
	var all []Step
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		step := Step{Line: line, Times: 1}
		var err error
		if wait, ok := strings.CutPrefix(line, "pass "); ok {
			step.Pass, err = time.ParseDuration(wait)
		} else {
			err = step.call(line)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		all = append(all, step)
	}
	return all, nil
}

var callLine = regexp.MustCompile(`^(?:(\d+)x )?(\S+) (.+) -> (OK|OVER_LIMIT): (.+)$`)

func (s *Step) call(line string) error {
	m := callLine.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("it is no call")
	}
	if m[1] != "" {
		s.Times, _ = strconv.Atoi(m[1]) // they are digits
	}
	s.Domain, s.Overall = m[2], m[4]
	for text := range strings.SplitSeq(m[3], " ; ") {
		d, err := descriptor(text)
		if err != nil {
			return err
		}
		s.Descriptors = append(s.Descriptors, d)
	}
	s.Statuses = strings.Split(m[5], " ; ")
	return nil
}

func descriptor(text string) (Descriptor, error) {
	words := strings.Fields(text)
	d := Descriptor{}
	for entry := range strings.SplitSeq(words[0], ",") {
		key, value, _ := strings.Cut(entry, "=")
		d.Entries = append(d.Entries, [2]string{key, value})
	}
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "hits":
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return d, err
			}
			d.Hits = &n
		case "limit":
			d.Limit = true
			if _, err := fmt.Sscanf(value, "%d/%s", &d.LimitOf, &d.LimitUnit); err != nil {
				return d, err
			}
		default:
			return d, fmt.Errorf("%q is nothing that a descriptor has", word)
		}
	}
	return d, nil
}
