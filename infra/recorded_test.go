package infra_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// principal is somebody with rights of their own, who uses the program.
type principal struct {
	*record
	binary, table, namespace string
}

// command is the program, as this principal runs it.
func (p *principal) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.binary, args...)
	cmd.Env = append(os.Environ(), "EXTAUTHZ_STACK="+p.table, "EXTAUTHZ_ENDPOINT_URL="+p.proxy.URL, "EXTAUTHZ_NAMESPACE="+p.namespace,
		"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run runs command lines, one after the other.
func (p *principal) run(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if out, err := p.command(t.Context(), strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Errorf("extauthz %s: %v\n%s", line, err, out)
		}
	}
}

// build builds the program, unless EXTAUTHZ_BIN names it.
func build(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the program and runs it")
	}
	if binary := os.Getenv("EXTAUTHZ_BIN"); binary != "" {
		return binary
	}
	binary := filepath.Join(t.TempDir(), "extauthz")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, "../cmd/extauthz").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

const serviceConfig = `
decision_timeout: 5s
rules:
  - name: settle
    match: request.method == "PUT"
    settle: true
    entity: ${request.headers["x-user"]}
    resource: gpt-4
    consume: {rpm: 1}
  - name: strict
    enforce: 50%
    continue: true
    entity: ${request.headers["x-user"]}
    resource: strict
    default_limits: {rpm: 1/min}
  - name: all
    entity: ${request.headers["x-user"]}
    resource: gpt-4
    default_limits: {rpm: 1000/min}
`

// serve starts the service, and returns what asks it about a request. It is ended
// in order by the function that it returns.
func (p *principal) serve(t *testing.T) (ask func(method, user string) (int, error), end func()) {
	t.Helper()
	dir := t.TempDir()
	config, socket := filepath.Join(dir, "c.yaml"), filepath.Join(dir, "http")
	must(t, os.WriteFile(config, []byte(serviceConfig), 0o600))
	cmd := p.command(context.WithoutCancel(t.Context()), "serve", "-c", config, "--grpc", "unix:"+filepath.Join(dir, "grpc"), "--http", "unix:"+socket, "--admin=", "--metrics=")
	var said strings.Builder
	cmd.Stderr = &said
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	ask = func(method, user string) (int, error) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://service/check/", http.NoBody)
		if err != nil {
			return 0, err
		}
		r.Header.Set("x-user", user)
		answer, err := client.Do(r)
		if err != nil {
			return 0, err
		}
		return answer.StatusCode, answer.Body.Close()
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if status, err := ask(http.MethodGet, "first"); err == nil && status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the service never answers:\n%s", said.String())
		}
	}
	return ask, func() {
		client.CloseIdleConnections()
		must(t, cmd.Process.Signal(syscall.SIGTERM), <-ended)
	}
}

// load asks a service about requests of many, at the same time, and returns how
// many of user-5 were admitted.
func load(t *testing.T, ask func(method, user string) (int, error)) (admitted int64) {
	t.Helper()
	var wg sync.WaitGroup
	var of5 atomic.Int64
	for worker := range 4 {
		wg.Go(func() {
			for i := range 50 {
				method := []string{http.MethodGet, http.MethodGet, http.MethodPut}[i%3]
				user := fmt.Sprintf("user-%d", (worker+i)%10)
				status, err := ask(method, user)
				if err != nil || status != http.StatusOK && status != http.StatusTooManyRequests {
					t.Errorf("%d, %v", status, err)
				}
				if status == http.StatusOK && user == "user-5" {
					of5.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return of5.Load()
}

// checkUsage compares the usage of user-5, as the command shows it, with what was
// admitted.
func (p *principal) checkUsage(t *testing.T, admitted int64) {
	t.Helper()
	out, err := p.command(t.Context(), "usage", "summary", "--entity", "user-5", "--resource", "gpt-4", "-o", "json").Output()
	must(t, err)
	var report struct {
		Items []struct {
			Limit, Variant string
			Admitted       int64
		}
	}
	must(t, json.Unmarshal(out, &report))
	if len(report.Items) != 1 || report.Items[0].Limit != "rpm" || report.Items[0].Admitted != admitted || admitted == 0 {
		t.Errorf("%d requests of user-5 were admitted; usage: %s", admitted, out)
	}
}

// edits are commands that change what is in a namespace.
func edits() []string {
	return []string{
		"system set-defaults -l rpm:100 --on-unavailable allow", "resource set-defaults gpt-4 -l rpm:50", "tier set-limits gold -l rpm:500",
		"entity create team", "entity set-limits team -l rpm:900", "entity create user-1 --parent team --cascade --tier gold", "entity set-limits user-2 -r gpt-4 -l rpm:7",
		"entity disable user-3", "entity enable user-3", "resource bypass free", "entity set-tier user-1 gold", "entity reset user-1 -r gpt-4",
		"entity top-up user-1 -r gpt-4 --add rpm:5", "limits export", "tier delete gold -y", "entity delete user-2 -y", "resource delete-defaults gpt-4 -y",
	}
}

// looks are commands that read what is in a namespace.
func looks() []string {
	return []string{
		"system get-defaults", "resource list", "tier list", "entity list", "entity show user-1", "balance user-1 gpt-4", "audit list",
		"usage list --entity user-1", "usage summary", "usage plot", "limits export",
	}
}

// What the programs of a fleet ask of DynamoDB is recorded, on the wire, and the
// policies of the template are held against it.
func TestPoliciesAgainstWhatIsAsked(t *testing.T) {
	t.Parallel()
	binary, table := build(t), "extauthz-test-"+strings.ToLower(rand.Text())
	as := func(namespace string) *principal {
		return &principal{record: newRecord(t), binary: binary, table: table, namespace: namespace}
	}
	maker := newRecord(t)
	store := open(t, table, maker)
	admin := as("acme")
	admin.run(t, "namespace register acme other gone")
	registered := admin.take(t)
	id := func(name string) string {
		n, err := store.Namespace(t.Context(), name)
		must(t, err)
		return n.ID
	}
	acme, other, gone := id("acme"), id("other"), id("gone")

	service, theirs, served := as("acme"), as("other"), map[string][][]call{}
	ask, end := service.serve(t)
	askTheirs, endTheirs := theirs.serve(t)
	admin.run(t, edits()[:8]...)
	editor := as("acme")
	editor.run(t, edits()[8:]...)
	admitted := load(t, ask)
	load(t, askTheirs)
	reader := as("acme")
	reader.run(t, looks()...)
	readTheirs := as("other")
	readTheirs.run(t, "audit list", "usage summary", "system set-defaults -l rpm:1")

	// Deleted a minute ago, so that the purge waits for the aggregator alone, while
	// the services poll.
	_, err := store.DeleteNamespace(t.Context(), "gone", hierarchy.Cause{By: hierarchy.Actor{Caller: "test"}, At: time.Now().Add(-time.Minute)})
	must(t, err)
	cleaner := as("acme")
	cleaner.run(t, "namespace list", "namespace show acme", "namespace orphans", "namespace purge -y "+gone, "namespace register gone", "namespace delete gone -y")
	admitted += load(t, ask)
	end()
	endTheirs()
	counted := aggregate(t, table)
	as("acme").checkUsage(t, admitted)

	served["acme"], served["other"] = service.take(t), theirs.take(t)
	edited := slices.Concat(admin.take(t), editor.take(t))
	cleaned, looked := cleaner.take(t), reader.take(t)
	foreign := filter(slices.Concat(served["other"], readTheirs.take(t)), func(c []call) bool { return !shared(c) })

	check(t, "ServePolicy", "", "serve", slices.Concat(served["acme"], served["other"]), always)
	check(t, "ServePolicy", "", "charge", filter(served["acme"], onlyWrites), always)
	for what, requests := range map[string][][]call{"register": registered, "edit": edited, "clean up": cleaned} {
		check(t, "ServePolicy", "", what, filter(requests, onlyWrites), never)
		check(t, "ReadPolicy", "", what, filter(requests, onlyWrites), never)
		check(t, "AdministerPolicy", "", what, requests, always)
	}
	check(t, "ReadPolicy", "", "look", looked, always)
	check(t, "AdministerPolicy", "", "look", looked, always)

	check(t, "NamespaceServePolicy", acme, "serve", served["acme"], always)
	check(t, "NamespaceServePolicy", other, "serve", served["other"], always)
	check(t, "NamespaceServePolicy", acme, "edit", filter(edited, onlyWrites), never)
	check(t, "NamespaceReadPolicy", acme, "look", looked, always)
	check(t, "NamespaceAdministerPolicy", acme, "edit", edited, always)
	check(t, "NamespaceAdministerPolicy", acme, "register", filter(registered, onlyWrites), never)
	scans := filter(cleaned, func(c []call) bool { return c[0].action == "Scan" })
	for _, p := range []string{"NamespaceServePolicy", "NamespaceReadPolicy", "NamespaceAdministerPolicy"} {
		for _, tag := range []string{acme, gone, ""} {
			check(t, p, tag, "use another's", foreign, never)
			check(t, p, tag, "look through the table", scans, never)
		}
		check(t, p, acme, "count usage", filter(counted, func(c []call) bool { return strings.HasPrefix(c[0].keys[0], other) }), never)
	}
	checkAggregator(t, counted)
}

// shared reports whether a request is for what everybody may read: that the table
// is there, its version, and where a name leads.
func shared(calls []call) bool {
	return !slices.ContainsFunc(calls, func(c call) bool {
		return c.action != "DescribeTable" && !slices.Contains(c.keys, "namespaces") && !slices.Contains(c.keys, "schema")
	})
}

// checkAggregator holds the policy of the aggregator's role against what it asks.
func checkAggregator(t *testing.T, counted [][]call) {
	t.Helper()
	document := read(t).Resources["AggregatorRole"].Properties["Policies"].([]any)[0].(map[string]any)["PolicyDocument"]
	if !slices.ContainsFunc(counted, writes) {
		t.Error("the aggregator has written nothing")
	}
	for _, elsewhere := range []string{"namespaces", "schema", "0123456789", "0123456789/e/user", "0123456789/s", "0123456789/a"} {
		if allows(document, "", call{action: "UpdateItem", keys: []string{elsewhere}}) {
			t.Errorf("AggregatorRole allows to update %s", elsewhere)
		}
	}
	for _, request := range counted {
		for _, c := range request {
			if !allows(document, "", c) {
				t.Errorf("AggregatorRole doesn't allow %v", c)
			}
		}
	}
}
