//go:build integration

package examples

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// mustSay are the settings that an example writes out, whatever their defaults:
// by the kind of message that has them, the paths in it of which one has to be
// there.
var mustSay = map[string][][]string{
	"filters.http.ratelimit.v3.RateLimit":    {{"timeout"}, {"failure_mode_deny"}},
	"filters.network.ratelimit.v3.RateLimit": {{"timeout"}, {"failure_mode_deny"}},
	"filters.http.ext_authz.v3.ExtAuthz":     {{"grpc_service.timeout", "http_service.server_uri.timeout"}, {"failure_mode_allow"}},
	"filters.network.ext_authz.v3.ExtAuthz":  {{"grpc_service.timeout"}, {"failure_mode_allow"}},
	"cluster":                                {{"connect_timeout"}, {"circuit_breakers.thresholds"}, {"health_checks"}, {"common_lb_config.healthy_panic_threshold"}},
}

// mustExplain are the words that a README uses for them.
var mustExplain = []string{"timeout", "failure_mode", "circuit_breakers", "health_checks", "healthy_panic_threshold"}

// TestExamplesSayTheirSettings wants what decides about the limiter's failure to
// be written out in each configuration of Envoy, those within Kubernetes' files
// too, and explained beside it: the defaults fail open after 20 ms.
func TestExamplesSayTheirSettings(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(folder, "*", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		if filepath.Base(file) == exampleService {
			continue
		}
		found := 0
		walk(readYAML(t, file), func(kind string, message map[string]any) {
			paths, ok := mustSay[kind]
			if !ok {
				return
			}
			found++
			for _, either := range paths {
				if !hasOne(message, either) {
					t.Errorf("%s: %s doesn't say %s", file, kind, strings.Join(either, " or "))
				}
			}
		})
		if filepath.Base(file) == exampleEnvoy {
			if found < 2 {
				t.Errorf("%s: %d filters and clusters that ask the service, want one of each at least", file, found)
			}
			explains(t, filepath.Join(filepath.Dir(file), "README.md"))
		}
	}
}

// explains wants a README to use each of the words.
func explains(t *testing.T, readme string) {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	said := strings.ToLower(strings.ReplaceAll(string(text), " ", "_"))
	for _, word := range mustExplain {
		if !strings.Contains(said, word) {
			t.Errorf("%s says nothing of %s", readme, word)
		}
	}
}

// walk visits each message in a configuration that has a type, and each cluster
// that is the service's.
func walk(v any, visit func(kind string, message map[string]any)) {
	switch v := v.(type) {
	case []any:
		for _, each := range v {
			walk(each, visit)
		}
	case map[string]any:
		if kind, ok := v["@type"].(string); ok {
			visit(strings.TrimPrefix(kind, "type.googleapis.com/envoy.extensions."), v)
		}
		if name, _ := v["name"].(string); strings.HasPrefix(name, "extauthz") && v["load_assignment"] != nil {
			visit("cluster", v)
		}
		for _, each := range v {
			walk(each, visit)
		}
	}
}

// hasOne reports whether a message has a value at one of the paths.
func hasOne(message map[string]any, paths []string) bool {
	for _, path := range paths {
		var at any = message
		for name := range strings.SplitSeq(path, ".") {
			inner, _ := at.(map[string]any)
			at = inner[name]
		}
		if at != nil {
			return true
		}
	}
	return false
}

// readYAML reads all documents of a file.
func readYAML(t *testing.T, file string) []any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []any
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var v any
		err := decoder.Decode(&v)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, v)
	}
}
