package embedstore_test

import (
	"path/filepath"
	"testing"

	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy/hierarchytest"
)

func TestOperations(t *testing.T) {
	for name, path := range map[string]string{"memory": "", "file": filepath.Join(t.TempDir(), "x.db")} {
		t.Run(name, func(t *testing.T) {
			s, err := embedstore.Open(embedstore.Config{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			hierarchytest.RunOperations(t, func(*testing.T) hierarchytest.Operated { return s })
		})
	}
}
