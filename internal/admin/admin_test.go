package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

const rules = `
rules:
  - {name: health, match: 'request.url_path == "/healthz"', action: allow}
  - {name: everyone, match: 'domain == "llm"', continue: true, entity: everyone, resource: "${descriptor.model}", consume: {rpm: 1}}
  - name: trial
    match: domain == "llm"
    entity: ${descriptor.user}
    enforce: 0%
    default_limits: {rpm: 1/hour}
  - {name: chat, match: 'domain == "llm"', entity: "${descriptor.user}", resource: "${descriptor.model}", consume: {rpm: 1, tpm: hits}}
  - name: api
    entity: ${metadata["jwt"].tenants[0]}
    default_limits: {requests: 2/min}
limits:
  system: {limits: {rpm: 10/min}}
  tiers: {gold: {limits: {rpm: 20/min, tpm: 1000/min}}}
  entities:
    org: {limits: {rpm: 100/min}}
    alice: {tier: gold, parent: org, cascade: true}
    banned: {mode: disabled}
`

// world is an explainer and what it explains.
type world struct {
	explainer Explainer
	policy    *decision.Policy
	limiter   *ratelimit.Limiter
	level     *slog.LevelVar
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, report := config.Parse("", []byte(rules), config.Options{})
	if err := report.Err(); err != nil {
		t.Fatal(report)
	}
	now := time.UnixMilli(1_800_000_000_000)
	limiter, err := ratelimit.New(ratelimit.Config{Store: embedstore.New(embedstore.Config{}), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		explainer: Explainer{Decider: decision.New(limiter, nil), Limiter: limiter, Live: true},
		policy:    &decision.Policy{ID: "abc", Rules: c.Rules, Resolver: hierarchy.NewResolver(c.Namespace, c.Limits)},
		limiter:   limiter, level: new(slog.LevelVar),
	}
}

func (w *world) handler() http.Handler {
	return Handler(Config{
		Explainer: w.explainer, Policy: func() *decision.Policy { return w.policy },
		Info:  func() ConfigInfo { return ConfigInfo{Config: "abc", Path: "x.yaml", Loaded: time.Unix(0, 0).UTC()} },
		Level: w.level, Log: slog.New(slog.DiscardHandler), Host: "box",
	})
}

func chat(user string) *Question {
	return &Question{Domain: "llm", Descriptors: []Descriptor{{Entries: []Entry{{"user", user}, {"model", "gpt-4"}}}}}
}

func TestExplainChargesNothing(t *testing.T) {
	w := newWorld(t)
	var last *Explanation
	for range 30 {
		e, err := w.explainer.Explain(t.Context(), w.policy, chat("alice"))
		if err != nil {
			t.Fatal(err)
		}
		last = e
	}
	full := func(name string, rate, cost int64) LimitExplanation {
		return LimitExplanation{Name: name, Rate: rate, PeriodSeconds: 60, Burst: rate, Cost: cost, Balance: rate, Text: ratelimit.PerMinute(name, rate).Text()}
	}
	want := &Explanation{
		Verdict: "allow", Reason: "allowed", Config: "abc", Live: true,
		Requests: []RequestExplanation{{
			Protocol: "ratelimit", Action: "charge", Rule: "chat",
			Charges: []ChargeExplanation{
				{Rule: "everyone", Namespace: "default", Entity: "everyone", Resource: "gpt-4", Buckets: []BucketExplanation{
					{Entity: "everyone", Level: "system", Mode: "on", Limits: []LimitExplanation{full("rpm", 10, 1)}},
				}},
				{Rule: "chat", Namespace: "default", Entity: "alice", Resource: "gpt-4", Tier: "gold", Buckets: []BucketExplanation{
					{Entity: "alice", Level: "tier", Mode: "on", Limits: []LimitExplanation{full("rpm", 20, 1), full("tpm", 1000, 1)}},
					{Entity: "org", Level: "entity", Mode: "on", Limits: []LimitExplanation{full("rpm", 100, 1)}, Unknown: []string{"tpm"}},
				}},
			},
			Shadows: []ChargeExplanation{{Rule: "trial", Namespace: "default", Entity: "alice", Resource: "trial", Tier: "gold", Buckets: []BucketExplanation{
				{Entity: "alice", Level: "tier", Mode: "on", Limits: []LimitExplanation{full("rpm", 20, 1), full("tpm", 1000, 1)}},
				{Entity: "org", Level: "entity", Mode: "on", Limits: []LimitExplanation{full("rpm", 100, 1)}},
			}}},
		}},
	}
	rules := last.Requests[0].Rules
	last.Requests[0].Rules = nil
	if diff := cmp.Diff(want, last); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var verdicts []string
	for _, r := range rules {
		verdicts = append(verdicts, r.Rule+" "+r.Verdict)
	}
	if diff := cmp.Diff([]string{"health other_protocol", "everyone continued", "trial shadow", "chat took", "api not_reached"}, verdicts); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestExplainAnHTTPRequest(t *testing.T) {
	w := newWorld(t)
	for name, tc := range map[string]struct {
		question Question
		verdict  string
		rule     string
	}{
		"allowed":     {Question{Path: "/healthz"}, "allow", "health"},
		"by metadata": {Question{Path: "/x", Metadata: map[string]any{"jwt": map[string]any{"tenants": []any{"acme"}}}}, "allow", "api"},
		"disabled":    {Question{Path: "/x", Metadata: map[string]any{"jwt": map[string]any{"tenants": []any{"banned"}}}}, "deny", "api"},
		"no match":    {Question{Path: "/x"}, "allow", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := w.explainer.Explain(t.Context(), w.policy, &tc.question)
			if err != nil || e.Verdict != tc.verdict || e.Requests[0].Rule != tc.rule {
				t.Errorf("%+v %v, want %s by %q", e, err, tc.verdict, tc.rule)
			}
		})
	}
}

func TestQuestionsThatCannotBeAsked(t *testing.T) {
	w := newWorld(t)
	for name, q := range map[string]*Question{
		"nothing":        {},
		"no descriptors": {Domain: "d"},
		"both":           {Domain: "d", Path: "/"},
		"too many":       {Domain: "d", Descriptors: make([]Descriptor, maxDescriptors+1)},
	} {
		if _, err := w.explainer.Explain(t.Context(), w.policy, q); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestClientAndHandler asks over HTTP what a server knows, also over a socket.
func TestClientAndHandler(t *testing.T) {
	w := newWorld(t)
	tcp := httptest.NewServer(w.handler())
	defer tcp.Close()
	path := filepath.Join(t.TempDir(), "admin")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	socket := &httptest.Server{Listener: l, Config: &http.Server{Handler: w.handler()}}
	socket.Start()
	defer socket.Close()

	for _, address := range []string{tcp.Listener.Addr().String(), "unix:" + path} {
		client := NewClient(address)
		e, err := client.Explain(t.Context(), chat("alice"))
		if err != nil || e.Requests[0].Rule != "chat" || !e.Live {
			t.Errorf("%s: %+v %v", address, e, err)
		}
		info, err := client.Config(t.Context())
		if err != nil || info.Path != "x.yaml" {
			t.Errorf("%s: %+v %v", address, info, err)
		}
		if _, err := client.Explain(t.Context(), &Question{}); err == nil || !strings.Contains(err.Error(), "a question has") {
			t.Errorf("%s: a bad question: %v", address, err)
		}
	}
}

func TestHandler(t *testing.T) {
	w := newWorld(t)
	h := w.handler()
	for name, tc := range map[string]struct {
		method, path, host, origin, contentType, body string
		status                                        int
		want                                          string
	}{
		"config":               {"GET", "/config", "127.0.0.1:6070", "", "", "", 200, `"loaded_at": "1970-01-01T00:00:00Z"`},
		"by name":              {"GET", "/config", "localhost:6070", "", "", "", 200, "abc"},
		"by IPv6":              {"GET", "/config", "[::1]:6070", "", "", "", 200, "abc"},
		"by configured name":   {"GET", "/config", "box:6070", "", "", "", 200, "abc"},
		"rebound name":         {"GET", "/config", "evil.example:6070", "", "", "", 403, "forbidden_host"},
		"no host":              {"GET", "/config", "", "", "", "", 403, "forbidden_host"},
		"another's page":       {"POST", "/explain", "127.0.0.1:6070", "http://evil.example", "application/json", "{}", 403, "forbidden_origin"},
		"own page":             {"GET", "/config", "127.0.0.1:6070", "http://127.0.0.1:6070", "", "", 200, "abc"},
		"a form":               {"POST", "/explain", "127.0.0.1", "", "text/plain", "{}", 415, "not_json"},
		"no JSON":              {"POST", "/explain", "127.0.0.1", "", "application/json", "{", 400, "invalid_json"},
		"unknown field":        {"POST", "/explain", "127.0.0.1", "", "application/json", `{"domian":"x"}`, 400, "domian"},
		"too long":             {"POST", "/explain", "127.0.0.1", "", "application/json", `{"domain":"` + strings.Repeat("x", maxBody) + `"}`, 413, "too large"},
		"explained":            {"POST", "/explain", "127.0.0.1", "", "application/json; charset=utf-8", `{"path":"/healthz"}`, 200, `"verdict": "allow"`},
		"level":                {"GET", "/loglevel", "127.0.0.1", "", "", "", 200, `"level": "info"`},
		"no level":             {"PUT", "/loglevel", "127.0.0.1", "", "application/json", `{"level":"loud"}`, 400, "debug, info, warn, error"},
		"other method of path": {"DELETE", "/config", "127.0.0.1", "", "", "", 404, "not_found"},
		"nothing there":        {"GET", "/", "127.0.0.1", "", "", "", 404, "POST /explain"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(tc.method, tc.path, strings.NewReader(tc.body))
			r.Host = tc.host
			for key, value := range map[string]string{"Origin": tc.origin, "Content-Type": tc.contentType} {
				if value != "" {
					r.Header.Set(key, value)
				}
			}
			recorder := httptest.NewRecorder()
			h.ServeHTTP(recorder, r)
			body := recorder.Body.String()
			if recorder.Code != tc.status || !strings.Contains(body, tc.want) {
				t.Errorf("%d %s, want %d %s", recorder.Code, body, tc.status, tc.want)
			}
			if !json.Valid([]byte(body)) {
				t.Errorf("not JSON: %s", body)
			}
		})
	}
}

func TestTheLogLevelIsSet(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest(http.MethodPut, "/loglevel", bytes.NewReader([]byte(`{"level":"debug"}`)))
	r.Host = "localhost"
	r.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	w.handler().ServeHTTP(recorder, r)
	if w.level.Level() != slog.LevelDebug || recorder.Code != http.StatusOK {
		t.Errorf("level %s after %d", w.level.Level(), recorder.Code)
	}
}

func TestClientOfSomethingElse(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer other.Close()
	_, err := NewClient(other.URL).Config(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no admin API") {
		t.Errorf("%v", err)
	}
	other.Close()
	if _, err := NewClient(other.URL).Config(t.Context()); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("nobody there: %v", err)
	}
}
