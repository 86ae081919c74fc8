package infra_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
)

// code is what the functions of a package call, by their names: methods of one
// name count as one, so that rather too much is found than too little.
type code struct {
	api   map[string]bool            // the methods of its narrow interface of AWS
	uses  map[string]map[string]bool // :: function -> names that it mentions, a method's after a dot
	calls map[string]map[string]bool // :: function -> actions
}

// parse reads a package whose interface of AWS has a name, and is called
// through the fields of these names.
func parse(t *testing.T, dir, api string, fields ...string) *code {
	t.Helper()
	//nolint:staticcheck // deprecated for its handling of build tags, of which these packages have none
	all, err := parser.ParseDir(token.NewFileSet(), dir, func(f fs.FileInfo) bool {
		return !strings.HasSuffix(f.Name(), "_test.go")
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := &code{api: map[string]bool{}, uses: map[string]map[string]bool{}, calls: map[string]map[string]bool{}}
	for _, p := range all {
		for _, f := range p.Files {
			for _, d := range f.Decls {
				c.readInterface(d, api)
			}
		}
	}
	if len(c.api) == 0 {
		t.Fatalf("%s has no interface %s", dir, api)
	}
	for _, p := range all {
		for _, f := range p.Files {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok {
					c.readFunction(fn, fields)
				}
			}
		}
	}
	return c
}

func (c *code) readInterface(d ast.Decl, name string) {
	g, ok := d.(*ast.GenDecl)
	if !ok {
		return
	}
	for _, s := range g.Specs {
		ts, ok := s.(*ast.TypeSpec)
		if !ok || ts.Name.Name != name {
			continue
		}
		if it, ok := ts.Type.(*ast.InterfaceType); ok {
			for _, m := range it.Methods.List {
				for _, n := range m.Names {
					c.api[n.Name] = true
				}
			}
		}
	}
}

func (c *code) readFunction(fn *ast.FuncDecl, fields []string) {
	name := fn.Name.Name
	if fn.Recv != nil {
		name = "." + name
	}
	uses, calls := at(c.uses, name), at(c.calls, name)
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			uses[n.Name] = true
		case *ast.SelectorExpr:
			uses["."+n.Sel.Name] = true
			// A transaction takes the rights of what it is made of.
			if through, ok := n.X.(*ast.SelectorExpr); ok && c.api[n.Sel.Name] &&
				slices.Contains(fields, through.Sel.Name) && n.Sel.Name != "TransactWriteItems" {
				calls[n.Sel.Name] = true
			}
		case *ast.KeyValueExpr:
			parts := map[string]string{"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
			if key, ok := n.Key.(*ast.Ident); ok && parts[key.Name] != "" {
				calls[parts[key.Name]] = true
			}
		}
		return true
	})
}

func at(m map[string]map[string]bool, name string) map[string]bool {
	if m[name] == nil {
		m[name] = map[string]bool{}
	}
	return m[name]
}

// exported are the names of all functions that others may call.
func (c *code) exported() []string {
	return slices.DeleteFunc(slices.Collect(maps.Keys(c.uses)), func(n string) bool {
		return !ast.IsExported(strings.TrimPrefix(n, "."))
	})
}

// from is which actions functions may come to take. without are functions that
// are left out, or FUNCTION:ACTION.
func (c *code) from(t *testing.T, roots []string, without ...string) []string {
	t.Helper()
	seen, actions := map[string]bool{}, map[string]bool{}
	for _, w := range without {
		name, action, one := strings.Cut(w, ":")
		if c.uses[name] == nil || one && !c.calls[name][action] {
			t.Errorf("%s isn't there to be left out", w)
		}
		seen[w] = true
	}
	next := slices.Clone(roots)
	for len(next) > 0 {
		name := next[0]
		next = next[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		for a := range c.calls[name] {
			if !seen[name+":"+a] {
				actions[a] = true
			}
		}
		for u := range c.uses[name] {
			if c.uses[u] != nil {
				next = append(next, u)
			}
		}
	}
	return slices.Sorted(maps.Keys(actions))
}
