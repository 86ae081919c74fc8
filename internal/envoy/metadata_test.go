package envoy

import (
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// TestAnswersTellTheirSource asks both services while the store answers and
// while it doesn't, and for what nothing is charged for.
func TestAnswersTellTheirSource(t *testing.T) {
	w := newWorld(t, `
on_unavailable: allow
rules:
  - {name: edge, match: 'domain == "edge"', entity: '${descriptor.tenant}', default_limits: {n: 1/min}}
  - {name: web, match: 'request.path == "/"', entity: everyone, default_limits: {n: 1/min}}
`)
	want := func(what string, got *structpb.Struct, source string) {
		t.Helper()
		if s := got.GetFields()["source"].GetStringValue(); s != source || source == "" && got != nil {
			t.Errorf("%s: metadata %v, want the source %q", what, got, source)
		}
	}
	for _, what := range []string{"admitted", "denied"} {
		want(what, w.limit(t, "edge", descriptor("tenant", "acme")).GetDynamicMetadata(), "store")
		want(what, w.check(t, "/").GetDynamicMetadata(), "store")
	}
	want("no match", w.limit(t, "other", descriptor("tenant", "acme")).GetDynamicMetadata(), "")
	want("no match", w.check(t, "/other").GetDynamicMetadata(), "")
	w.store.down.Store(true)
	want("the fallback", w.limit(t, "edge", descriptor("tenant", "acme")).GetDynamicMetadata(), "fallback")
	want("the fallback", w.check(t, "/").GetDynamicMetadata(), "fallback")

	all := newSources()
	if got := all.of(&decision.Answer{Source: ratelimit.SourceCache, Decision: ratelimit.Decision{Buckets: make([]ratelimit.BucketStatus, 1)}}, &decision.Policy{}); got != all[ratelimit.SourceCache] {
		t.Errorf("the cache: %v", got)
	}
	if got := all.of(&decision.Answer{Source: ratelimit.SourceFallback}, &decision.Policy{InProcess: true}); got != nil {
		t.Errorf("a store in the process: %v", got)
	}
}
