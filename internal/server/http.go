package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/extauthz/extauthz/internal/telemetry"
)

// newHTTP makes a server for people, probes and scrapers.
func newHTTP(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// newChecks makes a server for proxies that ask for decisions.
func newChecks(h http.Handler, log *slog.Logger, panicked func()) *http.Server {
	s := newHTTP(recovered(h, log, panicked), log)
	s.WriteTimeout = s.ReadTimeout  // answers are small, and decided within a second
	s.IdleTimeout = 5 * time.Minute // proxies end idle connections sooner, so that none is closed while it is used
	s.MaxHeaderBytes = 64 << 10     // of a request that Envoy lets through there are 60 KiB at most
	s.DisableGeneralOptionsHandler = true
	return s
}

// recovered answers 500 for a request that panics, as recovery does for calls.
func recovered(next http.Handler, log *slog.Logger, panicked func()) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if fault := recover(); fault != nil {
				panicked()
				log.Error("a request has failed by a fault of this program", "panic", fault, "stack", string(debug.Stack()))
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// metricsHandler serves metrics and the two probes.
func metricsHandler(m *telemetry.Metrics, r *readiness) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, req *http.Request) { say(w, r.check(req.Context())) })
	return mux
}

// say answers a probe.
func say(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	text := "ok\n"
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		text = err.Error() + "\n"
	}
	// That the prober has gone is nothing to tell anybody.
	_, _ = fmt.Fprint(w, text)
}

// stopHTTP lets what is being answered be answered, for as long as ctx lasts.
func stopHTTP(ctx context.Context, s *http.Server) error {
	err := s.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return s.Close()
	}
	return err
}
