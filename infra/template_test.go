package infra_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/extauthz/extauthz/infra"
	"github.com/extauthz/extauthz/internal/motolocal"
	"github.com/extauthz/extauthz/pkg/dynamostore"
)

// template is what the tests look at. Short forms of functions, such as !Ref,
// are read as what they are given.
type template struct {
	Metadata struct {
		Extauthz struct {
			SchemaVersion int `yaml:"SchemaVersion"`
		} `yaml:"extauthz"`
	} `yaml:"Metadata"`
	Parameters map[string]struct {
		Description string  `yaml:"Description"`
		Default     *string `yaml:"Default"`
	} `yaml:"Parameters"`
	Resources map[string]struct {
		Type       string         `yaml:"Type"`
		Properties map[string]any `yaml:"Properties"`
	} `yaml:"Resources"`
	Outputs map[string]struct {
		Value string `yaml:"Value"`
	} `yaml:"Outputs"`
}

func read(t *testing.T) *template {
	t.Helper()
	var tpl template
	if err := yaml.Unmarshal([]byte(infra.Template), &tpl); err != nil {
		t.Fatal(err)
	}
	return &tpl
}

func TestTemplateIsClean(t *testing.T) {
	dir := motolocal.Folder(t, "..")
	cmd := exec.CommandContext(t.Context(), "python3", filepath.Join(dir, "bin", "cfn-lint"), "--include-checks", "I", "--", "template.yaml")
	cmd.Env = append(os.Environ(), "PYTHONPATH="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("cfn-lint: %v\n%s", err, out)
	}
	const most = 51200 // of a template that is sent with the request
	if n := len(infra.Template); n > most {
		t.Errorf("the template has %d bytes, CloudFormation takes %d", n, most)
	}
}

func TestEveryParameterMayBeLeftOut(t *testing.T) {
	tpl := read(t)
	for name, p := range tpl.Parameters {
		if p.Default == nil || p.Description == "" {
			t.Errorf("parameter %s has no default or no description", name)
		}
	}
	if got := tpl.Metadata.Extauthz.SchemaVersion; got != dynamostore.SchemaVersion {
		t.Errorf("the template is for layout %d, the store for %d", got, dynamostore.SchemaVersion)
	}
	if got := tpl.Outputs["SchemaVersion"].Value; got != "1" {
		t.Errorf("output SchemaVersion is %q", got)
	}
}

// actions are those of DynamoDB that a policy allows, without its prefix. Other
// services' are those of streams, keys and logs, which the code never calls.
func actions(document any, service string) []string {
	found := map[string]bool{}
	for _, s := range document.(map[string]any)["Statement"].([]any) {
		statement := s.(map[string]any)
		if statement["Effect"] != "Allow" || statement["Sid"] == "Stream" || statement["Sid"] == "Streams" {
			continue
		}
		list, ok := statement["Action"].([]any)
		if !ok {
			list = []any{statement["Action"]}
		}
		for _, a := range list {
			if name, ok := strings.CutPrefix(a.(string), service+":"); ok {
				found[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func TestPoliciesHoldWhatTheCodeCalls(t *testing.T) {
	store := parse(t, filepath.Join("..", "pkg", "dynamostore"), "api", "charges", "others")
	const (
		makes    = ".createTable"         // the template does
		registry = ".enter"               // a namespace is registered by who administers,
		version  = ".checkSchema:PutItem" // and so is the table's layout written
		purge    = ".remove"              // of a purge alone; a field has the same name
	)
	serve := store.from(t, []string{"Open", ".Close", ".Apply", ".Get", ".Mark", ".Changes", ".Items"}, makes, registry, version, purge)
	list := store.from(t, []string{
		"Open", ".Close", ".Get", ".Mark", ".Changes", ".Items",
		".List", ".Events", ".Namespace", ".Namespaces", ".Orphans",
	}, makes, registry, version, purge)
	administer := store.from(t, store.exported(), makes)
	// What looks through the table can't be confined.
	confined := slices.DeleteFunc(slices.Clone(administer), func(a string) bool { return a == "Scan" || a == "BatchWriteItem" })

	tpl := read(t)
	for name, want := range map[string][]string{
		"ServePolicy": serve, "NamespaceServePolicy": serve,
		"ReadPolicy": list, "NamespaceReadPolicy": list,
		"AdministerPolicy": administer, "NamespaceAdministerPolicy": confined,
	} {
		got := actions(tpl.Resources[name].Properties["PolicyDocument"], "dynamodb")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: what the code calls (-), what is allowed (+):\n%s", name, diff)
		}
	}
}

func TestTheAggregatorsRoleHoldsWhatItCalls(t *testing.T) {
	tpl := read(t)
	document := tpl.Resources["AggregatorRole"].Properties["Policies"].([]any)[0].(map[string]any)["PolicyDocument"]
	documents := map[string]any{
		"dynamodb": document, "sqs": document,
		"s3": tpl.Resources["AggregatorArchivePolicy"].Properties["PolicyDocument"],
	}
	for api, service := range map[string]string{"table": "dynamodb", "archive": "s3", "queue": "sqs"} {
		code := parse(t, filepath.Join("aggregator", "handler"), api)
		want := slices.Sorted(maps.Keys(code.api))
		if diff := cmp.Diff(want, actions(documents[service], service)); diff != "" {
			t.Errorf("of %s, what the code calls (-), what is allowed (+):\n%s", service, diff)
		}
	}
}

// TestTheAggregatorIsToldWhatItAsksFor compares what the template sets of its
// environment with what it reads.
func TestTheAggregatorIsToldWhatItAsksFor(t *testing.T) {
	code, err := os.ReadFile(filepath.Join("aggregator", "handler", "environment.go"))
	if err != nil {
		t.Fatal(err)
	}
	variables := read(t).Resources["Aggregator"].Properties["Environment"].(map[string]any)["Variables"].(map[string]any)
	names := regexp.MustCompile(`"(EXTAUTHZ_[A-Z_]+)"`).FindAllStringSubmatch(string(code), -1)
	if len(names) == 0 {
		t.Error("the aggregator reads nothing of its environment")
	}
	for _, n := range names {
		if _, ok := variables[n[1]]; !ok {
			t.Errorf("the template doesn't set %s", n[1])
		}
	}
}
