package crds

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// examples are the folders with files for Kubernetes, and how many resources each
// has at least.
var examples = map[string]int{"istio": 3, "envoy-gateway": 3, "gateway-api": 2}

// notResources are files that no API server reads.
var notResources = map[string]bool{"extauthz.yaml": true, "mesh.yaml": true}

// TestSchemas reads the schemas once: they are big.
func TestSchemas(t *testing.T) {
	all, err := readSchemas(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for folder, least := range examples {
		t.Run(folder, func(t *testing.T) { all.exampleFits(t, folder, least) })
	}
	for name, resource := range broken {
		t.Run(name, func(t *testing.T) {
			var d unstructured.Unstructured
			if err := yaml.Unmarshal([]byte(resource), &d.Object); err != nil {
				t.Fatal(err)
			}
			wrong := all.check(t.Context(), &d)
			if len(wrong) == 0 {
				t.Error("nothing was found")
			}
			t.Log(wrong)
		})
	}
}

// exampleFits checks each resource of an example as the API server that it is
// applied to would: unknown fields, types, rules.
func (all schemas) exampleFits(t *testing.T, folder string, least int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../../envoy-examples", folder, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, file := range files {
		if notResources[filepath.Base(file)] {
			continue
		}
		documents, err := readDocuments(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range documents {
			checked++
			for _, wrong := range all.check(t.Context(), d) {
				t.Errorf("%s: %s %s: %v", file, d.GetKind(), d.GetName(), wrong)
			}
		}
	}
	if checked < least {
		t.Errorf("%d resources, want %d at least", checked, least)
	}
}

// broken are resources that are wrong, each in a way that has to be found.
var broken = map[string]string{
	"an unknown kind": `{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: RateLimitPolicy, metadata: {name: a}}`,
	"an unknown field": `{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: SecurityPolicy, metadata: {name: a},
		spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a}], extAuthz: {}}}`,
	"a value of another type": `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: a}, spec: {action: [CUSTOM]}}`,
	"a word that isn't one":   `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: a}, spec: {action: ASK}}`,
	"a rule that is broken": `{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: SecurityPolicy, metadata: {name: a},
		spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Secret, name: a}]}}`,
}

// TestMeshConfig reads Istio's mesh-wide configuration, which is no resource, as
// Istio does: by its message, strictly.
func TestMeshConfig(t *testing.T) {
	text, err := os.ReadFile("../../envoy-examples/istio/mesh.yaml")
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatal(err)
	}
	var mesh meshv1alpha1.MeshConfig
	if err := protojson.Unmarshal(asJSON, &mesh); err != nil {
		t.Fatal(err)
	}
	if len(mesh.GetExtensionProviders()) == 0 {
		t.Error("no extension provider")
	}
}
