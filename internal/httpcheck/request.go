package httpcheck

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/extauthz/extauthz/internal/envoy"
	"github.com/extauthz/extauthz/internal/telemetry"
)

// asked is the request that a proxy asks about.
type asked struct{ method, scheme, host, path string }

// check decides about the request itself, its path being what stands after the
// endpoint's.
func (h *handler) check(w http.ResponseWriter, r *http.Request, path string, to answer) {
	from := h.proxies.caller(r)
	ctx := r.Context()
	if timeout := patienceOf(r); to == toEnvoy && timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	h.decide(ctx, w, r, from, asked{method: r.Method, scheme: schemeOf(r, from), host: r.Host, path: path}, to)
}

// patienceOf is how long Envoy waits for an answer, which it says in each request;
// 0 or less: nothing says it. A client that could would only hurry its own
// decision, and Envoy keeps it from that.
func patienceOf(r *http.Request) time.Duration {
	n, err := strconv.ParseInt(r.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms"), 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Millisecond
}

// forwardAuth decides about the request that X-Forwarded-Method, -Host and -Uri
// speak of. A proxy that isn't trusted gets no decision: it would be one about
// the request to this endpoint, which most rules would pass by.
func (h *handler) forwardAuth(w http.ResponseWriter, r *http.Request) {
	from := h.proxies.caller(r)
	if !from.trusted {
		refuse(w, h.cfg.ExtAuthzCalls, telemetry.RefusedUntrusted, http.StatusForbidden, "this proxy is in none of listen.trusted_proxies")
		return
	}
	method, uri := r.Header["X-Forwarded-Method"], r.Header["X-Forwarded-Uri"]
	if len(method) != 1 || len(uri) != 1 || !strings.HasPrefix(uri[0], "/") {
		refuse(w, h.cfg.ExtAuthzCalls, telemetry.RefusedMalformed, http.StatusBadRequest, "one X-Forwarded-Method and one X-Forwarded-Uri, a path, are needed")
		return
	}
	h.decide(r.Context(), w, r, from, asked{
		method: method[0], scheme: schemeOf(r, from), host: r.Header.Get("X-Forwarded-Host"), path: uri[0],
	}, toClient)
}

// decide asks the service, and answers.
func (h *handler) decide(ctx context.Context, w http.ResponseWriter, r *http.Request, from caller, a asked, to answer) {
	content, ok := readBody(w, r, h.cfg.ExtAuthzCalls)
	if !ok {
		return
	}
	call := h.checkRequest(r, from, a, to == toEnvoy)
	call.Attributes.Request.Http.RawBody = content
	response, err := h.cfg.Authorization.Check(ctx, call)
	if err != nil {
		fail(w, err)
		return
	}
	to.write(w, response)
}

// schemeOf is the scheme of the request that a trusted proxy has got, else of
// its connection to us.
func schemeOf(r *http.Request, from caller) string {
	if proto := r.Header.Get("X-Forwarded-Proto"); from.trusted && proto != "" {
		return proto
	}
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// checkRequest is what Envoy would send over gRPC. It has no id: that is Envoy's
// alone to choose.
func (h *handler) checkRequest(r *http.Request, from caller, a asked, ofEnvoy bool) *authv3.CheckRequest {
	method, scheme, host, path := envoy.Text(a.method), envoy.Text(a.scheme), envoy.Text(a.host), envoy.Text(a.path)
	headers := make(map[string]string, len(r.Header)+4)
	headers[":method"], headers[":scheme"], headers[":authority"], headers[":path"] = method, scheme, host, path
	for name, values := range r.Header {
		if name = strings.ToLower(name); passedOn(name, from, ofEnvoy) {
			headers[name] = envoy.Text(strings.Join(values, ","))
		}
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: h.proxies.client(from, r.Header[forwardedFor])},
		}}},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: method, Scheme: scheme, Host: host, Path: path, Protocol: r.Proto, Headers: headers,
		}},
	}}
}

// passedOn reports whether rules may see a header: not those of the connection
// between the proxy and us, nor what only a trusted proxy can say. Envoy alone
// keeps its clients from sending its own headers.
func passedOn(name string, from caller, ofEnvoy bool) bool {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length":
		return false
	case "forwarded", "x-real-ip":
		return from.trusted
	}
	switch {
	case strings.HasPrefix(name, "x-envoy-"):
		return from.trusted && ofEnvoy
	case strings.HasPrefix(name, "x-forwarded-"):
		return from.trusted
	}
	return true
}
