//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExplainSeesWhatWasCharged asks a running service about a tenant that Envoy
// has let spend everything, and about one that it hasn't: explain shows each its
// balance and takes nothing of it.
func TestExplainSeesWhatWasCharged(t *testing.T) {
	w := newWorld(t, fmt.Sprintf(byTenant, "2/day"))
	for _, addr := range w.filters() {
		if diff := cmp.Diff(map[int]int{200: 2, 429: 1}, w.burst(t, 3, addr, "/", "x-tenant", "acme")); diff != "" {
			t.Fatalf("three requests (-want +got):\n%s", diff)
		}
	}
	for filter, request := range map[string]func(tenant string) []string{
		"ratelimit": func(tenant string) []string { return []string{"--domain", "edge", "--descriptor", "tenant=" + tenant} },
		"ext_authz": func(tenant string) []string { return []string{"--path", "/", "--header", "x-tenant:" + tenant} },
	} {
		spent := w.service.explain(t, 3, request("acme")...)
		if !regexp.MustCompile(`requests  2/day  takes 1  of 0  too little: wait 4\d{4}(\.\d+)? s\n`).MatchString(spent) ||
			!regexp.MustCompile(`Decision: deny \(exceeded\), retry after 4\d{4}`).MatchString(spent) {
			t.Errorf("%s: of a bucket that is empty:\n%s", filter, spent)
		}
		for range 3 {
			full := w.service.explain(t, 0, request("globex")...)
			if !regexp.MustCompile(`requests  2/day  takes 1  of 2  enough\n`).MatchString(full) {
				t.Errorf("%s: of a bucket that is full:\n%s", filter, full)
			}
		}
	}
	w.noFaults(t)
}

// TestDenialsAreRemembered asks a running service whom it has denied lately, and
// who takes most: what Envoy's clients were told is what admins see.
func TestDenialsAreRemembered(t *testing.T) {
	w := newWorld(t, fmt.Sprintf(byTenant, "2/day"))
	for _, addr := range w.filters() {
		w.burst(t, 3, addr, "/", "x-tenant", "acme")
		w.burst(t, 1, addr, "/", "x-tenant", "globex")
	}
	denials := w.service.run(t, 0, "denials", "list")
	for _, rule := range []string{"edge", "api"} { // one of each protocol
		line := fmt.Sprintf(`(?m)^\S+Z +default +acme +%[1]s +requests 2/day +%[1]s +exceeded +\S+ +(store|cache)$`, rule)
		if !regexp.MustCompile(line).MatchString(denials) {
			t.Errorf("no line is %s:\n%s", line, denials)
		}
	}
	if strings.Contains(denials, "globex") {
		t.Errorf("nobody has denied globex:\n%s", denials)
	}
	if top := w.service.run(t, 0, "top"); !regexp.MustCompile(`(?m)^default +acme +2$`).MatchString(top) {
		t.Errorf("by denials:\n%s", top)
	}
	if top := w.service.run(t, 0, "top", "--by", "consumption"); !regexp.MustCompile(`requests +default +acme +4\nrequests +default +globex +2\n`).MatchString(top) {
		t.Errorf("by consumption:\n%s", top)
	}
	w.noFaults(t)
}

// explain is what the command says of a request that the service would decide.
func (s *service) explain(t *testing.T, status int, request ...string) string {
	t.Helper()
	return s.run(t, status, append([]string{"explain", "--exit-code"}, request...)...)
}

// run is what a command says that asks the service.
func (s *service) run(t *testing.T, status int, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	args = append(args, "--server", s.admin)
	out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got, err = exit.ExitCode(), nil
	}
	if err != nil || got != status {
		t.Errorf("%q: status %d, want %d (%v)\n%s", args, got, status, err, out)
	}
	return string(out)
}
