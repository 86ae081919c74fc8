package httpcheck

import (
	"io"
	"net/http"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
)

// answer is who a decision is for. All take 200 as an admission, whose headers
// the proxy's configuration sends to the backend or to the client.
type answer uint8

const (
	toClient answer = iota // who gets a denial as it is
	toEnvoy                // that, and removes headers that it is told to
	toNginx                // which knows one status of denials
)

const (
	// denialStatus has the status that a denial was to have, for nginx: it takes
	// 403 as a denial, and any status but 401 for a fault of ours.
	denialStatus = "X-Ratelimit-Status"
	// removeHeaders names headers that Envoy then removes from the request.
	removeHeaders = "X-Envoy-Auth-Headers-To-Remove"
)

// write answers with what the service has decided.
func (to answer) write(w http.ResponseWriter, response *authv3.CheckResponse) {
	if response.GetStatus().GetCode() == int32(codes.OK) {
		to.allow(w, response.GetOkResponse())
		return
	}
	if response.GetErrorResponse() != nil { // which the service leaves to Envoy's settings
		say(w, http.StatusServiceUnavailable, response.GetStatus().GetMessage())
		return
	}
	denied := response.GetDeniedResponse()
	code := statusOf(denied)
	if to == toNginx {
		w.Header().Set(denialStatus, strconv.Itoa(code))
		code = http.StatusForbidden
	}
	deny(w, denied, code)
}

func (to answer) allow(w http.ResponseWriter, ok *authv3.OkHttpResponse) {
	setAll(w.Header(), ok.GetResponseHeadersToAdd())
	setAll(w.Header(), ok.GetHeaders())
	if remove := ok.GetHeadersToRemove(); to == toEnvoy && len(remove) > 0 {
		w.Header().Set(removeHeaders, strings.Join(remove, ","))
	}
	w.WriteHeader(http.StatusOK)
}

func deny(w http.ResponseWriter, d *authv3.DeniedHttpResponse, code int) {
	setAll(w.Header(), d.GetHeaders())
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	w.WriteHeader(code)
	// That the caller has gone is nothing to tell anybody.
	_, _ = io.WriteString(w, d.GetBody())
}

func statusOf(d *authv3.DeniedHttpResponse) int {
	if code := d.GetStatus().GetCode(); code != typev3.StatusCode_Empty {
		return int(code)
	}
	return http.StatusForbidden
}

func setAll(to http.Header, options []*corev3.HeaderValueOption) {
	for _, o := range options {
		to.Set(o.GetHeader().GetKey(), o.GetHeader().GetValue())
	}
}
