// Package ddblocal starts a DynamoDB for tests: in memory, on a free port of
// the loopback, gone with the test process however that ends.
//
// It is dynalite (Node.js, Apache-2.0), which evaluates expressions, counts
// capacity and words its refusals as DynamoDB does, with what it lacks added
// here: a false condition returns the item, tables can be given an expiry
// (server.js), and there are transactions, of one table each (transactions.js).
// `make tools` fetches it. It takes a few thousand writes a second.
//
// EXTAUTHZ_TEST_DYNAMODB names the URL of another DynamoDB to test against.
// The tests make their own tables there and remove them.
//
// The package is for tests alone; it imports the standard library. Start
// reading at [Shared].
package ddblocal

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

//go:embed transactions.js
var transactions string

//go:embed server.js
var server string

const (
	folder   = "ddblocal-4.0.0" // as tools/fetch-ddblocal names it
	starting = 20 * time.Second // how long a start may take on a busy machine
)

// ErrNotInstalled says that a part of the server isn't on this machine.
var ErrNotInstalled = errors.New("no local DynamoDB")

// Shared is one server for all tests of a package, started by the first that
// asks. The zero value is ready; it may be used from several goroutines.
type Shared struct {
	once sync.Once
	url  string
	err  error
}

// URL is where the server listens. Where it can't run for want of Node.js or
// of what `make tools` fetches, the test is skipped with that as the reason;
// under continuous integration (CI=true) it fails.
func (s *Shared) URL(t testing.TB) string {
	t.Helper()
	s.once.Do(func() {
		if s.url = os.Getenv("EXTAUTHZ_TEST_DYNAMODB"); s.url != "" {
			return
		}
		s.url, s.err = Start(os.Getenv("EXTAUTHZ_TOOLS"))
	})
	switch {
	case errors.Is(s.err, ErrNotInstalled) && os.Getenv("CI") != "true":
		t.Skip(s.err)
	case s.err != nil:
		t.Fatal(s.err)
	}
	return s.url
}

// Start starts a server that ends with this process, and returns its URL once
// it answers. tools is the folder that `make tools` fills; when empty, .tools
// of the module that holds the working folder. The error matches
// ErrNotInstalled when a part is missing.
func Start(tools string) (string, error) {
	if tools == "" {
		root, err := moduleRoot()
		if err != nil {
			return "", err
		}
		tools = filepath.Join(root, ".tools")
	}
	modules := filepath.Join(tools, folder, "node_modules")
	if _, err := os.Stat(modules); err != nil { //nolint:gosec // the developer names the folder
		return "", fmt.Errorf("%w: run `make tools` (%w)", ErrNotInstalled, err)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return "", fmt.Errorf("%w: Node.js 20 is needed (%w)", ErrNotInstalled, err)
	}
	return run(node, modules)
}

// run starts the server. Its input is a pipe whose other end closes when this
// process ends, however it ends: that is the server's sign to end too.
func run(node, modules string) (string, error) {
	input, hold, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("making the server's input: %w", err)
	}
	cmd := exec.Command(node, "-e", transactions+server) //nolint:gosec // the interpreter that the developer installed
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	cmd.Stdin = input
	var complaints strings.Builder
	cmd.Stderr = &complaints
	output, err := cmd.StdoutPipe()
	if err != nil {
		return "", fmt.Errorf("making the server's output: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("starting the local DynamoDB: %w", err)
	}
	if err := input.Close(); err != nil {
		return "", fmt.Errorf("closing the server's end of its input: %w", err)
	}
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(output).ReadString('\n') // empty when it ended: below
		said <- strings.TrimSpace(line)
	}()
	select {
	case port := <-said:
		if port == "" {
			return "", fmt.Errorf("the local DynamoDB ended (%w): %s", cmd.Wait(), complaints.String())
		}
		url := "http://127.0.0.1:" + port
		go wait(cmd, output, hold)
		return url, ready(url)
	case <-time.After(starting):
		return "", errors.Join(fmt.Errorf("the local DynamoDB said nothing for %v", starting), cmd.Process.Kill())
	}
}

// wait collects the server when it ends; hold is kept open, and by being used
// here from the collector's reach, for as long.
func wait(cmd *exec.Cmd, output io.Reader, hold *os.File) {
	_, _ = io.Copy(io.Discard, output) // until it ends
	_ = cmd.Wait()                     // nobody is left to tell
	_ = hold.Close()
}

func ready(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), starting)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("asking the local DynamoDB: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking the local DynamoDB: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the local DynamoDB answers %s", response.Status)
	}
	http.DefaultClient.CloseIdleConnections()
	return nil
}

// moduleRoot finds the folder of go.mod, above the folder of the test.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("no go.mod above %s", dir)
		}
	}
}
