package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"extauthz": func() {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}, "app": app, "operator": operator})
}

// The commands as a user types them.
func TestScripts(t *testing.T) {
	runScripts(t, testscript.Params{Dir: "testdata/script"})
}

// runScripts runs scripts with the commands that all of them have.
func runScripts(t *testing.T, p testscript.Params) {
	t.Helper()
	p.RequireExplicitExec = true
	if p.Cmds == nil {
		p.Cmds = scriptCommands()
	}
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		e.Vars = append(e.Vars, noRaceSleep)
		if setup == nil {
			return nil
		}
		return setup(e)
	}
	testscript.Run(t, p)
}

// noRaceSleep has a program with the race detector end when it ends: it would
// else wait a second for others to report races, each time a command is run.
const noRaceSleep = "GORACE=atexit_sleep_ms=0"
