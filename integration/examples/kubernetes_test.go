//go:build integration

package examples

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// object is a YAML mapping.
type object = map[string]any

// TestIstio adds the example's EnvoyFilter to an ingress gateway's configuration,
// and asks through it and through a workload's ext_authz. Module integration/crds
// checks the files against Istio's schemas.
func TestIstio(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeIdentities(t, dir)
	skeleton := readSkeleton(t, "istio", strings.NewReplacer("CERTIFICATES", dir))
	patches := at[[]any](t, readFirst(t, "istio/ratelimit.yaml"), "spec", "configPatches")
	if len(patches) != 3 {
		t.Fatalf("%d patches, want 3", len(patches))
	}
	for _, p := range patches {
		value := at[object](t, p, "patch", "value")
		switch to := at[string](t, p, "applyTo"); to {
		case "HTTP_FILTER":
			hcm := at[object](t, skeleton, "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config")
			hcm["http_filters"] = slices.Insert(at[[]any](t, hcm, "http_filters"), 0, any(value))
		case "CLUSTER":
			merge(at[object](t, skeleton, "static_resources", "clusters", 0), value)
		case "VIRTUAL_HOST":
			merge(at[object](t, skeleton, "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config", "route_config", "virtual_hosts", 0), value)
		default:
			t.Fatalf("a patch of %s", to)
		}
	}
	e := startAssembled(t, "istio", skeleton)

	e.wantStatuses(t, []int{200, 200, 429}, 10000, "/", "x-tenant", "acme")
	e.wantStatuses(t, []int{200, 429}, 10000, "/")
	for identity, want := range map[string][]int{"importer": {200, 200, 200, 429}, "web": {200, 200, 200, 200}} {
		client := clientAs(t, dir, identity)
		var got []int
		for range want {
			resp, err := client.Get("https://" + e.addr(10001))
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			got = append(got, resp.StatusCode)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", identity, got, want)
		}
	}
}

// TestEnvoyGateway applies the example's patches to a gateway's configuration.
func TestEnvoyGateway(t *testing.T) {
	t.Parallel()
	skeleton := readSkeleton(t, "envoy-gateway", strings.NewReplacer())
	listener := at[object](t, skeleton, "static_resources", "listeners", 0)
	routes := at[object](t, listener, "default_filter_chain", "filters", 0, "typed_config", "route_config")
	for _, p := range at[[]any](t, readFirst(t, "envoy-gateway/ratelimit.yaml"), "spec", "jsonPatches") {
		operation := at[object](t, p, "operation")
		if op := at[string](t, operation, "op"); op != "add" {
			t.Fatalf("a patch that has to %s", op)
		}
		path, value := at[string](t, operation, "path"), operation["value"]
		switch kind := at[string](t, p, "type"); kind[strings.LastIndexByte(kind, '.')+1:] {
		case "Cluster":
			resources := at[object](t, skeleton, "static_resources")
			resources["clusters"] = append(at[[]any](t, resources, "clusters"), value)
		case "Listener":
			add(t, listener, path, value)
		case "RouteConfiguration":
			add(t, routes, path, value)
		default:
			t.Fatalf("a patch of %s", kind)
		}
	}
	e := startAssembled(t, "envoy-gateway", skeleton)
	for _, port := range []int{10000, 10001} {
		e.wantStatuses(t, []int{200, 200, 429}, port, "/", "x-tenant", "acme")
		e.wantStatuses(t, []int{200, 429}, port, "/")
	}
	e.noFaults(t)
}

// TestGatewayAPI has an Envoy as the route's filter asks for.
func TestGatewayAPI(t *testing.T) {
	t.Parallel()
	e := startAssembled(t, "gateway-api", readSkeleton(t, "gateway-api", strings.NewReplacer()))
	e.wantStatuses(t, []int{200, 200, 429}, 10000, "/", "x-tenant", "acme")
	e.wantStatuses(t, []int{200, 429}, 10000, "/search?q=a", "x-tenant", "acme")
	e.wantStatuses(t, []int{403}, 10000, "/")
	e.noFaults(t)
}

// TestKubernetesExamplesExplain wants the READMEs to explain what an Envoy's file
// would have to.
func TestKubernetesExamplesExplain(t *testing.T) {
	for _, name := range []string{"istio", "envoy-gateway", "gateway-api"} {
		explains(t, filepath.Join(folder, name, "README.md"))
	}
}

// startAssembled starts an Envoy with a configuration that was put together, and
// a service with the example's file.
func startAssembled(t *testing.T, name string, config object) *example {
	t.Helper()
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), exampleEnvoy)
	// The cluster's own name service isn't here.
	text = bytes.ReplaceAll(text, []byte("address: extauthz.extauthz.svc.cluster.local"), []byte("address: 127.0.0.1"))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return startFiles(t, file, filepath.Join(folder, name, exampleService))
}

// readSkeleton reads what an Envoy of that kind has beside the example.
func readSkeleton(t *testing.T, name string, replace *strings.Replacer) object {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var out object
	if err := yaml.Unmarshal([]byte(replace.Replace(string(text))), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// readFirst reads the first document of an example's file.
func readFirst(t *testing.T, file string) object {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, file))
	if err != nil {
		t.Fatal(err)
	}
	var out object
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&out); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return out
}

// at is the value at a path of names and indexes.
func at[T any](t *testing.T, v any, path ...any) T {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(object)
			v = m[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				t.Fatalf("no %v in %v", path, list)
			}
			v = list[step]
		}
	}
	out, ok := v.(T)
	if !ok {
		t.Fatalf("%v is %T", path, v)
	}
	return out
}

// merge adds what a patch has, which the target hasn't.
func merge(into, patch object) {
	for name, value := range patch {
		into[name] = value
	}
}

// add is JSON patch's operation of that name.
func add(t *testing.T, into object, path string, value any) {
	t.Helper()
	var steps []any
	for step := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if n, err := strconv.Atoi(step); err == nil {
			steps = append(steps, n)
		} else {
			steps = append(steps, step)
		}
	}
	parent, last := steps[:len(steps)-1], steps[len(steps)-1]
	switch last := last.(type) {
	case string:
		at[object](t, into, parent...)[last] = value
	case int: // an element of a list, whose own place has to be set anew
		list := at[[]any](t, into, parent...)
		holder := at[object](t, into, parent[:len(parent)-1]...)
		holder[fmt.Sprint(parent[len(parent)-1])] = slices.Insert(list, last, value)
	}
}
