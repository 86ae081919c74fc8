//go:build integration

package examples

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAPIKeys knows its clients by their keys, and nobody else.
func TestAPIKeys(t *testing.T) {
	t.Parallel()
	e := start(t, "ext-authz")
	const port = 10000
	e.wantStatuses(t, []int{200, 200, 429}, port, "/", "x-api-key", "demo-key-globex")
	wantWait(t, e.ask(t, port, "/", "x-api-key", "demo-key-globex"), 20, 30)
	for range 10 {
		r := e.ask(t, port, "/", "x-api-key", "demo-key-acme", "x-account", "root")
		if saw := r.header.Get("X-Backend-Saw"); r.status != 200 || saw != "account=acme key=" {
			t.Fatalf("a key of the tier pro: %d, the backend saw %s", r.status, saw)
		}
	}
	r := e.ask(t, port, "/", "x-api-key", "guessed")
	if r.status != 403 || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("a key that nobody gave out: %d %s %s, want 403", r.status, r.header.Get("Content-Type"), r.body)
	}
	e.wantStatuses(t, []int{200, 429}, port, "/")
	e.wantStatuses(t, []int{200, 200}, port, "/healthz")
	e.noFaults(t)
}

// demoSecret signs the tokens of the example: its local_jwks has it.
const demoSecret = "an example's secret, known to all"

// token is a signed token with these claims.
func token(t *testing.T, secret, tenant, tier string) string {
	t.Helper()
	claims, err := json.Marshal(map[string]string{"iss": "https://accounts.example.com", "tenant": tenant, "tier": tier})
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","kid":"demo"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// TestTiers limits tenants by their tier and sends them to its backend.
func TestTiers(t *testing.T) {
	t.Parallel()
	e := start(t, "tiers")
	const port = 10000
	bearer := func(tenant, tier string) string { return "Bearer " + token(t, demoSecret, tenant, tier) }

	e.wantStatuses(t, []int{200, 200, 429}, port, "/", "authorization", bearer("initech", "free"))
	e.wantStatuses(t, []int{200, 200, 200, 429}, port, "/search", "authorization", bearer("hooli", "pro"))
	e.wantStatuses(t, []int{200, 200, 200, 200, 429}, port, "/search", "authorization", bearer("globex", "free"))
	e.wantStatuses(t, []int{200, 429}, port, "/", "authorization", bearer("nobody", "none such"))
	e.wantStatuses(t, []int{401}, port, "/", "authorization", "Bearer "+token(t, "guessed", "acme", "enterprise"))

	for who, tc := range map[string]struct {
		tenant, tier, sent, want string
	}{
		"of the tier":             {"umbrella", "enterprise", "", "enterprise"},
		"the store's word":        {"acme", "free", "", "enterprise"},
		"another tier":            {"hooli", "pro", "", "backend"},
		"a client that chooses":   {"hooli", "pro", "enterprise", "backend"},
		"without a tier, chooses": {"loner", "", "enterprise", "backend"},
	} {
		headers := []string{"authorization", bearer(tc.tenant, tc.tier)}
		if tc.sent != "" {
			headers = append(headers, "x-tier", tc.sent)
		}
		r := e.ask(t, port, "/", headers...)
		if r.status != 200 || !strings.HasSuffix(strings.TrimSpace(r.body), tc.want) {
			t.Errorf("%s: %d %s, want the answer of %s", who, r.status, r.body, tc.want)
		}
	}
	e.noFaults(t)
}

// TestCosts charges one bucket through both filters, as much as routes say.
func TestCosts(t *testing.T) {
	t.Parallel()
	e := start(t, "costs")
	for tenant, port := range map[string]int{"acme": 10000, "globex": 10001} {
		e.wantStatuses(t, []int{200, 200, 200}, port, "/search", "x-tenant", tenant) // 5 of 20 are left
		r := e.ask(t, port, "/export", "x-tenant", tenant)
		if r.status != 429 {
			t.Errorf("10 of 5 credits: %d, want 429", r.status)
		}
		wantWait(t, r, 5, 15) // 5 more, at one in 3 seconds
		e.wantStatuses(t, []int{200, 200}, 10000, "/", "x-tenant", tenant)
		e.wantStatuses(t, []int{200, 200}, 10001, "/", "x-tenant", tenant)
		e.wantStatuses(t, []int{429}, 10000, "/search", "x-tenant", tenant)
		e.wantStatuses(t, []int{429}, 10001, "/search", "x-tenant", tenant)
	}
	// Who names no tenant isn't let through.
	e.wantStatuses(t, []int{429}, 10000, "/")
	e.wantStatuses(t, []int{403}, 10001, "/")
	e.noFaults(t)
}

// TestRollout looks at a stricter limit, enforces it for a tenth of the tenants
// and then for all, while Envoy stays as it is.
func TestRollout(t *testing.T) {
	t.Parallel()
	e := start(t, "rollout")
	const tenants = 50
	if limited := e.limited(t, tenants); len(limited) > 0 {
		t.Errorf("a shadow limits %v", limited)
	}
	samples, err := e.service.Samples(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := samples.Family("extauthz_shadow_decisions_total", `rule="search-strict"`, `verdict="deny"`); n != tenants {
		t.Errorf("the shadow would have denied %v requests, want one of each of %d tenants", n, tenants)
	}

	e.enforce(t, "enforce: 10%")
	first := e.limited(t, tenants)
	if len(first) < 1 || len(first) > 15 {
		t.Errorf("10 %% of %d tenants are %d", tenants, len(first))
	}
	if diff := cmp.Diff(first, e.limited(t, tenants)); diff != "" {
		t.Errorf("not the same tenants each time:\n%s", diff)
	}
	e.enforce(t, "enforce: 100%")
	if n := len(e.limited(t, tenants)); n != tenants {
		t.Errorf("enforced for all, %d of %d tenants are limited", n, tenants)
	}
	e.noFaults(t)
}

// limited has each tenant search three times, and tells which were refused.
func (e *example) limited(t *testing.T, tenants int) []string {
	t.Helper()
	var out []string
	for i := range tenants {
		tenant, refused := fmt.Sprintf("tenant-%d", i), false
		for range 3 {
			refused = e.ask(t, 10000, "/search", "x-tenant", tenant).status == 429 || refused
		}
		if refused {
			out = append(out, tenant)
		}
	}
	return out
}

// enforce rewrites the example's `enforce`, and waits until it is in force.
func (e *example) enforce(t *testing.T, with string) {
	t.Helper()
	text, err := os.ReadFile(e.Service)
	if err != nil {
		t.Fatal(err)
	}
	before, after, _ := strings.Cut(string(text), "enforce:")
	_, after, _ = strings.Cut(after, "%")
	if err := os.WriteFile(e.Service+".new", []byte(before+with+after), 0o600); err != nil {
		t.Fatal(err)
	}
	reloads := func() float64 {
		samples, err := e.service.Samples(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return samples.Family("extauthz_config_reloads_total", `result="success"`)
	}
	had := reloads()
	if err := os.Rename(e.Service+".new", e.Service); err != nil {
		t.Fatal(err)
	}
	eventually(t, with+" is in force", func() bool { return reloads() > had })
}

// TestOverride hands a tenant's limit from ext_authz to the rate limit filter.
func TestOverride(t *testing.T) {
	t.Parallel()
	e := start(t, "override")
	const port = 10000
	e.wantStatuses(t, []int{200, 200, 200, 200, 429}, port, "/", "x-tenant", "acme")
	e.wantStatuses(t, []int{200, 200, 429}, port, "/reports", "x-tenant", "acme")
	e.wantStatuses(t, []int{200, 200, 429}, port, "/", "x-tenant", "globex")
	e.wantStatuses(t, []int{403}, port, "/")
	r := e.ask(t, port, "/", "x-tenant", "acme")
	wantWait(t, r, 5, 15)
	if got := r.header.Get("X-Ratelimit-Limit"); got != `4, 4;w=60;name="override"` {
		t.Errorf("x-ratelimit-limit %s", got)
	}
	e.noFaults(t)
}
