package harness

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// WithService calls run with the path of the service's binary: the one that
// EXTAUTHZ_BIN names, else one that it builds of the module at root and removes
// afterwards. It returns what run does, or 1 where the service doesn't build.
func WithService(root string, run func(binary string) int) int {
	if binary := os.Getenv("EXTAUTHZ_BIN"); binary != "" {
		return run(binary)
	}
	dir, err := os.MkdirTemp("", "extauthz-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "extauthz")
	//nolint:gosec // the developer names the module
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, filepath.Join(root, "cmd", "extauthz")).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the service: %v\n%s", err, out)
		return 1
	}
	return run(binary)
}

// ServiceConfig says how the service is started.
type ServiceConfig struct {
	Binary  string
	Config  string // path of its configuration file
	Metrics string // host:port of its metrics, as in that file
	Args    []string
	Env     []string // added to this process's own
	Echo    io.Writer
}

// Service is a running `extauthz serve`.
type Service struct {
	*Process
	metrics string
}

// StartService starts the service and waits until it says that it is ready, as
// long as ctx lasts. The caller stops it.
func StartService(ctx context.Context, c ServiceConfig) (*Service, error) {
	p, err := Start(Command{
		Name: "extauthz",
		Path: c.Binary,
		Args: append([]string{"serve", "--config", c.Config}, c.Args...),
		Env:  c.Env,
		Echo: c.Echo,
	})
	if err != nil {
		return nil, err
	}
	s := &Service{Process: p, metrics: fmt.Sprintf("http://%s", c.Metrics)}
	if err := waitReady(ctx, p, s.metrics+"/readyz"); err != nil {
		p.Kill()
		return nil, err
	}
	return s, nil
}

// Samples are the service's metrics.
func (s *Service) Samples(ctx context.Context) (Samples, error) {
	page, err := get(ctx, s.metrics+"/metrics")
	if err != nil {
		return nil, err
	}
	return parseSamples(page, " "), nil
}
