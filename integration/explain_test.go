//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
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

// explain is what the command says of a request that the service would decide.
func (s *service) explain(t *testing.T, status int, request ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	admin := regexp.MustCompile(`admin: "([^"]+)"`).FindStringSubmatch(s.listen)
	if admin == nil {
		t.Fatalf("no admin address in %q", s.listen)
	}
	args := append([]string{"explain", "--exit-code", "--server", admin[1]}, request...)
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
