package httpcheck

import (
	"net/http"
	"strings"
	"testing"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

const edge = `
rules: [{name: edge, match: 'domain == "edge"', entity: "${descriptor.tenant}", default_limits: {requests: 2/min}, on_deny: {body: no, content_type: text/x}}]
`

const acme = `{"domain":"edge","descriptors":[{"entries":[{"key":"tenant","value":"acme"}]}]}`

func TestJSON(t *testing.T) {
	w := newWorld(t, edge)
	for i, want := range []struct {
		status    int
		code      rlsv3.RateLimitResponse_Code
		remaining uint32
	}{{200, rlsv3.RateLimitResponse_OK, 1}, {200, rlsv3.RateLimitResponse_OK, 0}, {429, rlsv3.RateLimitResponse_OVER_LIMIT, 0}} {
		r := w.ask(t, http.MethodPost, "/json", strings.NewReader(acme))
		response := new(rlsv3.RateLimitResponse)
		if err := protojson.Unmarshal([]byte(r.body), response); err != nil {
			t.Fatalf("%v: %s", err, r.body)
		}
		status := response.GetStatuses()[0]
		if r.status != want.status || response.GetOverallCode() != want.code || status.GetCode() != want.code || status.GetLimitRemaining() != want.remaining {
			t.Errorf("call %d: %d %v", i, r.status, response)
		}
		if r.header.Get("Content-Type") != "application/json" || (r.header.Get("Retry-After") == "30") != (r.status == 429) {
			t.Errorf("call %d: %v", i, r.header)
		}
	}
}

func TestJSONThatIsRefused(t *testing.T) {
	w := newWorld(t, edge)
	for name, tc := range map[string]struct {
		method, body string
		status       int
	}{
		"a GET":             {http.MethodGet, "", 405},
		"nothing":           {http.MethodPost, "", 400},
		"no JSON":           {http.MethodPost, "{", 400},
		"a list":            {http.MethodPost, "[]", 400},
		"an unknown field":  {http.MethodPost, `{"domain":"edge","rules":[]}`, 400},
		"no domain":         {http.MethodPost, `{"descriptors":[{}]}`, 400},
		"no descriptors":    {http.MethodPost, `{"domain":"edge"}`, 400},
		"not UTF-8":         {http.MethodPost, strings.Replace(acme, "acme", "\xff", 1), 400},
		"too large":         {http.MethodPost, `{"domain":"` + strings.Repeat("x", maxBody) + `"}`, 413},
		"as large as it is": {http.MethodPost, acme + strings.Repeat(" ", maxBody-len(acme)), 200},
	} {
		if r := w.ask(t, tc.method, "/json", strings.NewReader(tc.body)); r.status != tc.status || r.body == "" {
			t.Errorf("%s: %d %.200s, want %d", name, r.status, r.body, tc.status)
		}
	}
	w.store.down.Store(true)
	if r := w.ask(t, http.MethodPost, "/json", strings.NewReader(acme)); r.status != http.StatusServiceUnavailable {
		t.Errorf("the store is down: %d %s", r.status, r.body)
	}
}
