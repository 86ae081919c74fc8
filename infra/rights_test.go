package infra_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/infra/aggregator/handler"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func open(t *testing.T, table string, r *record) *dynamostore.Store {
	t.Helper()
	s, err := dynamostore.Open(t.Context(), dynamostore.Config{
		AWS: aws.Config{
			Region: "us-east-1",
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
			}),
		},
		Table: table, EndpointURL: r.proxy.URL, Create: true, Timeout: 20 * time.Second, KeepWarm: -1, Recheck: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// must fails the test at the first error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// administer does what admins do in a namespace.
func administer(t *testing.T, s *dynamostore.Store, namespace string) {
	t.Helper()
	cause := hierarchy.Cause{By: hierarchy.Actor{Caller: "alice"}, At: time.Now()}
	limits := hierarchy.Level{Limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", 60)}}
	for _, ref := range []hierarchy.Ref{
		hierarchy.SystemRef(), hierarchy.ResourceRef("gpt-4"), hierarchy.EntityRef("user", "gpt-4"),
	} {
		edit := hierarchy.Edit{Cause: cause, Action: "set-limits", Puts: []hierarchy.Put{{Item: hierarchy.Item{Ref: ref, Level: limits}}}}
		_, err := s.Edit(t.Context(), namespace, edit)
		must(t, err)
	}
}

// look does what those do who read.
func look(t *testing.T, s *dynamostore.Store, namespace string) {
	t.Helper()
	_, err := s.List(t.Context(), namespace, hierarchy.Selector{}, hierarchy.Page{})
	_, err2 := s.Events(t.Context(), namespace, hierarchy.Selector{}, hierarchy.Page{})
	_, err3 := s.Usage(t.Context(), namespace, "user", 0, 1)
	must(t, err, err2, err3)
}

// serve does what a service does.
func serve(t *testing.T, s *dynamostore.Store, namespace string) {
	t.Helper()
	mark, err := s.Mark(t.Context(), namespace)
	_, err2 := s.Changes(t.Context(), namespace, mark)
	_, err3 := s.Items(t.Context(), namespace, []hierarchy.Ref{hierarchy.SystemRef(), hierarchy.ResourceRef("gpt-4")})
	limiter, err4 := ratelimit.New(ratelimit.Config{Store: s, Resolver: perMinute{}})
	must(t, err, err2, err3, err4)
	for range 2 {
		lease, err := limiter.Acquire(t.Context(), ratelimit.Request{Namespace: namespace, Entity: "user", Resource: "gpt-4"})
		must(t, err, lease.Rollback(t.Context()))
	}
}

type perMinute struct{}

func (perMinute) Resolve(_ context.Context, q ratelimit.Query) (ratelimit.Resolution, error) {
	return ratelimit.Resolution{Targets: []ratelimit.Target{{Key: q.Key, Limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", 60)}, Expires: true}}}, nil
}

// check compares what a policy says to requests with what it should.
func check(t *testing.T, policy, tag, what string, requests [][]call, want func([]call) bool) {
	t.Helper()
	document := read(t).Resources[policy].Properties["PolicyDocument"]
	if len(requests) == 0 {
		t.Errorf("no requests to %s", what)
	}
	for _, request := range requests {
		got := true
		for _, c := range request {
			got = got && allows(document, tag, c)
		}
		if got != want(request) {
			t.Errorf("%s of %q: %s: %v is allowed: %v", policy, tag, what, request, got)
		}
	}
}

func always([]call) bool           { return true }
func never([]call) bool            { return false }
func onlyReads(calls []call) bool  { return !writes(calls) }
func onlyWrites(calls []call) bool { return writes(calls) }

// filter keeps the requests for which it holds.
func filter(requests [][]call, keep func([]call) bool) (kept [][]call) {
	for _, r := range requests {
		if keep(r) {
			kept = append(kept, r)
		}
	}
	return kept
}

func TestPoliciesAllowWhatIsDoneAndNoMore(t *testing.T) {
	table, r := "extauthz-test-"+strings.ToLower(rand.Text()), newRecord(t)
	admin := open(t, table, r)
	cause := hierarchy.Cause{By: hierarchy.Actor{Caller: "alice"}, At: time.Now()}
	acme, err := admin.RegisterNamespace(t.Context(), "acme", cause)
	_, err2 := admin.RegisterNamespace(t.Context(), "other", cause)
	must(t, err, err2)
	registered := r.take(t)
	administer(t, admin, "acme")
	edits := r.take(t)
	administer(t, admin, "other")
	theirs := r.take(t)

	service := open(t, table, r) // as a new process: it finds all by itself
	serve(t, service, "acme")
	served := r.take(t)
	look(t, open(t, table, r), "acme")
	looked := r.take(t)
	service = open(t, table, r)
	r.take(t)
	serve(t, service, "other")
	look(t, service, "other")
	// Its name may be looked up; what its id begins may not.
	foreign := filter(r.take(t), func(c []call) bool { return c[0].keys[0] != "namespaces" })

	check(t, "ServePolicy", "", "serve", served, always)
	check(t, "ServePolicy", "", "charge", filter(served, onlyWrites), always)
	check(t, "ServePolicy", "", "register", filter(registered, onlyWrites), never)
	check(t, "ServePolicy", "", "edit", filter(edits, onlyWrites), never)
	for _, elsewhere := range []string{acme.ID, acme.ID + "/r/gpt-4", acme.ID + "/t/gold", acme.ID + "/s", "namespaces", "schema"} {
		check(t, "ServePolicy", "", "update elsewhere", [][]call{{{action: "UpdateItem", keys: []string{elsewhere}}}}, never)
	}
	check(t, "ReadPolicy", "", "look", looked, always)
	check(t, "ReadPolicy", "", "serve", served, onlyReads)
	check(t, "ReadPolicy", "", "edit", edits, onlyReads)
	for what, requests := range map[string][][]call{"register": registered, "edit": edits, "serve": served, "look": looked} {
		check(t, "AdministerPolicy", "", what, requests, always)
	}

	check(t, "NamespaceServePolicy", acme.ID, "serve", served, always)
	check(t, "NamespaceServePolicy", acme.ID, "edit", filter(edits, onlyWrites), never)
	check(t, "NamespaceReadPolicy", acme.ID, "look", looked, always)
	check(t, "NamespaceAdministerPolicy", acme.ID, "edit", edits, always)
	check(t, "NamespaceAdministerPolicy", acme.ID, "register", filter(registered, onlyWrites), never)
	behind := [][]call{{{action: "Scan"}}, {{action: "Scan", index: true}}, {{action: "Query", keys: []string{acme.ID}, index: true}}}
	for _, p := range []string{"NamespaceServePolicy", "NamespaceReadPolicy", "NamespaceAdministerPolicy"} {
		for _, tag := range []string{acme.ID, ""} {
			check(t, p, tag, "use another's", foreign, never)
			check(t, p, tag, "edit another's", filter(theirs, onlyWrites), never)
			check(t, p, tag, "look behind", behind, never)
		}
	}
}

// aggregate hands all buckets of a table to the aggregator, as if the stream had
// told of them, and returns what it asks.
func aggregate(t *testing.T, table string) [][]call {
	t.Helper()
	client := func(r *record) *dynamodb.Client {
		return dynamodb.New(dynamodb.Options{
			Region: "us-east-1", BaseEndpoint: &r.proxy.URL,
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
			}),
		})
	}
	found, err := client(newRecord(t)).Scan(t.Context(), &dynamodb.ScanInput{TableName: &table, ConsistentRead: new(true)})
	must(t, err)
	var e events.DynamoDBEvent
	for _, it := range found.Items {
		image := map[string]events.DynamoDBAttributeValue{}
		for name, v := range it {
			switch v := v.(type) {
			case *types.AttributeValueMemberS:
				image[name] = events.NewStringAttribute(v.Value)
			case *types.AttributeValueMemberN:
				image[name] = events.NewNumberAttribute(v.Value)
			case *types.AttributeValueMemberB:
				image[name] = events.NewBinaryAttribute(v.Value)
			}
		}
		e.Records = append(e.Records, events.DynamoDBEventRecord{EventName: "INSERT", Change: events.DynamoDBStreamRecord{
			ApproximateCreationDateTime: events.SecondsEpochTime{Time: time.Now()}, NewImage: image,
			Keys: map[string]events.DynamoDBAttributeValue{"PK": image["PK"], "SK": image["SK"]},
		}})
	}
	r := newRecord(t)
	h := handler.New(handler.Config{DynamoDB: client(r), Table: table, Keep: time.Hour, Log: slog.New(slog.DiscardHandler)})
	out, err := h.Handle(t.Context(), e)
	must(t, err)
	if len(out.BatchItemFailures) > 0 {
		t.Errorf("the aggregator failed: %v", out)
	}
	return r.take(t)
}
