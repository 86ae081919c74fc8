package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/extauthz/extauthz/integration/harness"
)

// parts are the processes of the demo.
type parts struct {
	service *harness.Service
	envoy   *harness.Envoy
}

// start starts the service, then Envoy, and waits until both are ready.
func start(ctx context.Context, o options, q *quickstart, log io.Writer) (*parts, error) {
	if _, err := os.Stat(o.binary); err != nil {
		return nil, fmt.Errorf("%w: run `make demo`, which builds it", err)
	}
	binary, err := harness.FindEnvoy(".")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	service, err := harness.StartService(ctx, harness.ServiceConfig{
		Binary:  o.binary,
		Config:  q.service,
		Metrics: fmt.Sprintf("127.0.0.1:%d", q.port(portMetrics)),
		Echo:    log,
	})
	if err != nil {
		return nil, err
	}
	envoy, err := harness.StartEnvoy(ctx, harness.EnvoyConfig{
		Binary: binary, Config: q.envoy, AdminPort: q.port(portEnvoyAdmin),
	})
	if err != nil {
		return nil, errors.Join(err, service.Stop(time.Second))
	}
	return &parts{service: service, envoy: envoy}, nil
}

// stop ends both, Envoy first: it is the one that asks.
func (p *parts) stop() {
	p.envoy.Kill()
	// How the service ends is no part of what the demo shows.
	_ = p.service.Stop(5 * time.Second)
}

// gate passes on what is written once it is open: the service's log would stand
// between the answers, and is of use when the visitor starts to edit its file.
type gate struct {
	to io.Writer

	mu     sync.Mutex
	opened bool
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = true
}

// Write passes b on, or drops it.
func (g *gate) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.opened {
		return len(b), nil
	}
	return g.to.Write(b)
}
