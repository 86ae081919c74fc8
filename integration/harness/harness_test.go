package harness

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheckPortNamesATakenOne(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	var taken *PortTakenError
	if err := CheckPort(port); !errors.As(err, &taken) || taken.Port != port {
		t.Errorf("CheckPort(%d) = %v, want *PortTakenError", port, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := CheckPort(port); err != nil {
		t.Errorf("CheckPort(%d) of a free port: %v", port, err)
	}
}

func TestPortsAreHandedOutOnce(t *testing.T) {
	var ports Ports
	seen := map[int]bool{}
	for range 100 {
		port, err := ports.Free()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Fatalf("port %d was handed out twice", port)
		}
		seen[port] = true
	}
}

func TestParseSamples(t *testing.T) {
	envoy := parseSamples("cluster.backend.ratelimit.ok: 3\ncluster.x: y.z: 4\nserver.version: No recorded values\ntext: \"a\"\n\n", ": ")
	if diff := cmp.Diff(Samples{"cluster.backend.ratelimit.ok": 3, "cluster.x: y.z": 4}, envoy); diff != "" {
		t.Errorf("Envoy's page (-want +got):\n%s", diff)
	}
	page := parseSamples("# HELP a_total What.\n# TYPE a_total counter\na_total{code=\"OK\",why=\"x y\"} 2\na_total{code=\"NO\"} 3\na_total_more 5\nb 1e3\n", " ")
	for _, tc := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"a_total", nil, 5},
		{"a_total", []string{`code="OK"`}, 2},
		{"a_total", []string{`code="OK"`, `why="y"`}, 0},
		{"b", nil, 1000},
		{"c", nil, 0},
	} {
		if got := page.Family(tc.name, tc.labels...); got != tc.want {
			t.Errorf("Family(%s, %q) = %v, want %v", tc.name, tc.labels, got, tc.want)
		}
	}
}

func TestFindEnvoyFollowsThePin(t *testing.T) {
	t.Setenv("EXTAUTHZ_TOOLS", t.TempDir())
	t.Setenv("EXTAUTHZ_TEST_ENVOY", "")
	if _, err := FindEnvoy("../.."); !errors.Is(err, ErrNoEnvoy) {
		t.Errorf("FindEnvoy without one: %v, want %v", err, ErrNoEnvoy)
	}
	t.Setenv("EXTAUTHZ_TEST_ENVOY", "oldest")
	if _, err := FindEnvoy("../.."); !errors.Is(err, ErrNoEnvoy) || !strings.Contains(err.Error(), "envoy-1.36") {
		t.Errorf("FindEnvoy of the oldest: %v, want %v, with its version", err, ErrNoEnvoy)
	}
	t.Setenv("EXTAUTHZ_TEST_ENVOY", "newest")
	if _, err := FindEnvoy("../.."); err == nil || errors.Is(err, ErrNoEnvoy) {
		t.Errorf("FindEnvoy of another: %v, want an error", err)
	}
}
