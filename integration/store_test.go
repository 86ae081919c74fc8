//go:build integration

package integration

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/internal/ddblocal"
)

// dynamo is the DynamoDB of all tests.
var dynamo ddblocal.Shared

// newStore says, as a service's environment does, where it keeps its buckets.
func newStore(t *testing.T) []string {
	t.Helper()
	switch store := os.Getenv("EXTAUTHZ_TEST_STORE"); store {
	case "", "embedded":
		return nil
	case "dynamodb":
		return newTable(t)
	default:
		t.Fatalf("EXTAUTHZ_TEST_STORE is %q: embedded or dynamodb", store)
		return nil
	}
}

// newTable names a table that nobody has.
func newTable(t *testing.T) []string {
	t.Helper()
	return []string{
		"EXTAUTHZ_STACK=integration-" + strings.ToLower(rand.Text()),
		"EXTAUTHZ_ENDPOINT_URL=" + dynamo.URL(t),
		"EXTAUTHZ_STORE_REGION=us-east-1",
		"EXTAUTHZ_STORE_CREATE=true",
		"AWS_ACCESS_KEY_ID=local",
		"AWS_SECRET_ACCESS_KEY=local",
	}
}

// TestServicesShareATable has Envoy spread requests over two services, of which
// one is killed and comes back: together they admit what one bucket holds.
func TestServicesShareATable(t *testing.T) {
	config, table := fmt.Sprintf(byTenant, "20/day"), newTable(t)
	one, other := newServiceOn(t, table, config, tcp), newServiceOn(t, table, config, tcp)
	w := around(t, one, other)
	for filter, addr := range w.filters() {
		for i := range rounds(3, 30) {
			got := w.burst(t, 60, addr, "/", "x-tenant", fmt.Sprint(filter, i))
			if diff := cmp.Diff(map[int]int{200: 20, 429: 40}, got); diff != "" {
				t.Errorf("%s: 60 at once (-want +got):\n%s", filter, diff)
			}
		}
	}
	asked := func(s *service) float64 { return s.samples(t).Family("extauthz_decisions_total") }
	if asked(one) < 60 || asked(other) < 60 {
		t.Errorf("%v and %v decisions: Envoy did not spread them", asked(one), asked(other))
	}
	w.noFaults(t)

	one.Kill()
	one.start(t)
	// Until Envoy has noticed both, it may let requests pass by its failure mode.
	eventually(t, 20*time.Second, "the service that came back is asked", func() bool {
		w.ask(t, w.rateLimit, "/", "x-tenant", "ratelimit0")
		return asked(one) > 0
	})
	if diff := cmp.Diff(map[int]int{429: 20}, w.burst(t, 20, w.rateLimit, "/", "x-tenant", "ratelimit0")); diff != "" {
		t.Errorf("by a service that knows nothing (-want +got):\n%s", diff)
	}
}
