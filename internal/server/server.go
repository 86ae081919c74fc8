package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/envoy"
	"github.com/extauthz/extauthz/internal/httpcheck"
	"github.com/extauthz/extauthz/internal/recent"
	"github.com/extauthz/extauthz/internal/telemetry"
)

// Options are what a service is started with.
type Options struct {
	Config *config.Config
	// Reload reads the configuration anew; nil: it stays as it is.
	Reload func() (*config.Config, *config.Report)
	// Hangup asks for a reload by hand; nil: nobody does.
	Hangup  <-chan os.Signal
	Version string
	Log     *slog.Logger
	Level   *slog.LevelVar // of Log
	// Serving, if not nil, is called once with the addresses in use, when
	// everything is served.
	Serving func(Addresses)
}

// Addresses are those that a service is reached at; empty is off.
type Addresses struct{ GRPC, HTTP, Metrics, Admin string }

// Run serves until ctx is done, then stops in order: it says that it isn't
// serving any more, waits for callers to notice, and finishes what it has begun.
// It returns nil then, else an error, a *Error where somebody can do something.
func Run(ctx context.Context, o Options) error {
	s, err := start(ctx, &o)
	if err != nil {
		return err
	}
	return s.run(ctx)
}

// heapFloor counts as live, so that a small service doesn't collect garbage all
// the time: about as much piles up before it does. It is never touched, so no
// memory backs it. Beside what a large one holds it is little: there as much
// piles up as is live, as Go has it. GOGC in the environment says otherwise.
const heapFloor = 80 << 20

// TuneGC keeps the floor for the whole process, until the function that it
// returns has been called.
func TuneGC() (release func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	floor := make([]byte, heapFloor)
	return func() { runtime.KeepAlive(floor) }
}

// server is a service with its ports open.
type server struct {
	options  *Options
	core     *core
	policies *policies
	ready    *readiness
	watcher  *watcher      // nil: the configuration isn't watched
	tls      *certificates // nil: there are none
	services *envoy.Services

	grpc         *grpc.Server
	health       *health.Server
	grpcListener *listener
	http         []httpServer
}

// httpServer is one of the ports beside gRPC's.
type httpServer struct {
	name     string // the key that configures it
	server   *http.Server
	listener *listener
}

// start opens every port and makes everything ready, or leaves nothing open.
func start(ctx context.Context, o *Options) (*server, error) {
	s := &server{options: o}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.closeListeners(), s.tls.close(), s.closeCore(ctx))
	}
	return s, nil
}

func (s *server) prepare(ctx context.Context) (err error) {
	o := s.options
	if s.core, err = newCore(ctx, o); err != nil {
		return err
	}
	if s.ready, err = newReadiness(s.core.counted, o.Config.Namespace); err != nil {
		return err
	}
	s.policies = newPolicies(o, s.core)
	if o.Config.TLS.Cert != "" {
		if s.tls, err = newCertificates(ctx, o.Config.TLS, s.core.metrics.TLS(), o.Log); err != nil {
			return err
		}
	}
	metrics := s.core.metrics
	s.services = envoy.New(envoy.Config{
		Decider: s.core.decider, Policy: s.policies.inForce,
		RateLimit: metrics.Calls(telemetry.ProtocolRateLimit), ExtAuthz: metrics.Calls(telemetry.ProtocolExtAuthz),
	})
	if err := s.open(ctx); err != nil {
		return err
	}
	if files := watchedBy(o.Config); o.Reload != nil && len(files) > 0 {
		if s.watcher, err = watch(files, o.Log); err != nil {
			return err
		}
	}
	s.grpc, s.health = newGRPC(s.services, o.Log, metrics.Panicked, s.tls.secureGRPC(o.Config.Listen.GRPC)...)
	return nil
}

// The keys that configure the ports beside gRPC's.
const (
	listenHTTP    = "listen.http"
	listenMetrics = "listen.metrics"
	listenAdmin   = "listen.admin"
)

// open opens the ports.
func (s *server) open(ctx context.Context) (err error) {
	addresses, log, metrics := s.options.Config.Listen, s.options.Log, s.core.metrics
	if s.grpcListener, err = listen(ctx, "listen.grpc", addresses.GRPC); err != nil {
		return err
	}
	for _, p := range []struct {
		name, address string
		server        func(host string) *http.Server
		tls           *certificates
		mutual        bool
	}{
		{listenHTTP, addresses.HTTP, func(string) *http.Server { return newChecks(s.checksHandler(), log, metrics.Panicked) }, s.tls, true},
		{listenMetrics, addresses.Metrics, func(string) *http.Server { return newHTTP(metricsHandler(metrics, s.ready), log) }, s.tls, false},
		{listenAdmin, addresses.Admin, func(host string) *http.Server { return newHTTP(s.adminHandler(host), log) }, nil, false},
	} {
		if p.address == "" {
			continue
		}
		l, err := listen(ctx, p.name, p.address)
		if err != nil {
			return err
		}
		host, _, err := net.SplitHostPort(p.address)
		if err != nil { // a socket has no host
			host = ""
		}
		h := p.server(host)
		p.tls.secureHTTP(h, p.address, p.mutual)
		s.http = append(s.http, httpServer{p.name, h, l})
	}
	return nil
}

func (s *server) checksHandler() http.Handler {
	metrics, c := s.core.metrics, httpcheck.Config{Serving: s.ready.serving.Load}
	if s.options.Config.Ratelimit.Folder != "" { // nothing in it is for checks
		c.RateLimit, c.RateLimitCalls = s.services.RateLimit, metrics.Calls(telemetry.ProtocolRateLimit)
		return httpcheck.Handler(c)
	}
	c.Authorization, c.ExtAuthzCalls = s.services.Authorization, metrics.Calls(telemetry.ProtocolExtAuthz)
	c.Trusted = s.options.Config.TrustedProxies
	return httpcheck.Handler(c)
}

func (s *server) adminHandler(host string) http.Handler {
	return admin.Handler(admin.Config{
		Explainer: admin.Explainer{Decider: s.core.decider, Limiter: s.core.limiter, Live: true},
		Policy:    s.policies.inForce, Info: s.policies.about,
		Level: s.options.Level, Log: s.options.Log, Host: host, Store: s.core.store.configuration, Recent: s.core.recent,
	})
}

func (s *server) closeListeners() error {
	var errs []error
	if s.grpcListener != nil {
		errs = append(errs, s.grpcListener.Close())
	}
	for _, h := range s.http {
		errs = append(errs, h.listener.Close())
	}
	return errors.Join(errs...)
}

// addresses are those in use, with the ports that the system has chosen.
func (s *server) addresses() Addresses {
	a := Addresses{GRPC: addressOf(s.grpcListener)}
	for _, h := range s.http {
		switch address := addressOf(h.listener); h.name {
		case listenHTTP:
			a.HTTP = address
		case listenMetrics:
			a.Metrics = address
		case listenAdmin:
			a.Admin = address
		}
	}
	return a
}

func addressOf(l *listener) string {
	if l.Addr().Network() == "unix" {
		return unixPrefix + l.Addr().String()
	}
	return l.Addr().String()
}

// run serves until ctx is done or a port fails.
func (s *server) run(ctx context.Context) error {
	o := s.options
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := s.grpc.Serve(s.grpcListener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serving gRPC: %w", err)
		}
		return nil
	})
	for _, h := range s.http {
		group.Go(func() error {
			if err := h.serve(); err != nil && !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serving %s: %w", h.listener.Addr(), err)
			}
			return nil
		})
	}
	background, stopBackground := context.WithCancel(running)
	group.Go(func() error { return s.core.store.tend(background) })
	group.Go(func() error { s.reloads(background); return nil })
	group.Go(func() error { every(background, recent.Window, s.core.recent.Turn); return nil })
	s.ready.serving.Store(true)
	a := s.addresses()
	o.Log.Info("serving", "grpc", a.GRPC, "http", a.HTTP, "metrics", a.Metrics, "admin", a.Admin,
		"config", o.Config.ID(), "rules", len(o.Config.Rules.All()), "version", o.Version)
	if o.Serving != nil {
		o.Serving(a)
	}

	<-running.Done()
	stopBackground()
	stopped := s.stop(ctx)
	err := errors.Join(group.Wait(), stopped, s.closeCore(ctx))
	o.Log.Info("stopped")
	return err
}

// closeCore gives what was charged and is still out its time to come back, then
// closes the store.
func (s *server) closeCore(ctx context.Context) error {
	if s.core == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
	defer cancel()
	return s.core.close(ctx)
}

// reloads loads certificates when they have changed, and the configuration then
// or when it is asked for.
func (s *server) reloads(ctx context.Context) {
	var group errgroup.Group
	if s.tls != nil {
		group.Go(func() error { return s.tls.run(ctx) })
	}
	if w := s.watcher; w != nil {
		group.Go(func() error {
			w.run(ctx, func() { s.policies.reload(ctx) })
			return w.close()
		})
	}
	group.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-s.options.Hangup:
				s.options.Log.Info("asked to load the configuration again")
				s.policies.reload(ctx)
			}
		}
	})
	if err := group.Wait(); err != nil {
		s.options.Log.Warn("ending the watch of files", "err", err)
	}
}

const (
	// noticeWithin is how long callers get to notice that the service isn't
	// serving any more: two of Envoy's usual health checks and a little.
	noticeWithin = 5 * time.Second
	// finishWithin is how long what has begun gets to be finished.
	finishWithin = 10 * time.Second
	// lookEvery is how often it is looked whether anybody is connected still.
	lookEvery = 20 * time.Millisecond
)

// stop ends the service in order, or at once when it is for a port that has
// failed and not for ctx.
func (s *server) stop(ctx context.Context) error {
	failed := ctx.Err() == nil
	s.ready.serving.Store(false)
	s.health.Shutdown()
	if !failed {
		s.options.Log.Info("stopping", "connections", s.connected())
		s.awaitLeave()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
	defer cancel()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		s.grpc.GracefulStop()
	}()
	select {
	case <-finished:
	case <-ctx.Done():
		s.options.Log.Warn("stopping though calls haven't ended", "after", finishWithin)
		s.grpc.Stop()
		<-finished
	}
	var errs []error
	for _, h := range s.http {
		errs = append(errs, stopHTTP(ctx, h.server))
	}
	return errors.Join(errs...)
}

// awaitLeave waits until nobody is connected, for as long as callers get to
// notice.
func (s *server) awaitLeave() {
	deadline := time.NewTimer(noticeWithin)
	defer deadline.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for s.connected() > 0 {
		select {
		case <-deadline.C:
			return
		case <-look.C:
		}
	}
}

// connected is how many connections there are for decisions.
func (s *server) connected() int64 {
	n := s.grpcListener.open.Load()
	for _, h := range s.http {
		if h.name == listenHTTP {
			n += h.listener.open.Load()
		}
	}
	return n
}
