package extauthz

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/extauthz/extauthz/infra"
	"github.com/extauthz/extauthz/internal/stack"
)

// Every option is a parameter of the template, and every parameter an option.
func TestStackOptionsAreTheTemplates(t *testing.T) {
	var template struct {
		Parameters map[string]struct {
			Default string `yaml:"Default"`
		} `yaml:"Parameters"`
	}
	if err := yaml.Unmarshal([]byte(infra.Template), &template); err != nil {
		t.Fatal(err)
	}
	defaults := new(StackOptions).parameters()
	for name, value := range defaults {
		if p, ok := template.Parameters[name]; !ok || p.Default != value {
			t.Errorf("by default %s is %q, in the template %q", name, value, p.Default)
		}
	}
	reached := map[string]bool{"AggregatorCodeKey": true, "AggregatorArchitecture": true} // of the code, which is at hand
	eachOption(func(field string, o *StackOptions) {
		for name, value := range o.parameters() {
			if value != defaults[name] {
				reached[name] = true
				if err := stack.Check(name, value); err != nil {
					t.Errorf("%s: %v", field, err)
				}
			}
		}
	})
	for name := range template.Parameters {
		if !reached[name] {
			t.Errorf("no option reaches %s", name)
		}
	}
}

// eachOption calls f with options of which one is given.
func eachOption(f func(field string, o *StackOptions)) {
	of := reflect.TypeFor[StackOptions]()
	for field := range of.Fields() {
		o := new(StackOptions)
		v := reflect.ValueOf(o).Elem().FieldByIndex(field.Index)
		switch v.Interface().(type) {
		case bool:
			v.SetBool(true)
		case string:
			v.SetString("x-{}")
		case int:
			v.SetInt(365)
		case time.Duration:
			v.SetInt(int64(2 * time.Minute))
		default: // tags
			continue
		}
		f(field.Name, o)
	}
}

func TestInvalidStackOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "code.zip")
	if err := os.WriteFile(file, []byte("no zip"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []StackOptions{
		{LogRetentionDays: 2}, {MaxWriteUnits: -1}, {RoleNameFormat: "x"}, {AggregatorZip: file}, {AggregatorZip: file + "x"},
	} {
		if _, err := o.declaration(); !errors.As(err, new(*InvalidOptionsError)) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	d, err := (&StackOptions{Tags: map[string]string{"team": "edge"}}).declaration()
	if err != nil || d.Keep || d.Approve != nil || d.Tags["team"] != "edge" {
		t.Errorf("%+v, %v", d, err)
	}
}
