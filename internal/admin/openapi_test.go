package admin

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// openAPI is docs/openapi/admin.yaml.
type openAPI struct {
	Paths      map[string]map[string]any `yaml:"paths"`
	Components struct {
		Schemas map[string]struct {
			Properties map[string]any `yaml:"properties"`
		} `yaml:"schemas"`
	} `yaml:"components"`
	text string
}

func readOpenAPI(t *testing.T) *openAPI {
	t.Helper()
	text, err := os.ReadFile("../../docs/openapi/admin.yaml")
	if err != nil {
		t.Fatal(err)
	}
	doc := openAPI{text: string(text)}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return &doc
}

// Each path and method that is documented is served, and the other way round.
func TestOpenAPIHasTheRoutes(t *testing.T) {
	var documented, served []string
	for path, methods := range readOpenAPI(t).Paths {
		for m := range methods {
			if m != "parameters" {
				documented = append(documented, strings.ToUpper(m)+" "+path)
			}
		}
	}
	for _, r := range new(handler).routes() {
		served = append(served, r.method+" "+r.pattern)
	}
	slices.Sort(documented)
	slices.Sort(served)
	if diff := cmp.Diff(served, documented); diff != "" {
		t.Errorf("served (-) and documented (+):\n%s", diff)
	}
}

// The documented properties are those of what is sent and read.
func TestOpenAPIHasTheFields(t *testing.T) {
	doc := readOpenAPI(t)
	for name, v := range map[string]any{
		"Error": apiError{}, "LogLevel": LogLevel{}, "Actor": hierarchy.Actor{}, "Cause": cause{}, "Registration": registration{},
		"Namespace": NamespaceInfo{}, "Purge": purgeLine{}, "Mark": markJSON{}, "Change": hierarchy.Change{}, "Edit": editJSON{},
		"Event": hierarchy.Event{}, "BalanceQuestion": BalanceQuestion{}, "Balance": Balance{}, "LimitBalance": LimitBalance{},
		"Operation": operationRequest{}, "Operated": Operated{}, "Denials": Denials{}, "Denial": Denial{}, "DeniedLimit": DeniedLimit{},
		"Top": Top{}, "Rank": Rank{},
	} {
		want := fieldsOf(reflect.TypeOf(v))
		got := []string{}
		for p := range doc.Components.Schemas[name].Properties {
			got = append(got, p)
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: of the code (-), documented (+):\n%s", name, diff)
		}
	}
	// An item writes its JSON itself.
	written, err := json.Marshal(fullItem())
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(written, &fields); err != nil {
		t.Fatal(err)
	}
	for f := range fields {
		if _, ok := doc.Components.Schemas["Item"].Properties[f]; !ok {
			t.Errorf("Item: %s isn't documented", f)
		}
	}
	if len(fields) != len(doc.Components.Schemas["Item"].Properties) {
		t.Errorf("Item: %d fields are written, %d documented", len(fields), len(doc.Components.Schemas["Item"].Properties))
	}
}

func fieldsOf(t reflect.Type) []string {
	fields := []string{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			fields = append(fields, fieldsOf(f.Type)...)
			continue
		}
		fields = append(fields, name)
	}
	return fields
}

// Every reference in the document leads somewhere.
func TestOpenAPIReferences(t *testing.T) {
	doc := readOpenAPI(t)
	var tree any
	if err := yaml.Unmarshal([]byte(doc.text), &tree); err != nil {
		t.Fatal(err)
	}
	n := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				n++
				at := tree
				for _, key := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
					m, _ := at.(map[string]any)
					at = m[key]
				}
				if at == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	walk(tree)
	if n < 20 {
		t.Errorf("only %d references were found", n)
	}
}
