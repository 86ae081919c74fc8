//go:build linux

package harness

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asParent makes this test binary a parent that starts a child, says which, and
// waits to be killed.
const asParent = "HARNESS_AS_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(asParent) != "" {
		child, err := Start(Command{Name: "child", Path: "/bin/sleep", Args: []string{"60"}})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Printf("child %d\n", child.PID())
		<-child.Done()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// eventually waits until ok says true, for ten seconds at most.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(poll) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func shell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Command{Name: "shell", Path: "/bin/sh", Args: []string{"-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func TestStop(t *testing.T) {
	const forever = "; echo up; while :; do sleep 0.05; done"
	for name, tc := range map[string]struct {
		script string
		grace  time.Duration
		want   string
	}{
		"ends in order":      {"trap 'exit 0' TERM" + forever, 10 * time.Second, ""},
		"ends with a status": {"trap 'exit 3' TERM" + forever, 10 * time.Second, "exit status 3"},
		"won't end":          {"trap '' TERM" + forever, 100 * time.Millisecond, "shell didn't end within 100ms of SIGTERM, killed"},
	} {
		t.Run(name, func(t *testing.T) {
			p := shell(t, tc.script)
			eventually(t, "the shell says that it is up", func() bool { return strings.Contains(p.Output(), "up") })
			got := ""
			if err := p.Stop(tc.grace); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("Stop: %q, want %q", got, tc.want)
			}
		})
	}
}

func TestStopAfterTheEnd(t *testing.T) {
	p := shell(t, "exit 4")
	<-p.Done()
	if err := p.Stop(time.Second); err == nil || err.Error() != "exit status 4" {
		t.Errorf("Stop: %v, want exit status 4", err)
	}
}

func TestStartFails(t *testing.T) {
	_, err := Start(Command{Name: "nothing", Path: "/does/not/exist"})
	if err == nil || !strings.HasPrefix(err.Error(), "starting nothing: ") {
		t.Errorf("Start: %v, want an error that names what wasn't started", err)
	}
}

func TestTail(t *testing.T) {
	p := shell(t, "echo one; echo two >&2; echo three")
	<-p.Done()
	if got, want := p.Tail(2), "two\nthree"; got != want {
		t.Errorf("Tail(2) = %q, want %q", got, want)
	}
	if got, want := p.Tail(9), "one\ntwo\nthree"; got != want {
		t.Errorf("Tail(9) = %q, want %q", got, want)
	}
}

func TestOutputIsBounded(t *testing.T) {
	var o output
	line := []byte(strings.Repeat("x", 1<<10) + "\n")
	for range 2 * maxOutput / len(line) {
		if _, err := o.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(o.String()); n > maxOutput || n < maxOutput-len(line) {
		t.Errorf("%d bytes are kept, want about %d", n, maxOutput)
	}
}

func TestChildDiesWithItsParent(t *testing.T) {
	parent, err := Start(Command{Name: "parent", Path: os.Args[0], Env: []string{asParent + "=1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(parent.Kill)
	var child int
	eventually(t, "the parent names its child", func() bool {
		_, pid, ok := strings.Cut(strings.TrimSpace(parent.Output()), "child ")
		if !ok {
			return false
		}
		child, err = strconv.Atoi(pid)
		return err == nil
	})
	if err := syscall.Kill(child, 0); err != nil {
		t.Fatalf("the child isn't there: %v", err)
	}
	if err := parent.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child is gone", func() bool { return !running(child) })
}

// running reports whether a process is there and isn't a zombie that nobody has
// waited for.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}
