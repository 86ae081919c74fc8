package main

import (
	"net"
	"os"
	"regexp"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptCommands are what scripts have beside testscript's own commands.
func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"await": scriptAwait, "signal": scriptSignal, "hold": scriptHold, "until": scriptUntil,
	}
}

// scriptAwait waits until a file says something: await REGEXP FILE.
func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await REGEXP FILE")
	}
	wanted, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var content []byte
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		// A file that isn't there yet is one that doesn't say it yet.
		if content, err = os.ReadFile(ts.MkAbs(args[1])); err == nil && wanted.Match(content) {
			return
		}
	}
	ts.Fatalf("%s never says %q (%v)\n%s", args[1], args[0], err, content)
}

// scriptSignal sends a signal to what runs in the background: signal HUP or
// signal TERM.
func scriptSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM}
	if neg || len(args) != 1 || signals[args[0]] == nil {
		ts.Fatalf("usage: signal HUP|TERM")
	}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(signals[args[0]]))
	}
}

// scriptHold listens on a free address until the script ends, and names it:
// hold VARIABLE.
func scriptHold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hold VARIABLE")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

// scriptUntil runs a program until it prints something: until REGEXP PROGRAM
// ARGUMENT... It is for what is in force soon, not at once.
func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP PROGRAM ARGUMENT...")
	}
	wanted, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && wanted.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%q never prints %q (%v)", args[1:], args[0], err)
		}
	}
}
