package config_test

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/dropin"
)

// TestRatelimitFaults holds the exact text of what is reported of folders of
// envoyproxy/ratelimit's files, which begins with that service's own words.
func TestRatelimitFaults(t *testing.T) {
	const archive = "testdata/ratelimit/faults.txtar"
	a, err := txtar.ParseFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir()) // so that paths are as in the archive
	wanted := map[string]string{}
	var folders []string
	var after []txtar.File
	for _, f := range a.Files {
		if name, ok := strings.CutSuffix(f.Name, ".want"); ok {
			wanted[name] = string(f.Data)
			continue
		}
		after = append(after, f)
		folder := path.Dir(f.Name)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		if len(folders) == 0 || folders[len(folders)-1] != folder {
			folders = append(folders, folder)
		}
	}
	for _, folder := range folders {
		rules, report := config.LoadRatelimit(folder, dropin.Options{Namespace: "default"})
		if (rules == nil) != (report.Errors() > 0) {
			t.Errorf("%s: %d errors, rules %v", folder, report.Errors(), rules)
		}
		got := report.String()
		after = append(after, txtar.File{Name: folder + ".want", Data: []byte(got)})
		if diff := cmp.Diff(wanted[folder], got); diff != "" && !*update {
			t.Errorf("%s (-want +got):\n%s", folder, diff)
		}
	}
	if *update {
		if err := os.WriteFile(filepath.Join(wd, archive), txtar.Format(&txtar.Archive{Comment: a.Comment, Files: after}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
