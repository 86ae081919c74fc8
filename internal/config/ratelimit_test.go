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
	"github.com/extauthz/extauthz/pkg/descriptors"
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

// adopting writes a right folder, and returns its path.
func adopting(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "config")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	const text = "domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: 1}}]\n"
	for name, text := range map[string]string{"a.yaml": text, "b.yaml": strings.Replace(text, "key: a", "key: b", 1)} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// TestRatelimitSettings: the other service's variables say what nothing of ours
// does, and nothing at all without its configuration.
func TestRatelimitSettings(t *testing.T) {
	folder := adopting(t)
	for name, value := range map[string]string{
		"RUNTIME_ROOT": filepath.Dir(folder), "MERGE_DOMAIN_CONFIG": "true", "PORT": "9080", "GRPC_PORT": "9081", "HOST": "127.0.0.1",
		"DEBUG_PORT": "9070", "LOG_LEVEL": "ERROR", "SHADOW_MODE": "true", "LIMIT_RESPONSE_HEADERS_ENABLED": "true", "LIMIT_LIMIT_HEADER": "X-Limit",
	} {
		t.Setenv(name, value)
	}
	without, _ := config.Parse("x.yaml", []byte("{}"), flags(t))
	by := func(c *config.Config) settled {
		return settled{c.Listen, c.Log.Level.String(), c.Shadow, len(c.ResponseHeaders), c.HeaderNames, c.Ratelimit.Folder}
	}
	if diff := cmp.Diff(settled{Listen: config.Listen{GRPC: ":8081", Metrics: ":9090", Admin: "127.0.0.1:6070"}, Level: "INFO", Headers: 3}, by(without)); diff != "" {
		t.Errorf("without the configuration they say something, -want +got:\n%s", diff)
	}
	c, report := config.Parse("", nil, flags(t, "--ratelimit-config", "auto"))
	if c == nil {
		t.Fatal(report)
	}
	names := map[string]string{"x-ratelimit-limit": "X-Limit", "x-ratelimit-remaining": "RateLimit-Remaining", "x-ratelimit-reset": "RateLimit-Reset"}
	want := settled{config.Listen{GRPC: ":9081", HTTP: "127.0.0.1:9080", Metrics: ":9090", Admin: "127.0.0.1:9070"}, "ERROR", true, 6, names, folder}
	if diff := cmp.Diff(want, by(c)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	c, report = config.Parse("x.yaml", []byte(`{listen: {http: ":1"}, response_headers: []}`), flags(t, "--ratelimit-config", folder, "--grpc", ":2", "--log-level", "debug"))
	if c == nil {
		t.Fatal(report)
	}
	want = settled{config.Listen{GRPC: ":2", HTTP: ":1", Metrics: ":9090", Admin: "127.0.0.1:9070"}, "DEBUG", true, 0, names, folder}
	if diff := cmp.Diff(want, by(c)); diff != "" {
		t.Errorf("ours don't come first, -want +got:\n%s", diff)
	}
}

// settled is what the variables have a say in.
type settled struct {
	Listen  config.Listen
	Level   string
	Shadow  bool
	Headers int
	Names   map[string]string
	Folder  string
}

// TestRatelimitID: the configuration is another one when a file of the folder is.
func TestRatelimitID(t *testing.T) {
	folder := adopting(t)
	t.Setenv("MERGE_DOMAIN_CONFIG", "true")
	load := func() *config.Config {
		c, report := config.Parse("x.yaml", []byte("{}"), flags(t, "--ratelimit-config", folder))
		if c == nil {
			t.Fatal(report)
		}
		return c
	}
	before := load()
	if again := load(); again.ID() != before.ID() {
		t.Errorf("%s, and again %s", before.ID(), again.ID())
	}
	if err := os.WriteFile(filepath.Join(folder, "c.yml"), []byte("domain: e\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	after := load()
	if sum, err := config.SumFolder(folder); err != nil || after.ID() == before.ID() || after.Ratelimit.Sum != sum {
		t.Errorf("a file more: %s, before %s, %v", after.ID(), before.ID(), err)
	}
}

// TestRatelimitBesideOurs: rules of both at once are refused, and the variables'
// faults are told as any.
func TestRatelimitBesideOurs(t *testing.T) {
	folder := adopting(t)
	t.Setenv("GRPC_PORT", "many")
	t.Setenv("REDIS_URL", "r:1")
	_, report := config.Parse("x.yaml", []byte("rules:\n  - {name: a, action: allow}\n"), flags(t, "--ratelimit-config", folder))
	want := []string{
		`GRPC_PORT: "many" is not a port`,
		"REDIS_URL: warning: nothing reads this variable here (buckets are kept in the process, or in DynamoDB by --stack and --region)",
		folder + "/b.yaml:1:9: duplicate domain 'd' in config file",
		"x.yaml:2:12: with --ratelimit-config, the rules are those of its folder (leave the rules out, or the flag)",
	}
	if diff := cmp.Diff(want, report.Lines()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, report := config.LoadRatelimit(t.TempDir(), dropin.Options{Namespace: "default"}); report.Warnings() != 1 {
		t.Errorf("a folder without files: %s", report)
	}
}

// FuzzRatelimit: whatever is in a file, it is read or refused, and what is read is
// asked and imported.
func FuzzRatelimit(f *testing.F) {
	for _, pattern := range []string{"testdata/ratelimit/*.txtar", "../dropin/dropintest/examples/*.txtar"} {
		archives, err := filepath.Glob(pattern)
		if err != nil || len(archives) == 0 {
			f.Fatalf("no archives: %v", err)
		}
		for _, archive := range archives {
			a, err := txtar.ParseFile(archive)
			if err != nil {
				f.Fatal(err)
			}
			for _, file := range a.Files {
				f.Add(string(file.Data), "k", "v*")
			}
		}
	}
	f.Fuzz(func(t *testing.T, text, key, value string) {
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "a.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files, report := config.ReadRatelimit(folder, dropin.Options{Namespace: "default"})
		rules, again := config.LoadRatelimit(folder, dropin.Options{Namespace: "default"})
		if (rules == nil) != (again.Errors() > 0) || report.Errors() != again.Errors() {
			t.Fatalf("rules %v, errors %d and %d", rules, report.Errors(), again.Errors())
		}
		if rules == nil {
			return
		}
		entry := descriptors.Entry{Key: key, Value: value}
		for _, domain := range []string{files[0].Domain.Value, "d"} {
			rules.Trace(&descriptors.Request{Protocol: descriptors.ProtocolRateLimit, Domain: domain, Entries: []descriptors.Entry{entry, entry}, Hits: 1})
		}
		if c, report := config.Parse("imported.yaml", []byte(dropin.Import(files).Text), config.Options{}); c == nil {
			t.Fatalf("%s\n%s", report, dropin.Import(files).Text)
		}
	})
}
