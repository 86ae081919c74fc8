package config_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func flags(t *testing.T, args ...string) config.Options {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.Flags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return config.Options{Flags: fs}
}

// TestAnEmptyFileIsRefused has what a file looks like while it is written in
// place: it must not be taken for one that drops every rule.
func TestAnEmptyFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "extauthz.yaml")
	for text, want := range map[string]bool{"": false, "\n \n": false, "{}": true, "# nothing yet\n": true} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, report := config.Load(path, flags(t))
		if (c != nil) != want {
			t.Errorf("%q is loaded: %t, want %t", text, c != nil, want)
		}
		if got := strings.Join(report.Lines(), "\n"); !want && got != path+": the file is empty (write {} to say nothing)" {
			t.Errorf("%q: %s", text, got)
		}
	}
}

func TestDefaults(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", `{}`} {
		c, report := config.Parse("x.yaml", []byte(text), flags(t))
		if c == nil || len(report.Problems) > 0 {
			t.Fatalf("%q:\n%s", text, report)
		}
		want := config.Config{
			Path: "x.yaml", Sum: c.Sum, Rules: c.Rules,
			Listen:        config.Listen{GRPC: ":8081", Metrics: ":9090", Admin: "127.0.0.1:6070"},
			Store:         config.Store{Type: "embedded"},
			Log:           config.Log{Level: slog.LevelInfo, Format: "text"},
			Namespace:     "default",
			OnUnavailable: ratelimit.FallbackError,
			LocalShare:    0.1,

			ResponseHeaders: []string{"retry-after", "ratelimit", "ratelimit-policy"}, DynamicMetadata: true,

			Slack:      50 * time.Millisecond,
			Rejections: config.Rejections{Entries: 100_000, Bytes: 64 << 20},
		}
		if diff := cmp.Diff(want, *c, cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "Rules" }, cmp.Ignore())); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
		if c.Rules == nil || len(c.Rules.All()) != 1 {
			t.Error("without rules there is no zero-configuration mapping")
		}
	}
}

// process is what the scalars of a Config can be compared by.
func process(c *config.Config) string {
	return fmt.Sprintf("%s %s %s %s %s | %s | %s %s | %s %s %s %t %s", c.Listen.GRPC, c.Listen.HTTP, c.TrustedProxies, c.Listen.Metrics, c.Listen.Admin,
		c.Store.Type, c.Log.Level, c.Log.Format, c.Namespace, c.DecisionTimeout, c.OnUnavailable, c.DenyNoMatch, c.Slack)
}

// TestPrecedence holds that flags win over the environment, and it over the
// file.
func TestPrecedence(t *testing.T) {
	const file = `
listen: {grpc: "file:1", http: "file:3", metrics: "file:2", admin: "", trusted_proxies: [10.0.0.0/8, "::1"]}
charge: {slack: 0s}
namespace: file
decision_timeout: 15ms
on_unavailable: deny
no_match: deny
`
	const inFile = "file:1 file:3 [10.0.0.0/8 ::1/128] file:2  | embedded | INFO text | file 15ms deny true -1ns"
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
		want string
	}{
		"file": {want: inFile},
		"environment": {
			env: map[string]string{
				"EXTAUTHZ_LISTEN_GRPC": "unix:/run/env.sock", "EXTAUTHZ_LISTEN_METRICS": "[::1]:9", "EXTAUTHZ_LISTEN_ADMIN": "localhost:0",
				"EXTAUTHZ_STORE_TYPE": "embedded", "EXTAUTHZ_LOG_LEVEL": "debug", "EXTAUTHZ_LOG_FORMAT": "json", "EXTAUTHZ_NAMESPACE": "env",
				"EXTAUTHZ_DECISION_TIMEOUT": "auto", "EXTAUTHZ_ON_UNAVAILABLE": "allow", "EXTAUTHZ_NO_MATCH": "allow", "EXTAUTHZ_CHARGE_SLACK": "1s",
				"EXTAUTHZ_CLIENT_IP": "xff:2", "EXTAUTHZ_LISTEN_HTTP": "env:3", "EXTAUTHZ_LISTEN_TRUSTED_PROXIES": "192.0.2.1, fd00::/8",
			},
			want: "unix:/run/env.sock env:3 [192.0.2.1/32 fd00::/8] [::1]:9 localhost:0 | embedded | DEBUG json | env 0s allow false 1s",
		},
		"flags": {
			env: map[string]string{"EXTAUTHZ_LISTEN_GRPC": "env:1", "EXTAUTHZ_NAMESPACE": "env", "EXTAUTHZ_LOG_LEVEL": "debug", "EXTAUTHZ_LISTEN_ADMIN": "127.0.0.2:1"},
			args: []string{
				"--grpc", "flag:1", "--http", "", "--metrics", "", "--store-type=embedded", "--log-level", "warn", "--log-format", "json", "-n", "flag",
				"--config", "x.yaml",
			},
			want: "flag:1  [10.0.0.0/8 ::1/128]  127.0.0.2:1 | embedded | WARN json | flag 15ms deny true -1ns",
		},
		"an empty variable is none": {env: map[string]string{"EXTAUTHZ_LISTEN_GRPC": "", "EXTAUTHZ_STACK": ""}, want: inFile},
		"variables of Kubernetes": {
			env:  map[string]string{"EXTAUTHZ_PORT": "tcp://10.0.0.1:8081", "EXTAUTHZ_SERVICE_HOST": "10.0.0.1", "EXTAUTHZ_PORT_8081_TCP": "x", "EXTAUTHZ_BIN": "x"},
			want: inFile,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			got, report := config.Parse("x.yaml", []byte(file), flags(t, c.args...))
			if got == nil || len(report.Problems) > 0 {
				t.Fatal(report)
			}
			if diff := cmp.Diff(c.want, process(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestTheStore holds what says which store is meant, and how it is asked.
func TestTheStore(t *testing.T) {
	dynamodb := func(change func(*config.Store)) config.Store {
		s := config.Store{Type: config.StoreDynamoDB, Stack: "extauthz", MaxWritesPerSecond: 2000}
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		file string
		env  map[string]string
		args []string
		want config.Store
	}{
		"by default": {want: config.Store{Type: config.StoreEmbedded}},
		"defaults of DynamoDB": {
			file: "store: {type: dynamodb}",
			want: dynamodb(func(*config.Store) {}),
		},
		"all of it": {
			file: "store: {type: dynamodb, stack: prod, region: eu-west-1, endpoint_url: 'https://vpce.example:443/x', create: true, max_writes_per_second: 50}",
			want: config.Store{
				Type: config.StoreDynamoDB, Stack: "prod", Region: "eu-west-1", EndpointURL: "https://vpce.example:443/x", Create: true, MaxWritesPerSecond: 50,
			},
		},
		"a stack by flag": {
			file: "store: {type: embedded}", args: []string{"--stack", "flag", "--region=eu-west-2", "--endpoint-url=http://[::1]:8000"},
			want: dynamodb(func(s *config.Store) { s.Stack, s.Region, s.EndpointURL = "flag", "eu-west-2", "http://[::1]:8000" }),
		},
		"a stack by the flag's other name": {
			env: map[string]string{"EXTAUTHZ_STACK": "env"}, args: []string{"--name", "flag"},
			want: dynamodb(func(s *config.Store) { s.Stack = "flag" }),
		},
		"a stack by environment": {
			file: "store: {type: dynamodb, stack: file, region: eu-west-1}",
			env:  map[string]string{"EXTAUTHZ_STACK": "env", "EXTAUTHZ_STORE_STACK": "other", "EXTAUTHZ_ENDPOINT_URL": "http://env:1"},
			want: dynamodb(func(s *config.Store) { s.Stack, s.Region, s.EndpointURL = "env", "eu-west-1", "http://env:1" }),
		},
		"a stack by the long name": {
			env:  map[string]string{"EXTAUTHZ_STORE_STACK": "long", "EXTAUTHZ_STORE_CREATE": "true", "EXTAUTHZ_STORE_MAX_WRITES_PER_SECOND": "1"},
			want: dynamodb(func(s *config.Store) { s.Stack, s.Create, s.MaxWritesPerSecond = "long", true, 1 }),
		},
		"an embedded one all the same": {
			file: "store: {type: dynamodb, create: false}", env: map[string]string{"EXTAUTHZ_STORE_TYPE": "embedded"},
			want: config.Store{Type: config.StoreEmbedded},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			got, report := config.Parse("x.yaml", []byte(c.file), flags(t, c.args...))
			if got == nil || len(report.Problems) > 0 {
				t.Fatal(report)
			}
			if diff := cmp.Diff(c.want, got.Store); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestRejectionsAndLocalShare(t *testing.T) {
	const text = "charge: {rejections: {entries: 7, bytes: 2GiB}}\non_unavailable: local\nlocal_share: 1\nlimits: {system: {on_unavailable: local}}"
	c, report := config.Parse("x.yaml", []byte(text), config.Options{})
	if c == nil {
		t.Fatal(report)
	}
	if diff := cmp.Diff(config.Rejections{Entries: 7, Bytes: 2 << 30}, c.Rejections); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if c.OnUnavailable != ratelimit.FallbackLocal || c.LocalShare != 1 || c.Limits.System.OnUnavailable != ratelimit.FallbackLocal {
		t.Errorf("%s with a share of %v, of the system %s", c.OnUnavailable, c.LocalShare, c.Limits.System.OnUnavailable)
	}
}

// TestOutsideTheFile holds that a fault is told where it was said.
func TestOutsideTheFile(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
		want []string
	}{
		"values": {
			env:  map[string]string{"EXTAUTHZ_LISTEN_GRPC": "8081", "EXTAUTHZ_LOG_LEVEL": "trace", "EXTAUTHZ_CLIENT_IP": "xff", "EXTAUTHZ_NAMESPACE": "env"},
			args: []string{"--namespace", "a b", "--admin", "0.0.0.0:1", "--log-format", "jsn"},
			want: []string{
				`EXTAUTHZ_LISTEN_GRPC: the address "8081" has no host (did you mean ":8081"?)`,
				`--namespace: the namespace "a b" may hold letters, digits and . _ - : @ only, and begins with a letter or a digit`,
				`EXTAUTHZ_LOG_LEVEL: "trace" is not one of debug, info, warn, error`,
				`--log-format: "jsn" is not one of text, json (did you mean "json"?)`,
				`--admin: warning: the admin address is not a loopback one (whoever reaches it can see the configuration and change the log level)`,
				`EXTAUTHZ_CLIENT_IP: client_ip is not peer, x-envoy-external-address or xff:N`,
			},
		},
		"the HTTP port": {
			env:  map[string]string{"EXTAUTHZ_LISTEN_HTTP": "8080", "EXTAUTHZ_LISTEN_TRUSTED_PROXIES": "10.0.0.0/8, 10.0.0.0"},
			want: []string{`EXTAUTHZ_LISTEN_HTTP: the address "8080" has no host (did you mean ":8080"?)`},
		},
		"proxies": {
			env:  map[string]string{"EXTAUTHZ_LISTEN_TRUSTED_PROXIES": "10.0.0.0/8,,"},
			args: []string{"--http", ":1"},
			want: []string{`EXTAUTHZ_LISTEN_TRUSTED_PROXIES: "" is not a network (as in 10.0.0.0/8, fd00::/8 or 192.0.2.7)`},
		},
		"no proxies": {
			args: []string{"--http", ":1"},
			want: []string{"--http: warning: without listen.trusted_proxies no proxy is believed when it says for whom it asks " +
				"(say which networks proxies are in: until then /forward_auth refuses all of them, and to other checks the proxy is the client)"},
		},
		"the embedded store": {
			env:  map[string]string{"EXTAUTHZ_ENDPOINT_URL": "http://localhost:8000", "EXTAUTHZ_STORE_CREATE": "false"},
			args: []string{"--store-type", "embedded", "--stack", "s3", "--region", "eu-west-1"},
			want: []string{
				"--stack: store.stack is for a store of type dynamodb, and this one is embedded (set store.type: dynamodb)",
				"--region: store.region is for a store of type dynamodb, and this one is embedded (set store.type: dynamodb)",
				"EXTAUTHZ_ENDPOINT_URL: store.endpoint_url is for a store of type dynamodb, and this one is embedded (set store.type: dynamodb)",
			},
		},
		"the DynamoDB store": {
			env: map[string]string{
				"EXTAUTHZ_STACK": "a b", "EXTAUTHZ_STORE_REGION": "EU", "EXTAUTHZ_STORE_ENDPOINT_URL": "ftp://x", "EXTAUTHZ_STORE_CREATE": "1",
				"EXTAUTHZ_STORE_MAX_WRITES_PER_SECOND": "1e3", "EXTAUTHZ_CHARGE_REJECTIONS_BYTES": "x", "EXTAUTHZ_LOCAL_SHARE": "NaN",
			},
			want: []string{
				`EXTAUTHZ_STACK: "a b" is not a table's name: 3 to 255 letters, digits and _ . -`,
				`EXTAUTHZ_STORE_REGION: "EU" is not a region's name (as in eu-west-1)`,
				`EXTAUTHZ_STORE_ENDPOINT_URL: "ftp://x" is not the URL of a server (as in http://localhost:8000)`,
				`EXTAUTHZ_STORE_CREATE: "1" is not one of true, false`,
				`EXTAUTHZ_STORE_MAX_WRITES_PER_SECOND: "1e3" is not a whole number from 1 to 1000000`,
				`EXTAUTHZ_CHARGE_REJECTIONS_BYTES: "x" is not a size (a whole number of bytes, or of KiB, MiB or GiB, as in 64MiB)`,
				`EXTAUTHZ_LOCAL_SHARE: "NaN" is not a number above 0, and 1 at most (as in 0.1)`,
			},
		},
		"misspelt": {
			env: map[string]string{"EXTAUTHZ_NAMESPCE": "x", "EXTAUTHZ_GRPC": ":1", "EXTAUTHZ_TEST_LONG": "1", "EXTAUTHZ_REGIONS": "eu-west-1"},
			want: []string{
				"EXTAUTHZ_GRPC: warning: nothing reads this variable (did you mean EXTAUTHZ_LISTEN_GRPC?)",
				"EXTAUTHZ_NAMESPCE: warning: nothing reads this variable (did you mean EXTAUTHZ_NAMESPACE?)",
				"EXTAUTHZ_REGIONS: warning: nothing reads this variable (did you mean EXTAUTHZ_REGION?)",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			_, report := config.Parse("x.yaml", []byte("rules: []"), flags(t, c.args...))
			if diff := cmp.Diff(c.want, report.Lines()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestLaterOff holds that what nothing heeds yet may be there when it is off.
func TestLaterOff(t *testing.T) {
	const text = `
listen: {http: "", trusted_proxies: []}
store: {type: embedded, path: "", create: false, endpoint_url: ""}
charge: {rejections: {}}
rules:
  - {name: a, entity: b, independent: false, refunds: false}
limits: {manager: ""}
`
	if c, report := config.Parse("x.yaml", []byte(text), config.Options{}); c == nil || len(report.Problems) > 0 {
		t.Error(report)
	}
}

// TestPathOfTheEmbeddedStore: a file that a flag or the environment turns to
// another store may go on saying what it says of its own.
func TestPathOfTheEmbeddedStore(t *testing.T) {
	const text = "store: {path: buckets.db}"
	for name, c := range map[string]struct {
		args []string
		env  string
		path string
		want []string
	}{
		"file":        {path: "buckets.db", want: []string{}},
		"environment": {env: "/srv/x.db", path: "/srv/x.db", want: []string{}},
		"a stack":     {args: []string{"--stack", "prod"}, want: []string{}},
		"both outside": {
			args: []string{"--store-type", "dynamodb"}, env: "/srv/x.db",
			want: []string{"EXTAUTHZ_STORE_PATH: store.path is for a store of type embedded, and this one is dynamodb (set store.type: embedded)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("EXTAUTHZ_STORE_PATH", c.env)
			got, report := config.Parse("x.yaml", []byte(text), flags(t, c.args...))
			if diff := cmp.Diff(c.want, report.Lines()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got != nil && got.Store.Path != c.path {
				t.Errorf("the path is %q", got.Store.Path)
			}
		})
	}
}

func TestRestartNeeded(t *testing.T) {
	load := func(text string) *config.Config {
		c, report := config.Parse("x.yaml", []byte(text), config.Options{LeaveFiles: true})
		if c == nil {
			t.Fatal(report)
		}
		return c
	}
	old := load("")
	for text, want := range map[string][]string{
		"no_match: deny\nnamespace: x\ndecision_timeout: 1s": nil,
		`listen: {metrics: ""}`:                              {"listen"},
		`listen: {trusted_proxies: ["::/0"]}`:                {"listen"},
		"charge: {slack: 1ms}\nlisten: {admin: 'unix:/x'}":   {"listen", "charge.slack"},
		"store: {type: dynamodb}":                            {"store"},
		"charge: {rejections: {bytes: 1MiB}}":                {"charge.rejections"},
		"tls: {cert: c, key: k}":                             {"tls"},
	} {
		if diff := cmp.Diff(want, config.RestartNeeded(old, load(text))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, []byte(strings.Repeat("# nothing\n", config.MaxBytes/10+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "no such file or directory",
		dir:                             "is a directory",
		large:                           "the file is larger than 16 MiB",
	} {
		c, report := config.Load(path, config.Options{})
		if c != nil || report.Err() == nil || report.Err().Error() != path+": "+want {
			t.Errorf("%s: %v", path, report.Err())
		}
	}
	// Another file has another sum.
	sums := map[string]bool{}
	for _, text := range []string{"", "namespace: a", "namespace: b"} {
		c, report := config.Parse("x.yaml", []byte(text), config.Options{})
		if c == nil {
			t.Fatal(report)
		}
		sums[c.Sum] = true
	}
	if len(sums) != 3 {
		t.Errorf("sums: %v", sums)
	}
}
