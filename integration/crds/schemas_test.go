package crds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// source is a Go module that ships custom resource definitions, pinned by its
// hash.
type source struct {
	module, sum string
	files       string // a pattern in the module's folder
}

var sources = []source{
	{"istio.io/api@v1.31.1", "h1:5Yb5ihcz4YQsCkciusK7DnFpBMwRB6EFWeUKH1Atuyk=", "kubernetes/customresourcedefinitions.gen.yaml"},
	{"github.com/envoyproxy/gateway@v1.9.1", "h1:vAVp6/AlBXJ1aOhp1mxL7fNEzVEfjADUguUhm2wzxQY=", "charts/gateway-helm/charts/crds/crds/generated/*.yaml"},
	{"sigs.k8s.io/gateway-api@v1.6.3", "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=", "config/crd/experimental/gateway.networking.k8s.io_*.yaml"},
}

// find downloads the module, where it isn't there yet, and finds its files.
func (s source) find(ctx context.Context) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", s.module)
	cmd.Dir = os.TempDir() // none of this module's requirements are meant
	out, err := cmd.Output()
	var module struct{ Dir, Sum, Error string }
	if err := errors.Join(err, json.Unmarshal(out, &module)); err != nil {
		return nil, fmt.Errorf("downloading %s: %w %s", s.module, err, module.Error)
	}
	if module.Sum != s.sum {
		return nil, fmt.Errorf("%s has the hash %s, want %s", s.module, module.Sum, s.sum)
	}
	found, err := filepath.Glob(filepath.Join(module.Dir, s.files))
	if err == nil && len(found) == 0 {
		err = errors.New("no such files")
	}
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", module.Dir, s.files, err)
	}
	return found, nil
}

// kind is one version of a kind of resource: apiVersion and kind.
type kind struct{ version, name string }

// checker checks resources of one kind as a Kubernetes API server does.
type checker struct {
	structural *schema.Structural
	schema     validation.SchemaValidator
	rules      *cel.Validator // nil when it has none
}

// schemas are the kinds of all sources, each with its schema as it is shipped.
type schemas map[kind]*apiextensionsv1.CustomResourceValidation

// readSchemas reads all sources.
func readSchemas(ctx context.Context) (schemas, error) {
	all := schemas{}
	for _, s := range sources {
		files, err := s.find(ctx)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if err := all.read(file); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return all, nil
}

func (all schemas) read(file string) error {
	documents, err := readDocuments(file)
	if err != nil {
		return err
	}
	for _, d := range documents {
		if d.GetKind() != "CustomResourceDefinition" {
			continue
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(d.Object, &crd); err != nil {
			return err
		}
		for _, v := range crd.Spec.Versions {
			if v.Served {
				all[kind{crd.Spec.Group + "/" + v.Name, crd.Spec.Names.Kind}] = v.Schema
			}
		}
	}
	return nil
}

// check is everything that is wrong with a resource.
func (all schemas) check(ctx context.Context, resource *unstructured.Unstructured) field.ErrorList {
	s, ok := all[kind{resource.GetAPIVersion(), resource.GetKind()}]
	if !ok {
		return field.ErrorList{field.NotFound(field.NewPath("kind"), resource.GetAPIVersion()+" "+resource.GetKind())}
	}
	c, err := newChecker(s)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return c.check(ctx, resource)
}

func newChecker(v1 *apiextensionsv1.CustomResourceValidation) (*checker, error) {
	var internal apiextensions.CustomResourceValidation
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(v1, &internal, nil); err != nil {
		return nil, err
	}
	structural, err := schema.NewStructural(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	validator, _, err := validation.NewSchemaValidator(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	return &checker{structural, validator, cel.NewValidator(structural, true, celconfig.PerCallLimit)}, nil
}

// check is everything that is wrong with a resource: fields that its kind hasn't
// got, values that aren't of their type, rules that it breaks.
func (c *checker) check(ctx context.Context, resource *unstructured.Unstructured) field.ErrorList {
	var wrong field.ErrorList
	object := resource.DeepCopy().Object
	unknown := pruning.PruneWithOptions(object, c.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		wrong = append(wrong, field.Invalid(field.NewPath(path), "", "there is no such field"))
	}
	defaulting.Default(object, c.structural)
	wrong = append(wrong, validation.ValidateCustomResource(nil, object, c.schema)...)
	if c.rules != nil {
		broken, _ := c.rules.Validate(ctx, nil, c.structural, object, nil, celconfig.RuntimeCELCostBudget)
		wrong = append(wrong, broken...)
	}
	return wrong
}

// readDocuments reads a file of YAML documents; empty ones are left out.
func readDocuments(file string) ([]*unstructured.Unstructured, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		var raw runtime.RawExtension
		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		var d unstructured.Unstructured
		if err == nil && len(raw.Raw) > 0 && string(raw.Raw) != "null" {
			err = d.UnmarshalJSON(raw.Raw) // which knows whole numbers, as an API server does
			all = append(all, &d)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
}
