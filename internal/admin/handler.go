package admin

import (
	"encoding/json"
	"errors"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/internal/recent"
	"github.com/extauthz/extauthz/internal/telemetry"
)

// maxBody is the longest question, in bytes.
const maxBody = 1 << 20

// Config is what the admin API speaks of.
type Config struct {
	Explainer Explainer
	Policy    func() *decision.Policy // in force
	Info      func() ConfigInfo       // about it
	Level     *slog.LevelVar
	Log       *slog.Logger
	// Recent is what was decided lately; nil: nothing is remembered.
	Recent *recent.Recorder
	// Store is the configuration in the store, or says why it can't be had just
	// now; nil: there is none.
	Store func() (Store, error)
	// Host is the host of the address that the API is served on. Requests that
	// name another one, unless it is an IP address, are refused.
	Host string
}

// Handler serves the admin API. It has no authentication: it is meant for a
// loopback address, and refuses what a web page could make a browser on that
// machine send.
func Handler(cfg Config) http.Handler {
	if cfg.Recent == nil {
		cfg.Recent = recent.New(time.Now)
	}
	if cfg.Store == nil {
		cfg.Store = func() (Store, error) { return nil, errNoStore }
	}
	h := &handler{Config: cfg}
	mux := http.NewServeMux()
	for _, r := range h.routes() {
		mux.HandleFunc(r.method+" "+r.pattern, r.serve)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, http.StatusNotFound, "not_found", "there is no "+r.Method+" "+r.URL.Path, "POST "+pathExplain+", GET "+pathConfig+", GET /namespaces; docs/openapi/admin.yaml has them all")
	})
	return h.guard(mux)
}

type handler struct{ Config }

// errNoStore is what a service without a configuration in a store says.
var errNoStore = &Problem{Code: CodeUnavailable, Message: "the service keeps no configuration in a store"}

// guard refuses requests that a browser sends for a page from somewhere else:
// one whose name was made to lead here, or one of another origin.
func (h *handler) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.ours(r.Host) {
			h.fail(w, http.StatusForbidden, "forbidden_host", "the Host header names another server", "use the address, or localhost")
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" {
			if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
				h.fail(w, http.StatusForbidden, "forbidden_origin", "the request comes from a page of another server", "")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (h *handler) ours(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true // no name, so none that could be made to lead here
	}
	return host == "localhost" || host != "" && host == h.Host
}

func (h *handler) explain(w http.ResponseWriter, r *http.Request) {
	var q Question
	if !h.read(w, r, &q) {
		return
	}
	e, err := h.Explainer.Explain(r.Context(), h.Policy(), &q)
	if err != nil {
		h.fail(w, http.StatusBadRequest, "invalid_question", err.Error(), "ask about descriptors of a domain, or about an HTTP request with a path")
		return
	}
	h.write(w, http.StatusOK, e)
}

func (h *handler) config(w http.ResponseWriter, _ *http.Request) {
	h.write(w, http.StatusOK, h.Info())
}

func (h *handler) logLevel(w http.ResponseWriter, _ *http.Request) {
	h.write(w, http.StatusOK, LogLevel{strings.ToLower(h.Level.Level().String())})
}

func (h *handler) setLogLevel(w http.ResponseWriter, r *http.Request) {
	var l LogLevel
	if !h.read(w, r, &l) {
		return
	}
	level, err := telemetry.ParseLevel(l.Level)
	if err != nil || l.Level == "" {
		h.fail(w, http.StatusBadRequest, "invalid_level", "there is no log level "+l.Level, "one of "+telemetry.LogLevels)
		return
	}
	h.Level.Set(level)
	h.Log.Info("the log level was changed", "level", strings.ToLower(level.String()))
	h.logLevel(w, r)
}

// read reads a body of JSON, or answers that it can't.
func (h *handler) read(w http.ResponseWriter, r *http.Request, into any) bool {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		h.fail(w, http.StatusUnsupportedMediaType, "not_json", "the body isn't JSON", "send content-type: application/json")
		return false
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		return true
	}
	code := http.StatusBadRequest
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		code = http.StatusRequestEntityTooLarge
	}
	h.fail(w, code, "invalid_json", err.Error(), "")
	return false
}

func (h *handler) write(w http.ResponseWriter, code int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		h.Log.Error("an answer of the admin API can't be written", "err", err)
		code, body = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	// That the caller has gone is nothing to tell anybody.
	_, _ = w.Write(append(body, '\n'))
}

func (h *handler) fail(w http.ResponseWriter, code int, name, message, hint string) {
	h.write(w, code, apiError{Error: Problem{Code: name, Message: message, Hint: hint}})
}
