package awslocal

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// template is a template of CloudFormation as it stands.
type template struct {
	Parameters map[string]struct {
		Default string `yaml:"Default"`
	} `yaml:"Parameters"`
	Conditions map[string]yaml.Node `yaml:"Conditions"`
	Resources  map[string]struct {
		Type       string    `yaml:"Type"`
		Condition  string    `yaml:"Condition"`
		Properties yaml.Node `yaml:"Properties"`
	} `yaml:"Resources"`
	Outputs map[string]struct {
		Condition string    `yaml:"Condition"`
		Value     yaml.Node `yaml:"Value"`
	} `yaml:"Outputs"`
}

// resource is one that a template makes of its parameters.
type resource struct {
	kind       string
	properties map[string]any
	text       map[string]string // :: property -> all of it, to compare
}

// noValue is what AWS::NoValue leaves.
type noValue struct{}

// rendering is a template with its parameters.
type rendering struct {
	template *template
	stack    string
	values   map[string]string
}

func parse(body string) (*template, error) {
	t := new(template)
	if err := yaml.Unmarshal([]byte(body), t); err != nil {
		return nil, err
	}
	return t, nil
}

// complete are the values of all parameters.
func (t *template) complete(given map[string]string) (map[string]string, error) {
	values := map[string]string{}
	for name, p := range t.Parameters {
		values[name] = p.Default
	}
	for name, v := range given {
		if _, ok := t.Parameters[name]; !ok {
			return nil, fmt.Errorf("Parameters: [%s] do not exist in the template", name) //nolint:staticcheck // CloudFormation's words
		}
		values[name] = v
	}
	return values, nil
}

// resources are those whose conditions hold.
func (r *rendering) resources() map[string]*resource {
	all := map[string]*resource{}
	for name, of := range r.template.Resources {
		if of.Condition != "" && !r.holds(of.Condition) {
			continue
		}
		made := &resource{kind: of.Type, text: map[string]string{}}
		made.properties, _ = r.value(&of.Properties).(map[string]any)
		for property, v := range made.properties {
			made.text[property] = fmt.Sprint(v) // maps are printed in order
		}
		all[name] = made
	}
	return all
}

// outputs are those whose conditions hold.
func (r *rendering) outputs() map[string]string {
	all := map[string]string{}
	for name, o := range r.template.Outputs {
		if o.Condition == "" || r.holds(o.Condition) {
			all[name] = fmt.Sprint(r.value(&o.Value))
		}
	}
	return all
}

func (r *rendering) holds(condition string) bool {
	n := r.template.Conditions[condition]
	b, _ := r.value(&n).(bool)
	return b
}

// value evaluates a node.
func (r *rendering) value(n *yaml.Node) any {
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		return r.call(n)
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			if v := r.value(n.Content[i+1]); v != (noValue{}) {
				m[n.Content[i].Value] = v
			}
		}
		if c, ok := m["Condition"].(string); ok && len(m) == 1 {
			return r.holds(c)
		}
		return m
	case yaml.SequenceNode:
		list := []any{}
		for _, c := range n.Content {
			if v := r.value(c); v != (noValue{}) {
				list = append(list, v)
			}
		}
		return list
	}
	return n.Value
}

// call evaluates a function in its short form.
func (r *rendering) call(n *yaml.Node) any {
	arg := func(i int) any { return r.value(n.Content[i]) }
	switch n.Tag {
	case "!Ref":
		return r.ref(n.Value)
	case "!GetAtt":
		return "getatt:" + n.Value
	case "!If":
		if r.holds(n.Content[0].Value) {
			return arg(1)
		}
		return arg(2)
	case "!Equals":
		return fmt.Sprint(arg(0)) == fmt.Sprint(arg(1))
	case "!Not":
		return arg(0) == false
	case "!And", "!Or":
		want := n.Tag == "!Or"
		return slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return r.value(c) == want }) == want
	case "!Sub":
		if n.Kind == yaml.SequenceNode {
			more, _ := arg(1).(map[string]any)
			return r.sub(n.Content[0].Value, more)
		}
		return r.sub(n.Value, nil)
	case "!Select":
		var list []any
		if parts, ok := arg(1).([]any); ok {
			list = parts
		}
		i := 0
		_, _ = fmt.Sscan(n.Content[0].Value, &i)
		if i < len(list) {
			return list[i]
		}
		return ""
	case "!Split":
		list := []any{}
		for _, p := range strings.Split(fmt.Sprint(arg(1)), n.Content[0].Value) {
			list = append(list, p)
		}
		return list
	}
	panic("a template with a function that awslocal doesn't know: " + n.Tag)
}

func (r *rendering) ref(name string) any {
	switch name {
	case "AWS::NoValue":
		return noValue{}
	case "AWS::StackName":
		return r.stack
	case "AWS::Region":
		return "us-east-1"
	case "AWS::AccountId":
		return "123456789012"
	case "AWS::Partition":
		return "aws"
	}
	if v, ok := r.values[name]; ok {
		return v
	}
	return physical(r.stack, name)
}

// physical is what a resource is called once it is there.
func physical(stack, name string) string {
	if name == "Table" {
		return stack
	}
	return bucketName(stack, name)
}

var placeholder = regexp.MustCompile(`\$\{([^}]+)\}`)

func (r *rendering) sub(s string, more map[string]any) string {
	return placeholder.ReplaceAllStringFunc(s, func(p string) string {
		name := p[2 : len(p)-1]
		if v, ok := more[name]; ok {
			return fmt.Sprint(v)
		}
		if strings.HasPrefix(name, "aws:") {
			return p // a variable of policies
		}
		if strings.Contains(name, ".") {
			return "getatt:" + name
		}
		return fmt.Sprint(r.ref(name))
	})
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
