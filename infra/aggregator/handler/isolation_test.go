package handler_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/infra/aggregator/handler"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
	"github.com/extauthz/extauthz/pkg/usage"
)

// colliding are names that a careless key would mix up, with each other or with
// what keys have beside them.
func colliding() []string {
	return []string{
		"a", "a/b", "a%2Fb", "a#b", "a%", "%61", "a\x00b", "a b", "A", "а" /* Cyrillic */, "ａ", "~a",
		strings.Repeat("x", 256), strings.Repeat("x", 257), strings.Repeat("/", 256), "2026-11-25T10",
	}
}

type plenty struct{}

func (plenty) Resolve(_ context.Context, q ratelimit.Query) (ratelimit.Resolution, error) {
	return ratelimit.Resolution{Targets: []ratelimit.Target{{Key: q.Key, Expires: true, Limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", 1_000_000)}}}}, nil
}

// use charges each pair of names something else in a namespace, and returns what.
func use(t *testing.T, l *ratelimit.Limiter, namespace string, first int64) map[[2]string]int64 {
	t.Helper()
	charged := map[[2]string]int64{}
	for i, entity := range colliding() {
		for j, resource := range []string{colliding()[i], colliding()[(i+1)%len(colliding())]} {
			n := first + int64(10*i+j)
			_, err := l.Acquire(t.Context(), ratelimit.Request{Namespace: namespace, Entity: entity, Resource: resource, Consume: map[string]int64{"rpm": n}})
			if err != nil {
				t.Fatalf("%q %q: %v", entity, resource, err)
			}
			charged[[2]string{ratelimit.EntityID(entity), ratelimit.ResourceID(resource)}] += n
		}
	}
	return charged
}

// usedBy is what a namespace's usage says, of all entities at once, and of each.
func usedBy(t *testing.T, s *dynamostore.Store, namespace string) (all, each map[[2]string]int64) {
	t.Helper()
	all, each = map[[2]string]int64{}, map[[2]string]int64{}
	from := usage.HourOf(time.Now()) - 24
	add := func(to map[[2]string]int64, found []dynamostore.Used) {
		for i := range found {
			to[[2]string{found[i].EntityID, found[i].ResourceID}] += found[i].Totals["rpm"].Admitted.Tokens()
		}
	}
	if err := s.UsageOfAll(t.Context(), namespace, from, from+48, func(found []dynamostore.Used) { add(all, found) }); err != nil {
		t.Fatal(err)
	}
	for _, entity := range colliding() {
		found, err := s.Usage(t.Context(), namespace, entity, from, from+48)
		if err != nil {
			t.Fatal(err)
		}
		add(each, found)
	}
	return all, each
}

// keysOf are the keys of all that a namespace has in a table.
func keysOf(t *testing.T, client *dynamodb.Client, table, id string) []string {
	t.Helper()
	out, err := client.Scan(t.Context(), &dynamodb.ScanInput{TableName: &table, ConsistentRead: new(true)})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, it := range out.Items {
		if pk := it["PK"].(*types.AttributeValueMemberS).Value; pk == id || strings.HasPrefix(pk, id+"/") {
			keys = append(keys, pk+" "+it["SK"].(*types.AttributeValueMemberS).Value)
		}
	}
	return keys
}

func TestNamespacesNeverSeeEachOthersUsage(t *testing.T) {
	t.Parallel()
	url := startMoto(t)
	s, client, table := newStore(t, url)
	limiter, err := ratelimit.New(ratelimit.Config{Store: s, Resolver: plenty{}})
	if err != nil {
		t.Fatal(err)
	}
	by := hierarchy.Cause{By: hierarchy.Actor{Caller: "test"}, At: time.Now().Add(-time.Minute)}
	gone, err := s.RegisterNamespace(t.Context(), "one", by)
	if err == nil {
		_, err = s.RegisterNamespace(t.Context(), "other", by)
	}
	if err != nil {
		t.Fatal(err)
	}
	one, other := use(t, limiter, "one", 1), use(t, limiter, "other", 1000)
	h := handler.New(handler.Config{DynamoDB: client, Table: table, Keep: 24 * time.Hour, Log: slog.New(slog.DiscardHandler)})
	records := stream(t, url, table)
	deliver(t, h, records, 100)
	for name, want := range map[string]map[[2]string]int64{"one": one, "other": other} {
		all, each := usedBy(t, s, name)
		if diff := cmp.Diff(want, all); diff != "" {
			t.Errorf("namespace %s, of all: charged (-), counted (+):\n%s", name, diff)
		}
		if diff := cmp.Diff(want, each); diff != "" {
			t.Errorf("namespace %s, of each: charged (-), counted (+):\n%s", name, diff)
		}
	}

	// A minute ago, so that nobody has to be waited for but the aggregator.
	_, err = s.DeleteNamespace(t.Context(), "one", by)
	if err == nil {
		err = s.PurgeNamespace(t.Context(), gone.ID, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, h, records, 100) // late news of what was charged before
	if keys := keysOf(t, client, table, gone.ID); len(keys) > 0 {
		t.Errorf("a purged namespace has left %d items: %q", len(keys), keys[:min(5, len(keys))])
	}
	if all, _ := usedBy(t, s, "other"); !cmp.Equal(other, all) {
		t.Error("the purge of one namespace changed another's usage")
	}
}
