// Package motolocal starts moto's server for tests: a stand-in for AWS that
// others have written, in memory, on a free port of the loopback, gone with the
// test process however that ends. `make tools` fetches it; it needs Python 3.
//
// Of CloudFormation it makes what a template says, all at once, and changes
// nothing by a change set: internal/awslocal does. It has streams of tables.
//
// The package is for tests alone; it imports the standard library. Start at
// Start.
package motolocal

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// program is the server, which ends with its input.
const program = `
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(["-H", "127.0.0.1", "-p", "0"])
`

// Start starts a server that ends with the test, and returns its URL. root is
// the module's folder, from the test's. In short runs, and as Folder says, the
// test is skipped.
func Start(t testing.TB, root string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server")
	}
	return run(t, Folder(t, root))
}

// Folder is where moto, AWS's own libraries and cfn-lint are. Where they aren't,
// the test is skipped; under continuous integration (CI=true) it fails for want of
// them.
func Folder(t testing.TB, root string) string {
	t.Helper()
	tools := os.Getenv("EXTAUTHZ_TOOLS")
	if tools == "" {
		tools = filepath.Join(root, ".tools")
	}
	dir, err := filepath.Abs(filepath.Join(tools, "aws"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = os.Stat(dir) //nolint:gosec // the developer names the folder
	switch {
	case errors.Is(err, fs.ErrNotExist) && os.Getenv("CI") != "true":
		t.Skip("no moto and cfn-lint: run `make tools`")
	case err != nil:
		t.Fatal(err)
	}
	return dir
}

func run(t testing.TB, dir string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "python3", "-c", program)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+dir, "PYTHONUNBUFFERED=1")
	input, err := cmd.StdinPipe() // kept open as long as this process lives
	if err != nil {
		t.Fatal(err)
	}
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	t.Cleanup(func() {
		_ = input.Close()
		<-drained
		_ = cmd.Wait()
	})
	running := regexp.MustCompile(`Running on (http://\S+)`)
	lines, url := bufio.NewScanner(said), ""
	for url == "" && lines.Scan() {
		if m := running.FindStringSubmatch(lines.Text()); m != nil {
			url = m[1]
		}
	}
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, said)
	}()
	if url == "" {
		t.Fatal("moto ended before it listened")
	}
	return url
}
