package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/internal/config"
)

func TestResponseHeaders(t *testing.T) {
	byDefault := []string{"retry-after", "ratelimit", "ratelimit-policy"}
	for name, tc := range map[string]struct {
		file, env string
		want      []string
	}{
		"by default":        {"", "", byDefault},
		"none":              {"response_headers: []", "", []string{}},
		"all, as written":   {"response_headers: [x-ratelimit-reset, x-ratelimit-remaining, x-ratelimit-limit, ratelimit-policy, ratelimit, retry-after]", "", []string{"x-ratelimit-reset", "x-ratelimit-remaining", "x-ratelimit-limit", "ratelimit-policy", "ratelimit", "retry-after"}},
		"a list in lines":   {"response_headers:\n  - 'ratelimit'\n", "", []string{"ratelimit"}},
		"the environment":   {"response_headers: [ratelimit]", "retry-after, x-ratelimit-limit", []string{"retry-after", "x-ratelimit-limit"}},
		"an empty variable": {"response_headers: [ratelimit]", "", []string{"ratelimit"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("EXTAUTHZ_RESPONSE_HEADERS", tc.env)
			c, report := config.Parse("x.yaml", []byte(tc.file), config.Options{})
			if c == nil || len(report.Problems) > 0 {
				t.Fatal(report)
			}
			if diff := cmp.Diff(tc.want, c.ResponseHeaders); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	t.Setenv("EXTAUTHZ_RESPONSE_HEADERS", "ratelimit,retry_after")
	_, report := config.Parse("x.yaml", nil, config.Options{})
	want := []string{`EXTAUTHZ_RESPONSE_HEADERS: "retry_after" is not one of retry-after, ratelimit, ratelimit-policy, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset (did you mean "retry-after"?)`}
	if diff := cmp.Diff(want, report.Lines()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
