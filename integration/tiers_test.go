//go:build integration

package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/extauthz/extauthz/internal/faultproxy"
)

// TestTiersMoveTheirTenants has two services on one table decide for the tenants
// of a tier. A change of the tier's limits moves them all on both, in force within
// six seconds; nobody is admitted more than the limits in force allow; and a script
// that writes a thousand other entities costs the services no reading of theirs.
func TestTiersMoveTheirTenants(t *testing.T) {
	f := newTier(t, rounds(50, 1000))
	f.admin(t, "", "tier", "set-limits", "bronze", "--limit", "requests:1/day")
	f.admin(t, f.manifest("tenants", "tenant", len(f.tenants), "tier: bronze"), "limits", "apply", "--yes", "--file", "-")

	f.inForce(t, "requests:1/day", func() bool { // each has its one, from whichever it asked
		f.ask(t)
		return f.all(func(_, allowed int) bool { return allowed == 1 })
	})
	// Raised: nothing is minted, what is admitted is what was gained since.
	raised := time.Now()
	f.admin(t, "", "tier", "set-limits", "bronze", "--limit", "requests:10/s:2")
	f.inForce(t, "requests:10/s:2", func() bool {
		f.ask(t)
		return f.all(func(least, _ int) bool { return least > 0 })
	})
	f.admin(t, "", "tier", "set-limits", "bronze", "--limit", "requests:1/day")
	denied := 0 // rounds in which everybody was
	f.inForce(t, "requests:1/day again", func() bool {
		if denied++; f.ask(t) > 0 {
			denied = 0
		}
		return denied == 2
	})
	most := 1 + int(time.Since(raised)/(100*time.Millisecond)) + 1 // its one, ten a second, and the slack
	for tenant, n := range f.sum() {
		if n > most {
			t.Errorf("%s: %d were admitted, the limits in force allow %d", tenant, n, most)
		}
	}
	f.keepsCaches(t)
}

// keepsCaches has a script write entities that nobody asks for. When the services
// know of them, they still know all of their own tenants.
func (f *tier) keepsCaches(t *testing.T) {
	t.Helper()
	f.ask(t)
	before := f.reads()
	if before == 0 {
		t.Fatal("no reading has been counted")
	}
	f.admin(t, f.manifest("script", "other", 1000, "limits: {requests: 5/min}"), "limits", "apply", "--yes", "--file", "-")
	// What was written last is known: so is all before it.
	f.admin(t, "", "entity", "set-limits", f.tenants[0], "--limit", "requests:100/s")
	f.inForce(t, "the last of many changes", func() bool {
		return f.status(t, 0, f.tenants[0]) == 200 && f.status(t, 1, f.tenants[0]) == 200
	})
	f.ask(t)
	if n := f.reads() - before; n > 10 {
		t.Errorf("%d more readings of items by %d services for %d tenants: their caches were emptied", n, len(f.worlds), len(f.tenants))
	}
}

// tier is some tenants that two services decide for, each behind an Envoy.
type tier struct {
	tenants []string
	table   []string
	worlds  []*world
	proxies []*faultproxy.Proxy // before the table, one for each service
	rounds  int
	longest time.Duration // of a round

	mu    sync.Mutex
	count map[string][]int // :: tenant -> how many each service has admitted
}

func newTier(t *testing.T, n int) *tier {
	t.Helper()
	f := &tier{table: newTable(t), count: map[string][]int{}}
	for i := range n {
		f.tenants = append(f.tenants, fmt.Sprintf("tenant-%04d", i))
		f.count[f.tenants[i]] = make([]int, 2)
	}
	const endpoint = "EXTAUTHZ_ENDPOINT_URL="
	at := slices.IndexFunc(f.table, func(v string) bool { return strings.HasPrefix(v, endpoint) })
	for range 2 {
		proxy, err := faultproxy.Start(strings.TrimPrefix(f.table[at], endpoint), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = proxy.Close() })
		store := slices.Clone(f.table)
		store[at] = endpoint + proxy.URL
		f.proxies = append(f.proxies, proxy)
		f.worlds = append(f.worlds, around(t, newServiceOn(t, store, fmt.Sprintf(byTenant, "3/day"), tcp)))
	}
	return f
}

// manifest says the same of n entities.
func (f *tier) manifest(manager, prefix string, n int, says string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "manager: %s\nentities:\n", manager)
	for i := range n {
		fmt.Fprintf(&b, "  %s-%04d: {%s}\n", prefix, i, says)
	}
	return b.String()
}

// admin runs a command on the table.
func (f *tier) admin(t *testing.T, stdin string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, binary, args...)
	command.Env, command.Stdin = append(os.Environ(), f.table...), strings.NewReader(stdin)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", args, err, out.String())
	}
}

// ask asks once for each tenant at each service, and returns how many were not
// denied. The services take turns at being first.
func (f *tier) ask(t *testing.T) int {
	t.Helper()
	others, first := 0, f.rounds%2
	f.rounds++
	begun := time.Now()
	var wg sync.WaitGroup
	next := make(chan string)
	for range 8 {
		wg.Go(func() {
			for tenant := range next {
				for _, i := range []int{first, 1 - first} {
					status := f.status(t, i, tenant)
					f.mu.Lock()
					if status == 200 {
						f.count[tenant][i]++
					}
					if status != 429 { // a busy machine may answer too late
						others++
					}
					f.mu.Unlock()
				}
			}
		})
	}
	for _, tenant := range f.tenants {
		next <- tenant
	}
	close(next)
	wg.Wait()
	f.longest = max(f.longest, time.Since(begun))
	return others
}

// status is what a service answers to a tenant.
func (f *tier) status(t *testing.T, service int, tenant string) int {
	t.Helper()
	w := f.worlds[service]
	r, err := w.send(context.WithoutCancel(t.Context()), w.rateLimit, "/", "x-tenant", tenant)
	if err != nil {
		t.Error(err)
	}
	return r.status
}

// all reports whether something is true of every tenant: of the least that a
// service has admitted of it, and of the sum of both.
func (f *tier) all(is func(least, sum int) bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.count {
		if !is(min(n[0], n[1]), n[0]+n[1]) {
			return false
		}
	}
	return true
}

// sum is how many were admitted of each tenant.
func (f *tier) sum() map[string]int {
	sums := map[string]int{}
	for tenant, n := range f.count {
		sums[tenant] = n[0] + n[1]
	}
	return sums
}

// inForce waits for what a change brings, as long as it may take: six seconds,
// and a round of questions before, one that reshapes buckets and one that finds
// them so.
func (f *tier) inForce(t *testing.T, what string, is func() bool) {
	t.Helper()
	eventually(t, 6*time.Second+3*f.longest, what+" is in force", is)
}

// reads are how often the services have read items of the configuration.
func (f *tier) reads() int {
	n := 0
	for _, p := range f.proxies {
		for _, r := range p.Records() {
			if r.Operation == "BatchGetItem" {
				n++
			}
		}
	}
	return n
}
