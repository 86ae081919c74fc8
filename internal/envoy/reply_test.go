package envoy

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// wellWritten reads an answer, and fails where it isn't as the stock encoder would
// have written it: a field that isn't known, or a number or length in more bytes
// than it takes.
func wellWritten(t *testing.T, name string, wire []byte, answer proto.Message) {
	t.Helper()
	if err := proto.Unmarshal(wire, answer); err != nil {
		t.Errorf("%s: the answer can't be read: %v", name, err)
		return
	}
	if size := proto.Size(answer); size != len(wire) {
		t.Errorf("%s: the answer has %d bytes, and %d would do", name, len(wire), size)
	}
	known := proto.Clone(answer)
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(wire, known); err != nil || !proto.Equal(known, answer) {
		t.Errorf("%s: the answer has fields that aren't known", name)
	}
}

// TestMessagesWithinMessages are those that protowire would write.
func TestMessagesWithinMessages(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		before := rapid.SliceOf(rapid.Byte()).Draw(rt, "before")
		sizes := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 125, 126, 127, 128, 300, 1<<14 - 5, 1 << 14, 1 << 15}), 1, 5).Draw(rt, "sizes")
		want := []byte{}
		got := append([]byte(nil), before...)
		places := []int{}
		for i, size := range sizes {
			var at int
			got, at = begin(got, protowire.Number(i+1))
			places = append(places, at)
			got = append(got, strings.Repeat(string(rune('a'+i)), size)...)
		}
		for i := len(sizes) - 1; i >= 0; i-- {
			got = end(got, places[i])
			inner := append([]byte(strings.Repeat(string(rune('a'+i)), sizes[i])), want...)
			want = protowire.AppendBytes(protowire.AppendTag(nil, protowire.Number(i+1), protowire.BytesType), inner)
		}
		if string(got) != string(before)+string(want) {
			rt.Errorf("%d bytes %.80q, want %d bytes %.80q", len(got), got, len(before)+len(want), want)
		}
	})
}

// TestAnswersOfManyAtOnce: each caller gets the answer to its own call, of any
// length, while what others' answers lie in is used again.
func TestAnswersOfManyAtOnce(t *testing.T) {
	w := newWorld(t, `
rules:
  - {name: tenant, match: 'domain == "edge"', entity: "${descriptor.tenant}", resource: "${descriptor.path}", default_limits: {n: 1/day}}
  - {name: web, protocol: ext_authz, entity: "${request.headers['x-tenant']}", resource: web, default_limits: {n: 1/day}, on_deny: {body: "${request.headers['x-tenant']}"}}
`)
	const callers, calls = 16, 60
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for i := range calls {
				tenant := fmt.Sprintf("%d-%d", caller, i%3) + strings.Repeat("x", 60*(i%4)) // at most 256 bytes are told
				ds := 1 + 40*(i%2)
				request := &rlsv3.RateLimitRequest{Domain: "edge"}
				for range ds {
					request.Descriptors = append(request.Descriptors, descriptor("tenant", tenant, "path", tenant))
				}
				answer, err := w.rls.ShouldRateLimit(t.Context(), request)
				if err != nil {
					t.Error(err)
					return
				}
				if got := answer.GetDynamicMetadata().GetFields()["entity"].GetStringValue(); got != tenant || len(answer.GetStatuses()) != ds {
					t.Errorf("%d statuses about %q, want %d about %q", len(answer.GetStatuses()), got, ds, tenant)
				}
				check, err := w.authz.Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
					Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Headers: map[string]string{"x-tenant": tenant}}},
				}})
				if err != nil {
					t.Error(err)
					return
				}
				if got := check.GetDynamicMetadata().GetFields()["entity"].GetStringValue(); got != tenant {
					t.Errorf("a check about %q, want %q", got, tenant)
				}
			}
		})
	}
	all.Wait()
}

// TestInterceptorsAreCalled for both services, with their names.
func TestInterceptorsAreCalled(t *testing.T) {
	services := newServices(t, "rules: [{name: all, action: allow}]")
	var called []string
	intercept := func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		called = append(called, info.FullMethod)
		return next(metadata.NewIncomingContext(ctx, nil), req)
	}
	for _, s := range hostileServices(t) {
		service := any(services.RateLimit)
		if strings.Contains(s.method, AuthorizationService) {
			service = services.Authorization
		}
		answer, err := handle(service, t.Context(), func(v any) error { return v.(*call).unmarshal(s.base) }, intercept)
		if err != nil {
			t.Fatal(err)
		}
		wellWritten(t, s.method, answer.(*reply).wire, s.answer())
		if got := called[len(called)-1]; got != s.method {
			t.Errorf("%s is called %s", s.method, got)
		}
	}
	if len(called) != 2 {
		t.Errorf("called: %v", called)
	}
}
