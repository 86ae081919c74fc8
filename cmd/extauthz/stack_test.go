package main

import (
	"archive/zip"
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.yaml.in/yaml/v3"

	"github.com/extauthz/extauthz"
	"github.com/extauthz/extauthz/infra"
	"github.com/extauthz/extauthz/internal/awslocal"
	"github.com/extauthz/extauthz/internal/ddblocal"
	"github.com/extauthz/extauthz/internal/motolocal"
)

// awsVars lead every AWS tool to a local one.
func awsVars(url string) []string {
	return []string{
		"EXTAUTHZ_ENDPOINT_URL=" + url, "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// zippedProgram is a zip of an aggregator that does nothing.
func zippedProgram(version string) ([]byte, error) {
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_AARCH64), Version: 1, Ehsize: 64}
	copy(header.Ident[:], elf.ELFMAG+string([]byte{byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1}))
	var file bytes.Buffer
	z := zip.NewWriter(&file)
	w, err := z.Create("bootstrap")
	if err != nil {
		return nil, err
	}
	err = errors.Join(binary.Write(w, binary.LittleEndian, header), func() error { _, err := w.Write([]byte(version)); return err }(), z.Close())
	return file.Bytes(), err
}

// Deployments on the stand-in of CloudFormation, as a user types them. A script
// has commands of its own beside the usual ones, two versions of an aggregator,
// one.zip and two.zip, and a name for a table of its own, $LOOSE. All share one
// DynamoDB: no two may have a stack of the same name.
func TestStackScripts(t *testing.T) {
	tables := new(ddblocal.Shared)
	type key struct{}
	server := func(ts *testscript.TestScript) *awslocal.Server { return ts.Value(key{}).(*awslocal.Server) }
	commands := scriptCommands()
	commands["fail"] = func(ts *testscript.TestScript, _ bool, args []string) {
		server(ts).Fail(args[0], strings.Join(args[1:], " "))
	}
	commands["consume"] = func(ts *testscript.TestScript, _ bool, _ []string) { server(ts).Consume(1_000_000, 200_000) }
	commands["begin"] = func(ts *testscript.TestScript, _ bool, args []string) { server(ts).Begin(args[0]) }
	runScripts(t, testscript.Params{
		Dir: "testdata/stack", Cmds: commands,
		Setup: func(e *testscript.Env) error {
			s := awslocal.Start(e.T().(testing.TB), tables)
			s.Hurry()
			e.Values[key{}] = s
			loose := fmt.Sprintf("test-%d", time.Now().UnixNano())
			e.Defer(func() { removeTable(s.URL, loose) })
			e.Vars = append(append(e.Vars, "LOOSE="+loose), awsVars(s.URL)...)
			for _, version := range []string{"one", "two"} {
				zipped, err := zippedProgram(version)
				if err := errors.Join(err, os.WriteFile(filepath.Join(e.WorkDir, version+".zip"), zipped, 0o600)); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// Deployments on moto, which makes what the template says.
func TestStackOnMoto(t *testing.T) {
	url := motolocal.Start(t, filepath.Join("..", ".."))
	runScripts(t, testscript.Params{
		Dir: "testdata/moto",
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, awsVars(url)...)
			return nil
		},
	})
}

// operator is a program that deploys by the library: operator open|status|delete.
// It declares a stack without an aggregator, and one that isn't protected where
// its second argument says so.
func operator() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o := extauthz.Options{}
	if os.Args[1] == "open" {
		o.Deploy = &extauthz.StackOptions{NoAggregator: true, NoDeletionProtection: slices.Contains(os.Args, "unprotected")}
	}
	if err := operate(ctx, o, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func operate(ctx context.Context, o extauthz.Options, what string) error {
	limiter, err := extauthz.Open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = limiter.Close() }() //nolint:contextcheck // it is bounded by itself
	if what == "delete" {
		return limiter.DeleteStack(ctx)
	}
	status, err := limiter.Status(ctx)
	switch {
	case !status.Available:
		fmt.Println("DynamoDB not reachable")
	case strings.Contains(status.StackStatus, "IN_PROGRESS"):
		fmt.Println("Operation in progress:", status.StackStatus)
	case strings.Contains(status.StackStatus, "FAILED"):
		fmt.Println("Stack in failed state:", status.StackStatus)
	default:
		fmt.Printf("Stack is ready: %s, latency %dms\n", status.StackStatus, status.Latency.Milliseconds())
	}
	return err
}

// The flags of deploy say all that the template can be told, and nothing else.
func TestFlagsAreTheTemplates(t *testing.T) {
	var template struct {
		Parameters map[string]any `yaml:"Parameters"`
	}
	if err := yaml.Unmarshal([]byte(infra.Template), &template); err != nil {
		t.Fatal(err)
	}
	for _, own := range []string{"AggregatorCodeKey", "AggregatorArchitecture"} { // of the code, which is at hand
		delete(template.Parameters, own)
	}
	flags := map[string]bool{}
	for _, s := range switches() {
		flags[s.parameter] = true
	}
	for _, v := range values() {
		flags[v.parameter] = true
	}
	for name := range template.Parameters {
		if !flags[name] {
			t.Errorf("no flag of deploy is for %s", name)
		}
	}
	for name := range flags {
		if template.Parameters[name] == nil {
			t.Errorf("the template has no %s", name)
		}
	}
}

// What the commands about deployments print as JSON is what is documented.
func TestStackJSONIsAsDocumented(t *testing.T) {
	s := awslocal.Start(t, new(ddblocal.Shared))
	s.Hurry()
	for _, v := range awsVars(s.URL) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	dir := t.TempDir()
	zipped, err := zippedProgram("one")
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "one.zip"), zipped, 0o600)); err != nil {
		t.Fatal(err)
	}
	sections, stack := documented(t), fmt.Sprintf(" --name test-%d", time.Now().UnixNano())
	s.Fail("ServePolicy", "not allowed")
	s.Consume(1_000_000, 200_000)
	for _, c := range []struct {
		section, line string
		status        int
	}{
		{"error", "deploy -y --aggregator-zip " + dir + "/one.zip" + stack, exitFailed},
		{"status", "status" + stack, exitFailed},
		{"deployed", "deploy -y --no-deletion-protection --aggregator-zip " + dir + "/one.zip" + stack, exitOK},
		{"deployed", "deploy -y --policy-name-format x-{}" + stack, exitOK},
		{"status", "status" + stack, exitOK},
		{"stacks", "list", exitOK},
		{"deleted", "delete -y" + stack, exitOK},
		{"error", "delete -y" + stack, exitFailed},
	} {
		var stdout, stderr bytes.Buffer
		if got := run(t.Context(), append(strings.Fields(c.line), "-o", "json"), strings.NewReader(""), &stdout, &stderr); got != c.status {
			t.Fatalf("%s: %d\n%s%s", c.line, got, stdout.String(), stderr.String())
		}
		s.Fail("ServePolicy", "")
		out := stdout.Bytes()
		if c.section == "error" {
			out = stderr.Bytes()
		} else if stderr.Len() > 0 {
			t.Errorf("%s: %s", c.line, stderr.String())
		}
		var v any
		if err := json.Unmarshal(out, &v); err != nil {
			t.Fatalf("%s: %v\n%s", c.line, err, out)
		}
		printed := map[string]bool{}
		paths(v, "", printed)
		compare(t, c.line, sections[c.section], printed)
	}
}
