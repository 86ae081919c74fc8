package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/extauthz/extauthz/internal/faultproxy"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// manyEntities is how many a manifest has that is applied to a table.
func manyEntities() int {
	switch {
	case os.Getenv("EXTAUTHZ_TEST_LONG") != "":
		return 10_000
	case testing.Short():
		return 300
	default:
		return 1000
	}
}

// largeManifest has entities with limits of their own, in the order and form in
// which export writes them, and every tenth below another.
func largeManifest(n int) string {
	var b strings.Builder
	b.WriteString("manager: ci\nentities:\n")
	for i := range n {
		fmt.Fprintf(&b, "  e%05d:\n", i)
		if i%10 > 0 {
			fmt.Fprintf(&b, "    parent: e%05d\n    cascade: true\n", i-i%10)
		}
		fmt.Fprintf(&b, "    limits:\n      rpm: %d/min\n", i+1)
	}
	return b.String()
}

// A large manifest that is applied by a process that is killed half-way is
// resumed by the same command; then the table says what the manifest does, and
// nothing is left to write.
func TestApplyIsResumedAfterAKill(t *testing.T) {
	n := manyEntities()
	store, flags := localTable(t)
	register(t, store)
	manifest := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(manifest, []byte(largeManifest(n)), 0o600); err != nil {
		t.Fatal(err)
	}
	do := func(args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), append(args, flags...), nil, &stdout, &stderr); status != exitOK {
			t.Fatalf("%s: %d\n%s", args, status, stderr.String())
		}
		return stdout.String()
	}
	counted := func(out string) (p struct{ Created, Deleted, Updated, Unchanged, Applied int }) {
		t.Helper()
		if err := json.Unmarshal([]byte(out), &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	all := counted(do("limits", "plan", "-f", manifest, "-o", "json")).Created

	killHalfWay(t, store, all, append([]string{"limits", "apply", "-y", "-f", manifest}, flags...)...)
	left := counted(do("limits", "plan", "-f", manifest, "-o", "json"))
	if left.Created == 0 || left.Created == all || left.Created+left.Unchanged != all || left.Updated+left.Deleted > 0 {
		t.Fatalf("after the kill: %+v of %d", left, all)
	}
	if resumed := counted(do("limits", "apply", "-y", "-f", manifest, "-o", "json")); resumed.Applied != left.Created {
		t.Errorf("resumed: %+v, %d were left", resumed, left.Created)
	}
	mark := markOf(t, store)
	calls := callsOf(t, &flags, func() {
		if again := counted(do("limits", "apply", "-y", "-f", manifest, "-o", "json")); again.Applied != 0 || again.Unchanged != all {
			t.Errorf("again: %+v", again)
		}
	})
	if after := markOf(t, store); after != mark {
		t.Errorf("a second apply has written: %v, then %v", mark, after)
	}
	maps.DeleteFunc(calls, func(operation string, _ int) bool { return slices.Contains(readings, operation) })
	if len(calls) > 0 {
		t.Errorf("a second apply has called %v", calls)
	}
	if out := do("limits", "export", "--manager", "ci"); out != largeManifest(n) {
		t.Error("the export isn't the manifest")
	}
}

// readings are the operations that write nothing.
var readings = []string{"DescribeTable", "DescribeTimeToLive", "GetItem", "BatchGetItem", "Query", "Scan"}

// callsOf counts the calls of each operation that reach the table of flags while
// something is done by them.
func callsOf(t *testing.T, flags *[]string, do func()) map[string]int {
	t.Helper()
	direct := *flags
	at := slices.Index(direct, "--endpoint-url") + 1
	proxy, err := faultproxy.Start(direct[at], nil)
	if err != nil {
		t.Fatal(err)
	}
	*flags = slices.Clone(direct)
	(*flags)[at] = proxy.URL
	do()
	*flags = direct
	if err := proxy.Close(); err != nil {
		t.Error(err)
	}
	calls := map[string]int{}
	for _, r := range proxy.Records() {
		calls[r.Operation]++
	}
	if len(calls) == 0 {
		t.Error("no call went through the proxy")
	}
	return calls
}

// killHalfWay runs a command in a process of its own, and kills it when at least
// a quarter of its changes are made.
func killHalfWay(t *testing.T, store *dynamostore.Store, all int, args ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Args[0] = "extauthz" // by which testscript.Main knows the command
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for ctx.Err() == nil {
		if markOf(t, store).Revision > int64(all/hierarchy.MaxPuts/4) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatalf("it was done before it was killed\n%s", out.String())
	}
}

func markOf(t *testing.T, store *dynamostore.Store) hierarchy.Mark {
	t.Helper()
	m, err := store.Mark(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	return m
}
