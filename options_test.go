package extauthz

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestOptions(t *testing.T) {
	env := map[string]string{
		"EXTAUTHZ_STACK": "prod", "EXTAUTHZ_NAMESPACE": "acme", "EXTAUTHZ_REGION": "eu-west-1", "EXTAUTHZ_ENDPOINT_URL": "http://localhost:8000",
	}
	for name, c := range map[string]struct {
		given Options
		env   map[string]string
		want  Options
	}{
		"defaults":        {want: Options{Stack: "extauthz", Namespace: "default"}},
		"the environment": {env: env, want: Options{Stack: "prod", Namespace: "acme", Region: "eu-west-1", EndpointURL: "http://localhost:8000"}},
		"options": {
			given: Options{Stack: "test", Namespace: "globex", Region: "us-east-1", EndpointURL: "http://localhost:1", Create: true}, env: env,
			want: Options{Stack: "test", Namespace: "globex", Region: "us-east-1", EndpointURL: "http://localhost:1", Create: true},
		},
		"embedded": {given: Options{Embedded: true}, env: env, want: Options{Embedded: true, Namespace: "acme"}},
		"a path":   {given: Options{Path: "x.db"}, env: env, want: Options{Embedded: true, Path: "x.db", Namespace: "acme"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.given.complete(func(name string) string { return c.env[name] })
			if err != nil || got.Log == nil || got.Now == nil {
				t.Fatalf("%+v, %v", got, err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(Options{}, "Log", "Now")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestInvalidOptions(t *testing.T) {
	for _, o := range []Options{
		{Embedded: true, Stack: "x"},
		{Path: "x", Region: "eu-west-1"},
		{Embedded: true, EndpointURL: "http://x"},
		{Path: "x", Create: true},
		{Embedded: true, Deploy: &StackOptions{}},
		{Create: true, Deploy: &StackOptions{}},
	} {
		if _, err := Open(t.Context(), o); !errors.As(err, new(*InvalidOptionsError)) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := Open(t.Context(), Options{Embedded: true, Namespace: "a b"}); !errors.As(err, new(*InvalidKeyError)) {
		t.Error(err)
	}
}
