package doctest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// row is a field in docs/envoy.md.
type row struct {
	says  string
	tests []string
}

var (
	envoyHeading = regexp.MustCompile("^### `([a-zA-Z0-9.]+)`$")
	envoyRow     = regexp.MustCompile("^\\| `(\\w+)` \\| (.+?) \\|(.*)\\|$")
	// withoutTest are the words of fields that no test can show.
	withoutTest = regexp.MustCompile(`^Not (set|sent)\b`)
)

// envoyRows reads the page's tables: message -> field -> row.
func envoyRows(t *testing.T) map[string]map[string]row {
	t.Helper()
	rows := map[string]map[string]row{}
	message := ""
	for line := range strings.Lines(read(t, filepath.Join(root, "docs/envoy.md"))) {
		line = strings.TrimSpace(line)
		if m := envoyHeading.FindStringSubmatch(line); m != nil {
			message = m[1]
			rows[message] = map[string]row{}
			continue
		}
		m := envoyRow.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if _, twice := rows[message][m[1]]; twice {
			t.Errorf("%s.%s has two rows", message, m[1])
		}
		r := row{says: m[2]}
		if names := strings.TrimSpace(m[3]); names != "" {
			r.tests = strings.Split(names, ", ")
		}
		rows[message][m[1]] = r
	}
	return rows
}

// TestEveryFieldOfEnvoysMessagesHasARow walks the messages of both services and
// wants a row for each field, and for nothing else.
func TestEveryFieldOfEnvoysMessagesHasARow(t *testing.T) {
	rows := envoyRows(t)
	met := map[string]bool{}
	for _, m := range []proto.Message{
		&rlsv3.RateLimitRequest{}, &rlsv3.RateLimitResponse{}, &authv3.CheckRequest{}, &authv3.CheckResponse{},
	} {
		wantRows(t, rows, met, m.ProtoReflect().Descriptor())
	}
	for message := range rows {
		if !met[message] {
			t.Errorf("docs/envoy.md: %s is no message that is exchanged", message)
		}
	}
}

// wantRows compares a message, and those in it, with the page. Messages of
// google.protobuf are values, not fields.
func wantRows(t *testing.T, rows map[string]map[string]row, met map[string]bool, m protoreflect.MessageDescriptor) {
	t.Helper()
	name := string(m.FullName())
	if met[name] || m.IsMapEntry() || strings.HasPrefix(name, "google.protobuf.") {
		return
	}
	met[name] = true
	fields := m.Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if _, ok := rows[name][string(f.Name())]; !ok {
			t.Errorf("docs/envoy.md: no row for %s of %s", f.Name(), name)
		}
		if f.Message() != nil {
			wantRows(t, rows, met, f.Message())
		}
	}
	for field := range rows[name] {
		if fields.ByName(protoreflect.Name(field)) == nil {
			t.Errorf("docs/envoy.md: %s has no field %s", name, field)
		}
	}
}

// throughEnvoy are the folders of the tests with a real Envoy.
var throughEnvoy = []string{"integration", "integration/examples"}

// TestFieldsOfEnvoyAreTested wants each test that the page names to be there, and
// to be run: it isn't skipped, but where a real part is missing, which in CI
// fails.
func TestFieldsOfEnvoyAreTested(t *testing.T) {
	found := map[string]bool{}
	for _, folder := range throughEnvoy {
		files, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			runnable(t, file, found)
		}
	}
	named := 0
	for message, fields := range envoyRows(t) {
		for field, r := range fields {
			if len(r.tests) == 0 && !withoutTest.MatchString(r.says) {
				t.Errorf("docs/envoy.md: %s.%s names no test", message, field)
			}
			for _, test := range r.tests {
				named++
				if !found[test] {
					t.Errorf("docs/envoy.md: %s.%s names %s, which isn't there or may be skipped", message, field, test)
				}
			}
		}
	}
	if named < 80 {
		t.Errorf("only %d tests are named", named)
	}
}

// runnable adds a file's tests that aren't skipped.
func runnable(t *testing.T, file string, found map[string]bool) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range parsed.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		skips := false
		ast.Inspect(f.Body, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				switch s.Sel.Name {
				case "Skip", "Skipf", "SkipNow", "Short":
					skips = true
				}
			}
			return true
		})
		switch {
		case f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test"):
			found[f.Name.Name] = !skips
		case skips && f.Name.Name != "envoyBinary" && f.Name.Name != "proxyBinary":
			t.Errorf("%s: %s skips the tests that call it", file, f.Name.Name)
		}
	}
}
