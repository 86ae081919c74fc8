package harness

import (
	"context"
	"fmt"
	"io"
)

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
