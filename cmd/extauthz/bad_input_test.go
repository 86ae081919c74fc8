package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// goodLines are each command with what it takes, so that what a test adds is all
// that is wrong with it. ID is a deleted namespace's.
func goodLines() map[string]string {
	return map[string]string{
		"audit list": "", "balance": "alice api", "denials list": "", "top": "",
		"cfn-template": "", "delete": "--stack ours -y", "deploy": "--stack ours -y", "lambda-export": "DIR/code.zip", "list": "", "status": "--stack ours",
		"entity bypass": "alice", "entity create": "new", "entity delete": "alice -y", "entity delete-limits": "alice -r api -y",
		"entity disable": "alice", "entity enable": "alice", "entity get-limits": "alice -r api", "entity list": "",
		"entity reset": "alice -r api", "entity set-limits": "alice -l rpm:1", "entity set-parent": "alice --parent acme",
		"entity set-tier": "alice silver", "entity show": "alice", "entity top-up": "alice -r api --add day:1",
		"explain": "-c DIR/rules.yaml --domain d --descriptor k=v", "import zae-limiter": "--from theirs --from-endpoint-url http://127.0.0.1:1 --dry-run",
		"import ratelimit": "DIR/ratelimit",
		"limits apply":     "-f DIR/good.yaml -y", "limits export": "", "limits plan": "-f DIR/good.yaml",
		"namespace delete": "other -y", "namespace list": "", "namespace orphans": "", "namespace purge": "ID -y",
		"namespace recover": "ID", "namespace register": "third", "namespace show": "other",
		"resource bypass": "api", "resource delete-defaults": "api -y", "resource disable": "api", "resource enable": "api",
		"resource get-defaults": "api", "resource list": "", "resource set-defaults": "api -l rpm:1",
		"serve":                  "--grpc unix:DIR/grpc --admin= --metrics=",
		"system delete-defaults": "-y", "system get-defaults": "", "system set-defaults": "-l rpm:1",
		"tier bypass": "gold", "tier delete": "gold -y", "tier disable": "gold", "tier enable": "gold", "tier list": "",
		"tier set-limits": "gold -l rpm:1", "tier show": "gold", "validate": "-c DIR/good.yaml", "version": "",
		"cost": "", "usage list": "", "usage plot": "", "usage summary": "",
	}
}

// badValues are values that no command takes for a flag; those of the flag of one
// command stand under both names. "LONG" is more than a name may have.
func badValues() map[string][]string {
	levels := []string{"rpm", "rpm:", "rpm:10k", "rpm:1/fortnight", "rpm:0", "rpm:-1", "9:1", "rpm:1/min:x"}
	pages := []string{"0", "-1", "1001", "ten"}
	names := []string{"LONG"}
	files := []string{"DIR/none.yaml", "DIR/broken.yaml", "DIR"}
	listeners := []string{"nonsense", "127.0.0.1:no"}
	return map[string][]string{
		"limit": pages, "entity reset limit": {"week"}, "entity set-limits limit": levels, "resource set-defaults limit": levels,
		"system set-defaults limit": levels, "tier set-limits limit": levels,
		"namespace": {"a b", "nowhere"}, "output": {"yaml"}, "server": {"unix:DIR/none.sock"}, "stack": {"nothere"},
		"delete stack": {"a_b", "x"}, "delete region": nil, "delete endpoint-url": {"nonsense"},
		"deploy stack": {"a_b", "x"}, "deploy region": nil, "deploy endpoint-url": {"nonsense"},
		"status stack": {"a_b", "x"}, "status region": nil, "status endpoint-url": {"nonsense"},
		"list region": nil, "list endpoint-url": {"nonsense"},
		"import zae-limiter server": nil, "serve stack": nil, // which are asked for a while first
		"region": {"eu-west-1"}, "endpoint-url": {"http://127.0.0.1:1"}, "as": {"LONG", "\xff"},
		"entity": names, "resource": names, "tier": names, "parent": names, "entity set-parent parent": {"LONG", "alice"}, "with-custom-limits": names,
		"metadata": {"crm", "=42"}, "on-unavailable": {"maybe"}, "file": files, "config": files,
		"requests": {"-1", "many"}, "keys": {"0", "1.5"}, "overload": {"-1"}, "processes": {"0"}, "buckets": {"0"}, "cost batch-window": {"0"}, "cost usage-days": {"0"},
		"window": {"week"}, "start": {"tomorrow", "9999-12-31"}, "end": {"tomorrow"},
		"add": {"hour", "hour:-1", "hour:x", "day:1"}, "idempotency-key": {"é"},
		"by": {"name"}, "descriptor": {"k"}, "hits": {"-1", "many"}, "context-extension": {"k"}, "header": {"k"}, "explain metadata": {"{"},
		"route-metadata": {"{"}, "source-address": {"here"},
		"admin": listeners, "grpc": listeners, "metrics": listeners, "http": listeners, "log-format": {"xml"},
		"log-level": {"loud"}, "aggregator-zip": files, "tag": {"team", "=x", "aws:x=y", "extauthz:stack=z"},
		"max-write-units": {"-1", "many"}, "lambda-memory": {"64"}, "lambda-timeout": {"5"}, "batch-size": {"0"}, "batch-window": {"301"},
		"record-age": {"1"}, "usage-retention-days": {"0"}, "log-retention-days": {"2"}, "audit-archive-glacier-days": {"0"},
		"audit-archive-days": {"-1"}, "role-name-format": {"x"}, "policy-name-format": {"x"},
		"ratelimit-config": {"x"}, "store-type": {"paper"},
	}
}

// anyText are flags that take any text.
func anyText() []string {
	return []string{
		"after", "prefix", "display-name", "manager", "from", "from-namespace", "from-region", "from-endpoint-url",
		"domain", "host", "method", "path", "rule", "scheme", "source-principal", "source-san",
		"kms-key", "aggregator-bucket", "role-trust", "aggregator-role-arn", "permission-boundary", "alarm-sns-topic",
	}
}

// leaves calls f for every command that does something.
func leaves(c *cobra.Command, f func(path string, c *cobra.Command)) {
	if path := strings.TrimPrefix(c.CommandPath(), "extauthz "); !c.HasSubCommands() && path != "help" && !strings.HasPrefix(path, "completion") {
		f(path, c)
	}
	for _, sub := range c.Commands() {
		leaves(sub, f)
	}
}

// attempt is a command line that is wrong, and what the message has to name.
type attempt struct {
	args  []string
	names string
}

// takes reports whether a command takes a value all the same: it finds nothing of
// a name that is too long, or a bucket, whose name may be; it works on no one
// namespace, or on those of its rules.
func takes(path, value string) bool {
	if strings.HasPrefix(path, "usage ") && slices.Contains([]string{"LONG", "nowhere", "unix:DIR/none.sock"}, value) {
		return true // no server is asked for it
	}
	switch value {
	case "LONG":
		return slices.Contains([]string{
			"audit list", "balance", "denials list", "entity list", "resource list", "tier list", "entity reset", "entity top-up",
			"lambda-export",
		}, path)
	case "nowhere":
		return slices.Contains([]string{"denials list", "serve", "top"}, path)
	}
	return false
}

// attempts are all ways to get one command wrong.
func attempts(t *testing.T, path string, c *cobra.Command, words *strings.Replacer) []attempt {
	t.Helper()
	line, ok := goodLines()[path]
	if !ok {
		t.Errorf("%s: no line that is right is known, to make wrong ones of", path)
		return nil
	}
	command, given := strings.Fields(path), strings.Fields(words.Replace(line))
	with := func(args ...string) []string { return slices.Concat(command, args) }
	flags := slices.IndexFunc(given, func(a string) bool { return strings.HasPrefix(a, "-") })
	if flags < 0 {
		flags = len(given)
	}
	all := []attempt{
		{with(append(slices.Clone(given), "--nonsense")...), "--nonsense"},
	}
	if !strings.Contains(c.Use, "NAME ...") {
		all = append(all, attempt{with(slices.Insert(slices.Clone(given), flags, "surplus")...), "surplus"})
	}
	for i := range flags {
		all = append(all, attempt{with(slices.Concat(given[:i], given[flags:])...), "named"})
		for _, bad := range []string{"", "LONG"} {
			if takes(path, bad) {
				continue
			}
			args := slices.Clone(given)
			args[i] = words.Replace(bad)
			all = append(all, attempt{with(args...), map[string]string{"": "empty", "LONG": "257 bytes\x00xxxx"}[bad]})
		}
	}
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		values, ok := badValues()[path+" "+f.Name]
		if !ok {
			values, ok = badValues()[f.Name]
		}
		switch {
		case f.Name == "help" || slices.Contains(anyText(), f.Name):
		case f.Value.Type() == "bool":
			all = append(all, attempt{with(append(slices.Clone(given), "--"+f.Name+"=maybe")...), "--" + f.Name})
		case !ok:
			t.Errorf("%s: no value is known that --%s doesn't take", path, f.Name)
		}
		for _, bad := range values {
			if takes(path, bad) {
				continue
			}
			all = append(all, attempt{with(append(slices.Clone(given), "--"+f.Name, words.Replace(bad))...), f.Name + "\x00" + words.Replace(bad) + "\x00257 bytes"})
		}
	})
	return all
}

// Every command, with everything that can be wrong about it: the exit status is 1,
// one line says what and where, one what to do, and nothing is written.
func TestBadInput(t *testing.T) {
	localAWS(t)
	store, dir := embedstore.New(embedstore.Config{}), t.TempDir()
	address := serveAdmin(t, store)
	for name, text := range map[string]string{
		"good.yaml":           "manager: ci\nsystem: {limits: {rpm: 9/min}}\n",
		"rules.yaml":          "rules: []\n",
		"broken.yaml":         "manager: ci\nnonsense: {}\n",
		"ratelimit/edge.yaml": "domain: edge\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id := furnish(t, store, address)
	words := strings.NewReplacer("LONG", strings.Repeat("x", hierarchy.MaxName+1), "DIR", dir, "ID", id)
	before, tried := contents(t, store, address), map[string]bool{}
	leaves(newRoot(), func(path string, c *cobra.Command) {
		tried[path] = true
		for _, a := range attempts(t, path, c, words) {
			args := a.args
			if c.Flags().Lookup("server") != nil && path != "explain" {
				n := len(strings.Fields(path))
				args = slices.Concat(args[:n], []string{"--server", address}, args[n:])
			}
			refused(t, args, a.names)
		}
		if now := contents(t, store, address); now != before {
			t.Fatalf("%s: something was written (-before +now):\n%s", path, cmp.Diff(before, now))
		}
	})
	for path := range goodLines() {
		if !tried[path] {
			t.Errorf("%s is no command", path)
		}
	}
}

// furnish has something of every kind in a store, and returns the ID of a
// namespace whose name was taken away.
func furnish(t *testing.T, store *embedstore.Store, address string) (id string) {
	t.Helper()
	register(t, store)
	for _, line := range []string{
		"entity create acme", "entity create alice --parent acme --tier gold", "entity set-limits alice -r api -l day:100/d -l hour:10/h",
		"tier set-limits gold -l rpm:7", "resource set-defaults api -l rpm:8", "system set-defaults -l rpm:9",
		"namespace register other gone", "namespace delete gone -y",
	} {
		var out bytes.Buffer
		if status := run(t.Context(), append(strings.Fields(line), "--server", address), nil, &out, &out); status != exitOK {
			t.Fatalf("%s: %s", line, out.String())
		}
		if _, after, ok := strings.Cut(out.String(), "namespace recover "); ok {
			id = strings.Fields(after)[0]
		}
	}
	charge(t, store)
	return id
}

// contents are all that a store has, as the commands print it.
func contents(t *testing.T, store *embedstore.Store, address string) string {
	t.Helper()
	var out bytes.Buffer
	for _, line := range []string{"namespace list", "namespace orphans", "limits export", "audit list", "namespace show default", "namespace show other"} {
		if status := run(t.Context(), append(strings.Fields(line), "-o", "json", "--server", address), nil, &out, &out); status != exitOK {
			t.Fatalf("%s: %s", line, out.String())
		}
	}
	k, err := ratelimit.NewKey("default", "alice", "api", "")
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := store.Get(t.Context(), k)
	if err != nil || !bucket.Exists {
		t.Fatalf("the bucket: %+v, %v", bucket, err)
	}
	return fmt.Sprintf("%s%+v, %d in all", &out, bucket, store.Len())
}

// refused runs a command line that is wrong.
func refused(t *testing.T, args []string, names string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	status := run(ctx, args, strings.NewReader(""), &stdout, &stderr)
	shown := make([]string, len(args))
	for i, a := range args {
		shown[i] = fmt.Sprintf("%.40q", a)
	}
	lines := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
	if len(lines) > 2 && strings.Contains(stderr.String(), " can't be used: ") {
		lines = lines[len(lines)-2:] // below all that is wrong with a file
	}
	if status != exitFailed || len(lines) != 2 || !strings.HasPrefix(lines[0], "extauthz: ") || !strings.HasPrefix(lines[1], "hint: ") {
		t.Errorf("%s: %d, not a line of what and one of what to do:\n%.300s", shown, status, stderr.String())
		return
	}
	said := strings.TrimSuffix(stderr.String(), lines[1]+"\n")
	if !slices.ContainsFunc(strings.Split(names, "\x00"), func(n string) bool {
		return n != "" && strings.Contains(said, n[:min(len(n), 20)])
	}) {
		t.Errorf("%s: the message doesn't say which of them is wrong: %.300s", shown, said)
	}
}
