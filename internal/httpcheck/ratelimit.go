package httpcheck

import (
	"net/http"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/extauthz/extauthz/internal/telemetry"
)

// json decides about a RateLimitRequest in the JSON form of protos, and answers
// with the RateLimitResponse in that form: 200, or 429 when it is over its
// limit; 400 for what is no request, and 503 when there is no decision.
func (h *handler) json(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, h.cfg.RateLimitCalls, telemetry.RefusedMalformed, http.StatusMethodNotAllowed, "a RateLimitRequest is to be posted")
		return
	}
	body, ok := readBody(w, r, h.cfg.RateLimitCalls)
	if !ok {
		return
	}
	call := new(rlsv3.RateLimitRequest)
	if err := protojson.Unmarshal(body, call); err != nil {
		refuse(w, h.cfg.RateLimitCalls, telemetry.RefusedMalformed, http.StatusBadRequest, "the body is no RateLimitRequest: "+err.Error())
		return
	}
	response, err := h.cfg.RateLimit.ShouldRateLimit(r.Context(), call)
	if err != nil {
		fail(w, err)
		return
	}
	text, err := protojson.Marshal(response)
	if err != nil {
		say(w, http.StatusInternalServerError, "the decision can't be written")
		return
	}
	for _, v := range response.GetResponseHeadersToAdd() {
		w.Header().Set(v.GetKey(), v.GetValue())
	}
	w.Header().Set("Content-Type", "application/json") // and not that of a body for the client
	if response.GetOverallCode() == rlsv3.RateLimitResponse_OVER_LIMIT {
		w.WriteHeader(http.StatusTooManyRequests)
	}
	_, _ = w.Write(text)
}
