package httpcheck

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/extauthz/extauthz/internal/telemetry"
)

// Config is what the endpoints ask, and whom they believe.
type Config struct {
	// Authorization is asked by /check/, /forward_auth and /auth_request/; nil:
	// these aren't there.
	Authorization authv3.AuthorizationServer
	// RateLimit is asked by /json; nil: it isn't there.
	RateLimit rlsv3.RateLimitServiceServer
	// Trusted are the networks of the proxies that say for whom they ask.
	Trusted []netip.Prefix
	// Serving says what /healthcheck answers.
	Serving func() bool
	// Calls count what gets no decision, by protocol; nil count nothing.
	ExtAuthzCalls, RateLimitCalls *telemetry.Calls
}

// handler is the endpoints.
type handler struct {
	cfg     Config
	proxies proxies
}

// Handler makes the endpoints. It is safe for concurrent use. What bounds a
// connection and the size of its headers is for the server to say.
func Handler(c Config) http.Handler { return &handler{cfg: c, proxies: c.Trusted} }

// The endpoints; those with a prefix have the path that is asked for after it.
const (
	checkPrefix       = "/check"
	authRequestPrefix = "/auth_request"
	forwardAuthPath   = "/forward_auth"
	jsonPath          = "/json"
	healthPath        = "/healthcheck"
)

// ServeHTTP takes the target as it came. A ServeMux would redirect the client of
// a path with // or .. in it, in place of asking for a decision.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target := r.RequestURI
	if !strings.HasPrefix(target, "/") { // with a scheme and a host
		target = r.URL.RequestURI()
	}
	endpoint, _, _ := strings.Cut(target, "?")
	switch {
	case endpoint == healthPath:
		h.health(w)
		return
	case endpoint == jsonPath && h.cfg.RateLimit != nil:
		h.json(w, r)
		return
	case h.cfg.Authorization == nil:
	case endpoint == forwardAuthPath:
		h.forwardAuth(w, r)
		return
	default:
		if path, ok := below(target, checkPrefix); ok {
			h.check(w, r, path, toEnvoy)
			return
		}
		if path, ok := below(target, authRequestPrefix); ok {
			h.check(w, r, path, toNginx)
			return
		}
	}
	say(w, http.StatusNotFound, "no such endpoint: see docs/http.md")
}

// below is the path and query that a target has after a prefix.
func below(target, prefix string) (path string, ok bool) {
	path, ok = strings.CutPrefix(target, prefix)
	switch {
	case !ok:
		return "", false
	case path == "" || path[0] == '?':
		return "/" + path, true
	}
	return path, path[0] == '/'
}

func (h *handler) health(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	if !h.cfg.Serving() {
		say(w, http.StatusServiceUnavailable, "not serving")
		return
	}
	say(w, http.StatusOK, "OK")
}

// refuse counts a request that gets no decision, and says why. No proxy takes
// the status as an admission.
func refuse(w http.ResponseWriter, calls *telemetry.Calls, reason string, code int, text string) {
	calls.Refused(reason)
	say(w, code, text)
}

// maxBody is the largest body that is read.
const maxBody = 1 << 20

// readBody reads what a request brings beside its headers. Where that can't be
// done the request is refused.
func readBody(w http.ResponseWriter, r *http.Request, calls *telemetry.Calls) (body []byte, ok bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if e := new(http.MaxBytesError); errors.As(err, &e) {
		refuse(w, calls, telemetry.RefusedMalformed, http.StatusRequestEntityTooLarge, "the body is larger than 1 MiB")
		return nil, false
	}
	if err != nil {
		refuse(w, calls, telemetry.RefusedMalformed, http.StatusBadRequest, "the body can't be read")
		return nil, false
	}
	return body, true
}

// fail answers where a service has given an error in place of a decision, which
// it has counted.
func fail(w http.ResponseWriter, err error) {
	code := http.StatusServiceUnavailable
	if status.Code(err) == codes.InvalidArgument {
		code = http.StatusBadRequest
	}
	say(w, code, status.Convert(err).Message())
}

// say answers with a line of text.
func say(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	// That the caller has gone is nothing to tell anybody.
	_, _ = io.WriteString(w, text+"\n")
}
