//go:build integration

package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/extauthz/extauthz/integration/harness"
)

// demoPorts are those of the quickstart, which the demo can shift.
var demoPorts = []int{6070, 8081, 9090, 9901, 10000, 10001, 10002}

// freeShift finds a number that moves the demo's ports to free ones, so that it
// runs also where somebody uses the quickstart's own.
func freeShift(t *testing.T) int {
	t.Helper()
next:
	for range 100 {
		shift := 5000 + rand.IntN(15000)
		for _, p := range demoPorts {
			if harness.CheckPort(p+shift) != nil {
				continue next
			}
		}
		return shift
	}
	t.Fatal("no free ports for the demo in 100 tries")
	return 0
}

// buildDemo builds the demo as make does.
func buildDemo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "demo")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, "./demo").CombinedOutput()
	if err != nil {
		t.Fatalf("building the demo: %v\n%s", err, out)
	}
	return path
}

// TestDemoOnce runs a newcomer's first command, on other ports.
func TestDemoOnce(t *testing.T) {
	envoyBinary(t)
	shift := freeShift(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "make", "demo", fmt.Sprintf("ARGS=--once --shift %d", shift))
	cmd.Dir = ".."
	cmd.WaitDelay = 10 * time.Second
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MAKE") && !strings.HasPrefix(v, "MFLAGS=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make demo ARGS=--once: %v\n%s", err, out)
	}
	t.Logf("%s", out)
	for text, times := range map[string]int{"  200 OK": 6, "  429 Too Many Requests": 2, "retry-after: ": 2} {
		if n := strings.Count(string(out), text); n != times {
			t.Errorf("%q is printed %d times, want %d", text, n, times)
		}
	}
	portsAreFree(t, shift)
}

func TestDemoNamesATakenPort(t *testing.T) {
	envoyBinary(t)
	shift := freeShift(t)
	taken, err := net.Listen("tcp", local(10001+shift))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	demo := exec.CommandContext(t.Context(), buildDemo(t), "--once", "--shift", fmt.Sprint(shift), "--extauthz", binary)
	demo.Dir = ".."
	out, err := demo.CombinedOutput()
	if err == nil {
		t.Errorf("the demo ended with status 0 on a taken port")
	}
	want := fmt.Sprintf("port %d is taken (Envoy's listener with ext_authz", 10001+shift)
	if !strings.Contains(string(out), want) {
		t.Errorf("the demo said\n%s\nwant %q", out, want)
	}
}

// TestDemoLeavesNothing ends a demo that stays, in order and by force: its
// children go with it.
func TestDemoLeavesNothing(t *testing.T) {
	envoyBinary(t)
	path := buildDemo(t)
	for _, tc := range []struct {
		sig    syscall.Signal
		status string
	}{
		{syscall.SIGINT, ""},
		{syscall.SIGTERM, ""},
		{syscall.SIGKILL, "signal: killed"},
	} {
		t.Run(tc.sig.String(), func(t *testing.T) {
			shift := freeShift(t)
			demo, err := harness.Start(harness.Command{
				Name: "demo", Path: "/bin/sh", Args: []string{
					"-c", `cd .. && exec "$@"`, "sh", path, "--shift", fmt.Sprint(shift), "--extauthz", binary,
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(demo.Kill)
			eventually(t, startTimeout, "the demo says that it stays", func() bool {
				select {
				case <-demo.Done():
					t.Fatalf("the demo ended: %s", demo.Output())
				default:
				}
				return strings.Contains(demo.Output(), "It runs until Ctrl-C")
			})
			if err := demo.Signal(tc.sig); err != nil {
				t.Fatal(err)
			}
			select {
			case <-demo.Done():
			case <-time.After(20 * time.Second):
				t.Fatalf("the demo hasn't ended within 20 s:\n%s", demo.Output())
			}
			status := ""
			if err := demo.Err(); err != nil {
				status = err.Error()
			}
			if status != tc.status {
				t.Errorf("the demo ended with %q, want %q:\n%s", status, tc.status, demo.Tail(20))
			}
			portsAreFree(t, shift)
		})
	}
}

// portsAreFree waits until nothing listens on the demo's ports.
func portsAreFree(t *testing.T, shift int) {
	t.Helper()
	for _, p := range demoPorts {
		eventually(t, 10*time.Second, fmt.Sprintf("port %d is free again", p+shift), func() bool {
			return harness.CheckPort(p+shift) == nil
		})
	}
}
