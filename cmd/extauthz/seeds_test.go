package main

import (
	"crypto/rand"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/extauthz/extauthz/internal/ddblocal"
)

// TestGettingStarted are the flows of the pages that people start from, on the
// embedded store of a running service, and on a table, which a program shares by
// the library.
func TestGettingStarted(t *testing.T) {
	started := func(t *testing.T, store string, setup func(*testscript.Env)) {
		runScripts(t, testscript.Params{
			Dir:       "testdata/seeds",
			Condition: func(cond string) (bool, error) { return cond == store, nil },
			Setup: func(e *testscript.Env) error {
				setup(e)
				return nil
			},
		})
	}
	t.Run("embedded", func(t *testing.T) {
		started(t, "embedded", func(e *testscript.Env) {
			at := func(name string) string { return "unix:" + filepath.Join(e.WorkDir, name) }
			e.Vars = append(e.Vars, "GRPC="+at("grpc.sock"), "EXTAUTHZ_SERVER="+at("admin.sock"))
		})
	})
	t.Run("dynamodb", func(t *testing.T) {
		url := new(ddblocal.Shared).URL(t)
		started(t, "dynamodb", func(e *testscript.Env) {
			table := "extauthz-test-" + strings.ToLower(rand.Text())
			e.Defer(func() { removeTable(url, table) })
			e.Vars = append(e.Vars, "TABLE="+table, "EXTAUTHZ_STACK="+table, "EXTAUTHZ_ENDPOINT_URL="+url,
				"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true")
		})
	})
}
