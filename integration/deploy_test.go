//go:build integration

package integration

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestTheBinaryHoldsTheAggregator exports from the binary that `make build` made
// what a deployment needs: the code, for the machine that the template asks for,
// and the template.
func TestTheBinaryHoldsTheAggregator(t *testing.T) {
	if os.Getenv("EXTAUTHZ_BIN") == "" && os.Getenv("CI") != "true" {
		t.Skip("the binary isn't that of `make build`: EXTAUTHZ_BIN names none")
	}
	file := filepath.Join(t.TempDir(), "lambda.zip")
	out, err := exec.CommandContext(t.Context(), binary, "lambda-export", file, "-o", "json").Output()
	if err != nil {
		t.Fatalf("lambda-export: %v", err)
	}
	var said struct {
		Architecture string
		Bytes        int
	}
	if err := json.Unmarshal(out, &said); err != nil || said.Architecture != "arm64" {
		t.Errorf("%s: %v", out, err)
	}
	zipped, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(zipped); n != said.Bytes || n > 10<<20 {
		t.Errorf("the zip has %d bytes", n)
	}
	isProgram(t, zipped)
	if out, err := exec.CommandContext(t.Context(), binary, "lambda-export", file).CombinedOutput(); err == nil {
		t.Errorf("written over without being told: %s", out)
	}

	printed, err := exec.CommandContext(t.Context(), binary, "cfn-template").Output()
	if err != nil {
		t.Fatal(err)
	}
	template, err := os.ReadFile(filepath.Join("..", "infra", "template.yaml"))
	if err != nil || !bytes.Equal(printed, template) {
		t.Errorf("cfn-template prints another template: %v", err)
	}
}

// isProgram checks that a zip has what Lambda starts.
func isProgram(t *testing.T, zipped []byte) {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(zipped), int64(len(zipped)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := z.Open("bootstrap")
	if err != nil {
		t.Fatal(err)
	}
	program, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	e, err := elf.NewFile(bytes.NewReader(program))
	if err != nil || e.Machine != elf.EM_AARCH64 {
		t.Errorf("bootstrap: %v", err)
	}
}
