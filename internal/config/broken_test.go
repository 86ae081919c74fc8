package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/extauthz/extauthz/internal/config"
)

var update = flag.Bool("update", false, "write what the broken files report as what is wanted")

// TestBroken holds the exact text of what is reported of broken files: each
// NAME.yaml of the archives has a NAME.want behind it.
func TestBroken(t *testing.T) {
	archives, err := filepath.Glob("testdata/broken/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	count := 0
	for _, archive := range archives {
		a, err := txtar.ParseFile(archive)
		if err != nil {
			t.Fatal(err)
		}
		wanted := map[string]string{}
		for _, f := range a.Files {
			wanted[f.Name] = string(f.Data)
		}
		var after []txtar.File
		for _, f := range a.Files {
			name, ok := strings.CutSuffix(f.Name, ".yaml")
			if !ok {
				continue
			}
			count++
			c, report := config.Parse(f.Name, f.Data, config.Options{})
			if c != nil || report.Err() == nil {
				t.Errorf("%s: %s loads", archive, f.Name)
			}
			got := report.String()
			after = append(after, f, txtar.File{Name: name + ".want", Data: []byte(got)})
			if *update {
				continue
			}
			if diff := cmp.Diff(wanted[name+".want"], got); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", archive, f.Name, diff)
			}
		}
		if *update {
			if err := os.WriteFile(archive, txtar.Format(&txtar.Archive{Comment: a.Comment, Files: after}), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if count < 40 {
		t.Errorf("only %d broken files", count)
	}
}
