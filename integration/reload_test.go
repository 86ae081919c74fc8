//go:build integration

package integration

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/extauthz/extauthz/integration/harness"
)

// How the service reports what it has read.
const (
	inForce = "extauthz_config_info" // by the hash of the file that is in force
	refused = "extauthz_config_reloads_total"
	failure = `result="failure"`
)

// reloadTimeout is how long a changed file may take to be in force.
const reloadTimeout = 10 * time.Second

// versioned is a configuration that says its number: to the backend through
// ext_authz, by the one tenant that passes through the rate limit filter.
func versioned(n int) string {
	return fmt.Sprintf(`
rules:
  - name: current
    match: domain == "edge" && descriptor.tenant == "v%[1]d"
    action: allow
  - name: others
    match: domain == "edge"
    action: deny
  - name: api
    entity: ${request.headers["x-tenant"]}
    default_limits: {requests: 1000000/sec}
    on_allow: {headers: {x-version: "%[1]d"}}
`, n)
}

// awaitReload waits until the service reports that the file as it is now is in
// force.
func (s *service) awaitReload(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	sha := fmt.Sprintf(`sha="%x`, sha256.Sum256(text))
	eventually(t, reloadTimeout, "the changed file is reported to be in force", func() bool {
		return s.samples(t).Sum(func(name string) bool {
			label, ok := strings.CutPrefix(name, inForce+"{")
			label, _ = strings.CutSuffix(label, `"}`)
			return ok && len(label) >= len(`sha="`)+12 && strings.HasPrefix(sha, label)
		}) == 1
	})
}

// awaitRefusal waits until the service has counted another refusal than before.
func (s *service) awaitRefusal(t *testing.T, before harness.Samples) {
	t.Helper()
	eventually(t, reloadTimeout, "the changed file is reported to be refused", func() bool {
		return s.samples(t).Family(refused, failure) > before.Family(refused, failure)
	})
}

// TestReloadUnderLoad changes the file again and again while requests flow. None
// fails, and none that is sent after a reload was reported is decided by what
// stood in the file before.
func TestReloadUnderLoad(t *testing.T) {
	w := newWorld(t, versioned(0))
	var reported atomic.Int64
	check := func(ctx context.Context) error {
		atLeast := reported.Load()
		r, err := w.wantOK(ctx, w.extAuthz, "x-tenant", "acme")
		if err != nil {
			return err
		}
		version, err := strconv.ParseInt(r.seen.Get("X-Version"), 10, 64)
		if err != nil || version < atLeast {
			return fmt.Errorf("decided by version %q, %d had been reported", r.seen.Get("X-Version"), atLeast)
		}
		return nil
	}
	traffic := startLoad(t, 8, check)
	eventually(t, reloadTimeout, "the load has begun", func() bool { return traffic.done.Load() > 100 })
	before := w.service.samples(t)

	n := rounds(200, 2000)
	for i := 1; i <= n; i++ {
		w.service.change(t, i, versioned(i))
		w.service.awaitReload(t)
		reported.Store(int64(i))
		if r := w.ask(t, w.rateLimit, "/", "x-tenant", fmt.Sprintf("v%d", i)); r.status != http.StatusOK {
			t.Fatalf("reload %d has been reported, its tenant gets %d", i, r.status)
		}
		if r := w.ask(t, w.rateLimit, "/", "x-tenant", fmt.Sprintf("v%d", i-1)); r.status != http.StatusTooManyRequests {
			t.Fatalf("reload %d has been reported, the tenant of the one before gets %d", i, r.status)
		}
	}
	t.Logf("%d reloads during %d requests", n, traffic.stop(t))
	w.noFaults(t)
	w.service.keepsItsGoroutines(t, before)
}

// change writes a file in one of the ways that people do: a new file moved over
// the old one, as editors and Kubernetes have it, or the old one overwritten.
func (s *service) change(t *testing.T, i int, config string) {
	t.Helper()
	if i%2 == 0 {
		s.write(t, config)
		return
	}
	if err := os.WriteFile(s.file, []byte(s.listen+config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// keepsItsGoroutines compares the service's goroutines with before, connections
// being the same.
func (s *service) keepsItsGoroutines(t *testing.T, before harness.Samples) {
	t.Helper()
	const slack = 10 // those of a scrape, of the collector, of a stream that ends
	was := before.Family("go_goroutines")
	if was == 0 {
		t.Fatal("go_goroutines isn't among the metrics")
	}
	eventually(t, reloadTimeout, fmt.Sprintf("there are about the %v goroutines from before", was), func() bool {
		return s.samples(t).Family("go_goroutines") <= was+slack
	})
}

// TestBrokenFileIsRefused breaks the file while it is in use: the old rules stay
// in force, the fault is counted and told, and the next good file is taken.
func TestBrokenFileIsRefused(t *testing.T) {
	w := newWorld(t, versioned(1))
	decidedBy := func(version int) bool {
		r := w.ask(t, w.extAuthz, "/", "x-tenant", "acme")
		return r.status == http.StatusOK && r.seen.Get("X-Version") == strconv.Itoa(version) &&
			w.ask(t, w.rateLimit, "/", "x-tenant", fmt.Sprintf("v%d", version)).status == http.StatusOK
	}
	for i, broken := range []string{
		"rules: [",
		versioned(2) + "surprise: true\n",
		strings.Replace(versioned(2), "match: domain", "match: doman", 1),
		strings.Replace(versioned(2), "1000000/sec", "-1/sec", 1),
	} {
		before := w.service.samples(t)
		w.service.write(t, broken)
		w.service.awaitRefusal(t, before)
		if !decidedBy(1) {
			t.Errorf("broken file %d: the old rules aren't in force any more", i)
		}
	}
	// What a file that is being overwritten looks like, for longer.
	had := w.service.samples(t)
	if err := os.Truncate(w.service.file, 0); err != nil {
		t.Fatal(err)
	}
	w.service.awaitRefusal(t, had)
	if !decidedBy(1) {
		t.Errorf("an empty file: the old rules aren't in force any more")
	}
	if !strings.Contains(w.service.Output(), "surprise") {
		t.Errorf("the log doesn't name the unknown key")
	}

	w.service.write(t, versioned(3))
	w.service.awaitReload(t)
	if !decidedBy(3) {
		t.Errorf("a good file after a broken one isn't in force")
	}
	w.noFaults(t)
}
