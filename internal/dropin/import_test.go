package dropin_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/dropin"
	"github.com/extauthz/extauthz/internal/dropin/dropintest"
	"github.com/extauthz/extauthz/pkg/descriptors"
)

// imported are files as our own configuration, which has no fault and nothing
// doubtful in it.
func imported(t rapid.TB, files []dropin.File) (*config.Config, dropin.Imported) {
	t.Helper()
	got := dropin.Import(files)
	c, report := config.Parse("imported.yaml", []byte(got.Text), config.Options{})
	if c == nil || len(report.Problems) > 0 {
		t.Fatalf("%s\n%s", report, got.Text)
	}
	return c, got
}

// TestImportIsEquivalent compares what is imported with what it is of: the same
// descriptors are charged, by the same limits, and meet in the same buckets.
func TestImportIsEquivalent(t *testing.T) {
	hits := 0
	rapid.Check(t, func(t *rapid.T) {
		var next uint32
		files := []dropin.File{{Domain: dropin.ReadWith("d"), Descriptors: dropin.Tree(t, 2, &next)}}
		rules, faults, _ := dropin.Compile(files, dropin.Options{Namespace: "default"})
		if rules == nil {
			t.Fatal(faults)
		}
		c, _ := imported(t, files)
		buckets := map[string]string{} // :: theirs -> ours
		for range 8 {
			entries := dropin.Request(t, files[0].Descriptors)
			if isOdd(entries) {
				continue
			}
			request := &descriptors.Request{Protocol: descriptors.ProtocolRateLimit, Domain: "d", Entries: entries, Hits: 1}
			want, got := rules.Evaluate(request), c.Rules.Evaluate(request)
			if len(want.Charges) != len(got.Charges) {
				t.Fatalf("%v: %+v, want %+v\n%s", entries, got, want, dropin.Import(files).Text)
			}
			if len(want.Charges) == 0 {
				continue
			}
			hits++
			w, g := &want.Charges[0], &got.Charges[0]
			if w.Query.DefaultLimits[0] != g.Query.DefaultLimits[0] || !g.Independent {
				t.Fatalf("%v: %+v, want %+v\n%s", entries, g, w, dropin.Import(files).Text)
			}
			for theirs, ours := range buckets {
				if (theirs == w.Query.Key.ID()) != (ours == g.Query.Key.ID()) {
					t.Fatalf("%v: bucket %s of %s, and %s of %s", entries, g.Query.Key.ID(), w.Query.Key.ID(), ours, theirs)
				}
			}
			buckets[w.Query.Key.ID()] = g.Query.Key.ID()
		}
	})
	fewest := 100
	if testing.Short() { // which tries a fifth of the cases
		fewest = 20
	}
	if hits < fewest {
		t.Errorf("only %d descriptors had a limit", hits)
	}
}

// isOdd reports whether a value is empty, which is remarked upon, or could be a
// pattern itself, which there comes before what the pattern matches.
func isOdd(entries []descriptors.Entry) bool {
	for _, e := range entries {
		if e.Value == "" || strings.Contains(e.Value, "*") {
			return true
		}
	}
	return false
}

// TestImportOfExamples: the examples can be imported, with remarks on those that
// say what our rules don't.
func TestImportOfExamples(t *testing.T) {
	remarks := map[string]int{
		"03-most-specific": 1, "06-shadow": 1, "07-replaces": 1, "08-detailed-metric": 1, "10-value-to-metric": 2,
		"11-share-threshold": 1, "20-units": 2, "21-quota": 4, "22-metrics": 18,
	}
	for _, e := range dropintest.Load(t) {
		folder := t.TempDir()
		dropintest.Write(t, folder, e)
		files, report := config.ReadRatelimit(folder, dropin.Options{Namespace: "default"})
		if report.Errors() > 0 {
			t.Fatal(report)
		}
		_, got := imported(t, files)
		if got.Remarks != remarks[e.Name] || strings.Count(got.Text, "  # ") != remarks[e.Name] {
			t.Errorf("%s: %d remarks, want %d\n%s", e.Name, got.Remarks, remarks[e.Name], got.Text)
		}
	}
}

// TestImportedNames: rules have names of their own, whatever they are made of.
func TestImportedNames(t *testing.T) {
	limit := &dropin.RateLimit{Unit: dropin.ReadWith("day"), RequestsPerUnit: dropin.Number{N: 1, Said: true}}
	var all []dropin.Descriptor
	for _, d := range [][2]string{{"a_b", ""}, {"a", "b"}, {strings.Repeat("é", 40), "1"}, {strings.Repeat("é", 40), "2"}, {"it's\n", "\"${x}\"\t\\"}, {"$", "${"}} {
		all = append(all, dropin.Descriptor{Key: dropin.ReadWith(d[0]), Value: dropin.ReadWith(d[1]), RateLimit: limit})
	}
	c, got := imported(t, []dropin.File{{Domain: dropin.ReadWith("d'x"), Descriptors: all}})
	for i, d := range all {
		request := &descriptors.Request{
			Protocol: descriptors.ProtocolRateLimit, Domain: "d'x", Hits: 1,
			Entries: []descriptors.Entry{{Key: d.Key.Value, Value: fmt.Sprint(d.Value.Value, map[bool]string{true: "any"}[d.Value.Value == ""])}},
		}
		if out := c.Rules.Evaluate(request); len(out.Charges) != 1 {
			t.Errorf("descriptor %d: %+v\n%s", i, out, got.Text)
		}
	}
}
