//go:build integration

package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// plenty is more than any load of these tests asks for.
const plenty = "1000000/sec"

// stopTimeout is how long a service under load gets to stop in order.
const stopTimeout = 30 * time.Second

func TestUnixSocket(t *testing.T) {
	s := newService(t, fmt.Sprintf(byTenant, "2/day"), socket)
	w := around(t, s)
	for filter, addr := range w.filters() {
		got := w.burst(t, 6, addr, "/", "x-tenant", "acme")
		if diff := cmp.Diff(map[int]int{200: 2, 429: 4}, got); diff != "" {
			t.Errorf("%s over a socket (-want +got):\n%s", filter, diff)
		}
	}
	w.noFaults(t)

	w.envoy.Kill()
	if err := s.Stop(stopTimeout); err != nil {
		t.Errorf("stopping: %v", err)
	}
	if _, err := os.Stat(s.Pipe); err == nil {
		t.Errorf("the socket is still there after the service has stopped")
	}
}

// TestSocketLeftBehind starts where a service that was killed has left its
// socket: it must not be in the way.
func TestSocketLeftBehind(t *testing.T) {
	config := fmt.Sprintf(byTenant, "2/day")
	s := newService(t, config, socket)
	s.Kill()
	if _, err := os.Stat(s.Pipe); err != nil {
		t.Fatalf("a killed service should leave its socket: %v", err)
	}
	s.start(t)
	w := around(t, s)
	if r := w.ask(t, w.rateLimit, "/", "x-tenant", "acme"); r.status != 200 {
		t.Errorf("%d, want 200", r.status)
	}
}

// TestStopUnderLoad stops one of two services while requests flow. It tells
// Envoy's health check first and finishes what it has begun, so that no request
// fails, and ends with status 0.
func TestStopUnderLoad(t *testing.T) {
	config := fmt.Sprintf(byTenant, plenty)
	leaving, staying := newService(t, config, tcp), newService(t, config, tcp)
	w := around(t, leaving, staying)

	var loads []*load
	for _, addr := range w.filters() {
		loads = append(loads, startLoad(t, 8, func(ctx context.Context) error {
			_, err := w.wantOK(ctx, addr, "x-tenant", "acme")
			return err
		}))
	}
	eventually(t, 10*time.Second, "the load has begun", func() bool { return loads[0].done.Load() > 200 && loads[1].done.Load() > 200 })

	if err := leaving.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	stopping := time.Now()
	select {
	case <-leaving.Done():
		t.Logf("it stopped in %v", time.Since(stopping).Round(time.Millisecond))
	case <-time.After(stopTimeout):
		t.Fatalf("it hasn't stopped within %v of SIGTERM", stopTimeout)
	}
	if err := leaving.Err(); err != nil {
		t.Errorf("it ended with %v, want status 0", err)
	}
	after := loads[0].done.Load()
	eventually(t, 10*time.Second, "the load goes on with the other", func() bool { return loads[0].done.Load() > after+200 })
	for _, l := range loads {
		t.Logf("%d requests", l.stop(t))
	}
}

// TestStopAlone stops the only service when nothing is asked of it.
func TestStopAlone(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			s := newService(t, fmt.Sprintf(byTenant, plenty), tcp)
			if err := s.Signal(sig); err != nil {
				t.Fatal(err)
			}
			select {
			case <-s.Done():
			case <-time.After(stopTimeout):
				t.Fatalf("it hasn't stopped within %v", stopTimeout)
			}
			if err := s.Err(); err != nil {
				t.Errorf("it ended with %v, want status 0", err)
			}
		})
	}
}

// TestTakenPortIsNamed starts a second service on the ports of the first.
func TestTakenPortIsNamed(t *testing.T) {
	s := newService(t, fmt.Sprintf(byTenant, plenty), tcp)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "serve", "--config", s.file).CombinedOutput()
	if err == nil || ctx.Err() != nil {
		t.Fatalf("a second service on taken ports: %v, want a failure at once:\n%s", err, out)
	}
	if port := strconv.Itoa(s.Port); !strings.Contains(string(out), port) {
		t.Errorf("the error doesn't name port %s:\n%s", port, out)
	}
}
