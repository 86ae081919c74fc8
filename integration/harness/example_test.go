package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCopyExample moves ports, the same to the same, and nothing that only looks
// like one.
func TestCopyExample(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"e": `{address: 127.0.0.1, port_value: 8081, timeout: 0.25s, timeout: 15s}, {"total_tokens":150} # 10000 of 8081`,
		"s": `{grpc: 127.0.0.1:8081, metrics: ":9090"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var free Ports
	e, err := CopyExample(filepath.Join(dir, "e"), filepath.Join(dir, "s"), t.TempDir(), &free)
	if err != nil {
		t.Fatal(err)
	}
	if e.Port(8081) == 0 || e.Port(9090) == 0 || e.Port(8081) == e.Port(9090) || e.Port(150) != 0 {
		t.Errorf("ports were moved to %v", e.ports)
	}
	for file, want := range map[string]string{
		e.Envoy:   fmt.Sprintf(`{address: 127.0.0.1, port_value: %d, timeout: 10s, timeout: 15s}, {"total_tokens":150} # 10000 of 8081`, e.Port(8081)),
		e.Service: fmt.Sprintf(`{grpc: 127.0.0.1:%d, metrics: "127.0.0.1:%d"}`, e.Port(8081), e.Port(9090)),
	} {
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}
