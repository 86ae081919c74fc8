package embedstore

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/hierarchy/hierarchytest"
)

func TestConfigurationInMemory(t *testing.T) {
	one := New(Config{})
	hierarchytest.Run(t, func(*testing.T) hierarchytest.Subject { return subject(one) })
}

// subject lets the conformance suite look behind a store's back.
func subject(s *Store) hierarchytest.Subject {
	return hierarchytest.Subject{
		Store: s,
		Plant: func(t *testing.T, ns hierarchy.Namespace, ref hierarchy.Ref) {
			t.Helper()
			change(t, s, func(w writer) error {
				value, err := w.get(itemKey(ns.ID, ref))
				if err != nil {
					return err
				}
				w.put(itemKey(ns.ID, ref), []byte(`{"later":{"deep":[1]},`+string(value[1:])))
				return nil
			})
		},
		Planted: func(t *testing.T, ns hierarchy.Namespace, ref hierarchy.Ref) bool {
			t.Helper()
			var got struct{ Later struct{ Deep []int } }
			err := s.records.view(func(r reader) error {
				value, err := r.get(itemKey(ns.ID, ref))
				if err != nil {
					return err
				}
				return json.Unmarshal(value, &got)
			})
			if err != nil {
				t.Fatal(err)
			}
			return len(got.Later.Deep) == 1
		},
		Forget: func(t *testing.T, ns hierarchy.Namespace, revision int64) {
			t.Helper()
			change(t, s, func(w writer) error {
				w.remove(logKey(ns.ID, revision))
				return nil
			})
		},
		Left: func(t *testing.T, ns hierarchy.Namespace) int {
			t.Helper()
			n := 0
			err := s.records.view(func(r reader) error {
				return r.scan("", "", false, func(key string, value []byte) (bool, error) {
					if strings.Contains(key, ns.ID) || strings.Contains(string(value), ns.ID) {
						n++
					}
					return true, nil
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		},
	}
}

func change(t *testing.T, s *Store, f func(writer) error) {
	t.Helper()
	if err := s.records.update(f); err != nil {
		t.Fatal(err)
	}
}
