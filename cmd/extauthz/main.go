// Command extauthz is the service and the tools around it: serve, validate,
// explain, version. Each command is a file that parses flags, makes one call and
// prints. `extauthz help` says more.
//
// Results go to standard output; errors and the service's log to standard
// error. The exit status is 0 when it was done, 1 when it failed, 3 when
// `explain --exit-code` finds a denial.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is stamped by the build.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
