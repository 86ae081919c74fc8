package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/extauthz/extauthz/internal/telemetry"
	"github.com/extauthz/extauthz/internal/tlsfiles"
)

// certificates are what the service proves itself with, as the files have it.
type certificates struct {
	live    *tlsfiles.Live
	watcher *watcher
	metrics *telemetry.TLS
	log     *slog.Logger
}

// newCertificates reads the files and begins to watch them. The caller calls
// run, or close.
func newCertificates(ctx context.Context, f tlsfiles.Files, metrics *telemetry.TLS, log *slog.Logger) (*certificates, error) {
	// The watch comes first, so that no change falls between the two.
	w, err := newWatcher(f.Paths(), log)
	if err != nil {
		return nil, err
	}
	c := &certificates{watcher: w, metrics: metrics, log: log}
	if c.live, err = tlsfiles.Open(f); err != nil {
		return nil, errors.Join(certificateError(err), w.close())
	}
	metrics.Loaded(c.live.Expires())
	c.announce(ctx, "the certificate is in use")
	return c, nil
}

func certificateError(err error) error {
	e := new(tlsfiles.Error)
	if !errors.As(err, &e) {
		return err
	}
	return &Error{What: "tls." + e.File, Hint: fmt.Sprintf("put the file right, or change tls.%s", e.File), Err: err}
}

func (c *certificates) announce(ctx context.Context, what string) {
	level, expires := slog.LevelInfo, c.live.Expires()
	if !expires.After(time.Now()) { // it may be a clock that is wrong, and clients decide
		level, what = slog.LevelWarn, what+", though it has expired"
	}
	c.log.Log(ctx, level, what, "expires", expires.UTC())
}

// run has what the files hold used as they change, until ctx is done.
func (c *certificates) run(ctx context.Context) error {
	c.watcher.run(ctx, func() {
		if err := c.live.Reload(); err != nil {
			c.metrics.ReloadFailed()
			c.log.Error("the changed certificate or key is refused, the ones before stay in use", "err", err)
			return
		}
		c.announce(ctx, "the changed certificate is in use")
		c.metrics.Reloaded(c.live.Expires())
	})
	return c.close()
}

// close ends the watch. nil is none.
func (c *certificates) close() error {
	if c == nil {
		return nil
	}
	return c.watcher.close()
}

// secureGRPC is what has a gRPC server at an address use the certificates; nil
// is none. Clients show one too where there are roots for theirs.
func (c *certificates) secureGRPC(address string) []grpc.ServerOption {
	if c == nil || isSocket(address) {
		return nil
	}
	return []grpc.ServerOption{grpc.Creds(credentials.NewTLS(c.live.MutualServer("h2")))}
}

// secureHTTP has a server at an address use the certificates; nil is none.
// Clients show one too where they have to and there are roots for theirs; those
// of the metrics port are probes, which have none.
func (c *certificates) secureHTTP(s *http.Server, address string, mutual bool) {
	if c == nil || isSocket(address) {
		return
	}
	config := c.live.Server
	if mutual {
		config = c.live.MutualServer
	}
	s.TLSConfig = config("h2", "http/1.1")
}

// isSocket reports whether an address is a socket in the file system: who may
// reach it is for the file's permissions to say, and nobody can listen in.
func isSocket(address string) bool { return strings.HasPrefix(address, unixPrefix) }

// serve serves until the server is shut down, with TLS where it has been secured.
func (h httpServer) serve() error {
	if h.server.TLSConfig != nil {
		return h.server.ServeTLS(h.listener, "", "") // it gets its certificate at each connection
	}
	return h.server.Serve(h.listener)
}
