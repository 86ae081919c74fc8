// Command demo shows the service at work: it starts the built service and a real
// Envoy on loopback with envoy-examples/quickstart, sends requests through both
// of Envoy's filters, shows the answers and stays until Ctrl-C. With --once it
// ends by itself, with status 0 if and only if the answers were the right ones.
//
// `make demo` builds what it needs and runs it in the module's folder. It
// imports integration/harness and the standard library. Start reading at run;
// script.go has the requests.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Exit statuses, those of the service's own commands.
const (
	exitOK     = 0
	exitFailed = 1
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the demo's flags.
type options struct {
	once   bool
	shift  int
	binary string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.once, "once", false, "end after the requests; status 0 if the answers were the right ones")
	flags.IntVar(&o.shift, "shift", 0, "add this to every port of the quickstart, when some are taken")
	flags.StringVar(&o.binary, "extauthz", "bin/extauthz", "the built service")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		return exitFailed
	}
	if err := demo(ctx, o, stdout, stderr); err != nil {
		printf(stderr, "\ndemo: %v\n", err)
		return exitFailed
	}
	return exitOK
}

// demo starts everything, plays the script and, unless once, stays.
func demo(ctx context.Context, o options, stdout, stderr io.Writer) error {
	example, err := loadQuickstart(o.shift)
	if err != nil {
		return err
	}
	defer example.remove()
	if err := example.checkPorts(); err != nil {
		return err
	}

	log := &gate{to: stderr}
	parts, err := start(ctx, o, example, log)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer parts.stop()

	printf(stdout, "Envoy asks extauthz on port %d before a request goes to the backend.\n", example.port(portGRPC))
	wrong, err := play(ctx, example, stdout)
	if err != nil {
		return interrupted(ctx, err)
	}
	if wrong > 0 {
		return fmt.Errorf("%d answers were not as expected (marked above); the service said:\n%s", wrong, parts.service.Tail(20))
	}
	if o.once {
		return nil
	}

	printNext(example, stdout)
	log.open()
	select {
	case <-ctx.Done():
		printf(stdout, "\nstopping\n")
		return nil
	case <-parts.service.Done():
		return fmt.Errorf("the service ended by itself:\n%s", parts.service.Tail(20))
	case <-parts.envoy.Done():
		return fmt.Errorf("the Envoy process ended by itself:\n%s", parts.envoy.Tail(20))
	}
}

// interrupted says so when the reason of err is that somebody pressed Ctrl-C.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// printf writes to the terminal. That nobody reads it is no reason to fail.
func printf(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}

// startTimeout is how long the parts get to become ready.
const startTimeout = 30 * time.Second
