package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/extauthz/extauthz"

// layers gives each package, by its path in the module, the height that decides
// what it may import: packages of its own height or below, never above. A
// package stands for those under it that aren't named.
var layers = map[string]int{
	"pkg/ratelimit":   0,
	"pkg/hierarchy":   1,
	"pkg/usage":       1,
	"pkg/embedstore":  2,
	"pkg/dynamostore": 2,
	"internal/cost":   0,
	"internal/stack":  2,
	"internal/caller": 2,
	".":               3,
	"pkg/descriptors": 4,

	"internal/tlsfiles":   5,
	"internal/telemetry":  5,
	"internal/zaelimiter": 5,
	"internal/decision":   5,
	"internal/recent":     5,
	"internal/dropin":     5,
	"internal/config":     6,
	"internal/envoy":      6,
	"internal/httpcheck":  6,
	"internal/server":     6,
	"internal/admin":      6,
	"internal/doctest":    7,
	"cmd":                 7,

	"infra":            0,
	"infra/aggregator": 3,

	"integration/fleet": 7,
}

// apart are packages that import nothing of the module but each other: what
// they test, they test from outside. One that has a layer isn't apart.
var apart = []string{"internal/archtest", "integration", "internal/ddblocal", "internal/faultproxy", "internal/awslocal", "internal/motolocal"}

// pure are packages whose whole tree of imports is the standard library, the
// module's own pure packages and what is listed.
var pure = map[string][]string{
	"pkg/ratelimit": {"github.com/hashicorp/golang-lru/v2", "github.com/cespare/xxhash/v2", "golang.org/x/sys/cpu"},
	"pkg/usage":     {"github.com/hashicorp/golang-lru/v2", "github.com/cespare/xxhash/v2", "golang.org/x/sys/cpu"},
}

// confined says which files alone may import a module: by folder, or by prefix
// of a file's name where it doesn't end in a slash.
var confined = []struct {
	what string
	only []string
}{
	{"github.com/envoyproxy/go-control-plane", []string{"pkg/descriptors/envoy", "internal/envoy/", "internal/httpcheck/", "cmd/extauthz/ask_test", "integration/surface_test", "internal/doctest/envoy_test"}},
	{"github.com/aws/", []string{"pkg/dynamostore/", "internal/ddblocal/", "internal/stack/", "internal/awslocal/", "internal/zaelimiter/", "infra/aggregator/", "infra/rights_test", "integration/fleet/", "open"}},
}

// noLogic are imports that a command has no use for: it parses flags, makes one
// call and prints.
var noLogic = []string{
	"github.com/envoyproxy/", "github.com/aws/", "google.golang.org/grpc", "google.golang.org/protobuf",
	"cel.dev/", "github.com/hashicorp/golang-lru", "github.com/prometheus/",
}

// banned are modules that have moved or are archived, with what stands in their
// place.
var banned = map[string]string{
	"gopkg.in/yaml.v3":         "go.yaml.in/yaml/v3",
	"github.com/google/cel-go": "cel.dev/cel-go",
}

// listed is what `go list` says of one package.
type listed struct {
	ImportPath                string
	Dir                       string
	Standard                  bool
	Imports                   []string
	TestImports, XTestImports []string
	Deps                      []string
}

// packages lists the packages of the module, those of the black-box tests too.
func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-tags", "integration",
		"-json=ImportPath,Dir,Standard,Imports,TestImports,XTestImports,Deps", "./...")
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("reading go list: %v", err)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		t.Fatal("go list named no packages")
	}
	return all
}

// inModule gives a package's path in the module ("." for the root), and whether
// it is one of the module's.
func inModule(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// height finds a package's layer by its longest prefix that has one.
func height(path string) (int, bool) {
	for p := path; ; p = filepath.ToSlash(filepath.Dir(p)) {
		if h, ok := layers[p]; ok && (p != "." || path == ".") {
			return h, true
		}
		if p == "." {
			return 0, false
		}
	}
}

// under reports whether path is dir or lies in it.
func under(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

func isApart(path string) bool {
	if _, ok := layers[path]; ok {
		return false
	}
	return slices.ContainsFunc(apart, func(dir string) bool { return under(path, dir) })
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range packages(t) {
		path, _ := inModule(p.ImportPath)
		if isApart(path) {
			for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
				if to, ours := inModule(imp); ours && !isApart(to) {
					t.Errorf("%s imports %s: it looks at the module from outside", path, to)
				}
			}
			continue
		}
		own, ok := height(path)
		if !ok {
			t.Errorf("%s has no layer: give it one in internal/archtest (docs/design.md, Shape)", path)
			continue
		}
		for _, imp := range p.Imports {
			to, ours := inModule(imp)
			if !ours {
				continue
			}
			if h, ok := height(to); ok && h > own {
				t.Errorf("%s (layer %d) imports %s (layer %d): dependencies point down", path, own, to, h)
			}
			if isApart(to) {
				t.Errorf("%s imports %s, which is for tests alone", path, to)
			}
		}
	}
}

func TestPurePackages(t *testing.T) {
	all := packages(t)
	for path, allowed := range pure {
		i := slices.IndexFunc(all, func(p listed) bool { return p.ImportPath == module+"/"+path })
		if i < 0 {
			t.Errorf("%s isn't there", path)
			continue
		}
		for _, dep := range all[i].Deps {
			if to, ours := inModule(dep); ours {
				if _, ok := pure[to]; !ok && !under(to, path) {
					t.Errorf("%s needs %s, which isn't pure", path, to)
				}
				continue
			}
			if !thirdParty(dep) || slices.ContainsFunc(allowed, func(a string) bool { return under(dep, a) }) {
				continue
			}
			t.Errorf("%s needs %s: it may import the standard library, %s", path, dep, strings.Join(allowed, ", "))
		}
	}
}

// thirdParty tells another module's package from the standard library's, which
// have no dot in their first element; what the standard library vendors is its
// own.
func thirdParty(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return strings.Contains(first, ".") && first != "vendor"
}

func TestConfinedImports(t *testing.T) {
	for file, imports := range sourceImports(t) {
		for _, imp := range imports {
			for _, c := range confined {
				if !strings.HasPrefix(imp, c.what) {
					continue
				}
				if !slices.ContainsFunc(c.only, func(prefix string) bool { return strings.HasPrefix(file, prefix) }) {
					t.Errorf("%s imports %s: only %s may", file, imp, strings.Join(c.only, ", "))
				}
			}
			for old, instead := range banned {
				if under(imp, old) {
					t.Errorf("%s imports %s: use %s", file, imp, instead)
				}
			}
			if !strings.HasPrefix(file, "cmd/") || strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, logic := range noLogic {
				if strings.HasPrefix(imp, logic) {
					t.Errorf("%s imports %s: a command parses, calls and prints", file, imp)
				}
			}
		}
	}
}

// sourceImports gives the imports of each Go file of the module, by the file's
// path in it, whatever its build tags.
func sourceImports(t *testing.T) map[string][]string {
	t.Helper()
	imports := map[string][]string{}
	for _, file := range files(t) {
		if !strings.HasSuffix(file, ".go") || under(file, "bench") || under(file, "tools") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), file), nil, parser.ImportsOnly)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Errorf("%s: import %s: %v", file, spec.Path.Value, err)
				continue
			}
			imports[file] = append(imports[file], path)
		}
	}
	return imports
}
