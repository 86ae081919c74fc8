package infra_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/extauthz/extauthz/infra"
	"github.com/extauthz/extauthz/internal/motolocal"
)

// fences are the fenced blocks of a kind in docs/operations.md.
func fences(t *testing.T, kind string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	must(t, err)
	for _, m := range regexp.MustCompile("(?ms)^```"+kind+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1])
	}
	return all
}

// TestAWSCommandsRun runs what docs/operations.md has of AWS's own command line,
// in its order, against moto, with the exported template beside it.
func TestAWSCommandsRun(t *testing.T) {
	t.Parallel()
	tools, dir, lines, n := motolocal.Folder(t, ".."), t.TempDir(), "", 0
	script, err := filepath.Abs(filepath.Join("testdata", "aws.py"))
	must(t, err, os.WriteFile(filepath.Join(dir, "template.yaml"), []byte(infra.Template), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "aggregator.zip"), []byte("PK\x05\x06"+strings.Repeat("\x00", 18)), 0o600)) // one that is empty
	for _, block := range fences(t, "sh") {
		for line := range strings.Lines(block) {
			if strings.HasPrefix(line, "aws ") {
				lines += line
				n++
			}
		}
	}
	if n < 8 {
		t.Errorf("docs/operations.md has %d commands of AWS's", n)
	}
	// That it would notice what is wrong.
	lines += "! aws dynamodb update-table --table-nam extauthz\n" +
		"! aws dynamodb describe-table --table-name extauthz-3\n" +
		"! aws dynamodb update-time-to-live --table-name extauthz --time-to-live-specification On=true\n" +
		"! aws dynamodb restore-it --table-name extauthz\n"
	cmd := exec.CommandContext(t.Context(), "python3", "-W", "ignore", script)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+tools, "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestCDKTakesTheTemplate runs the program for CDK in docs/operations.md.
func TestCDKTakesTheTemplate(t *testing.T) {
	if os.Getenv("EXTAUTHZ_TEST_LONG") == "" {
		t.Skip("downloads CDK, 190 MB; EXTAUTHZ_TEST_LONG=1 runs it")
	}
	dir := t.TempDir()
	programs := fences(t, "js")
	if len(programs) != 1 {
		t.Fatalf("docs/operations.md has %d programs for CDK", len(programs))
	}
	must(t, os.WriteFile(filepath.Join(dir, "app.js"), []byte(programs[0]), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "template.yaml"), []byte(infra.Template), 0o600))
	for _, line := range []string{"npm install --no-audit --no-fund --silent aws-cdk-lib@2 constructs@10", "node app.js"} {
		words := strings.Fields(line)
		cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	made, err := os.ReadFile(filepath.Join(dir, "cdk.out", "limits.template.json"))
	must(t, err)
	for _, want := range []string{`"AWS::DynamoDB::Table"`, `"AWS::Lambda::EventSourceMapping"`, `"ManagedPolicyArns"`, `"ServePolicy"`} {
		if !strings.Contains(string(made), want) {
			t.Errorf("what CDK makes of it has no %s", want)
		}
	}
}
