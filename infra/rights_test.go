package infra_test

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/extauthz/extauthz/internal/ddblocal"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// record is what was asked of DynamoDB: the calls of each request, which are
// allowed together or not at all.
type record struct {
	mu       sync.Mutex
	requests [][]call
}

// take returns what was recorded since the last take.
func (r *record) take() [][]call {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.requests
	r.requests = nil
	return all
}

func (r *record) add(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("record", func(
		ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
	) (middleware.InitializeOutput, middleware.Metadata, error) {
		if calls := callsOf(in.Parameters); calls != nil {
			r.mu.Lock()
			r.requests = append(r.requests, calls)
			r.mu.Unlock()
		}
		return next.HandleInitialize(ctx, in)
	}), middleware.Before)
}

func leading(key map[string]types.AttributeValue) []string {
	return []string{key["PK"].(*types.AttributeValueMemberS).Value}
}

// callsOf are the calls of a request; nil for what makes a table.
func callsOf(request any) []call {
	switch in := request.(type) {
	case *dynamodb.DescribeTableInput:
		return []call{{action: "DescribeTable"}}
	case *dynamodb.GetItemInput:
		return []call{{action: "GetItem", keys: leading(in.Key)}}
	case *dynamodb.PutItemInput:
		return []call{{action: "PutItem", keys: leading(in.Item)}}
	case *dynamodb.UpdateItemInput:
		return []call{{action: "UpdateItem", keys: leading(in.Key)}}
	case *dynamodb.QueryInput:
		return []call{{action: "Query", keys: []string{in.ExpressionAttributeValues[":p"].(*types.AttributeValueMemberS).Value}, index: in.IndexName != nil}}
	case *dynamodb.BatchGetItemInput:
		c := call{action: "BatchGetItem"}
		for _, t := range in.RequestItems {
			for _, k := range t.Keys {
				c.keys = append(c.keys, leading(k)...)
			}
		}
		return []call{c}
	case *dynamodb.TransactWriteItemsInput:
		var all []call
		for _, i := range in.TransactItems {
			switch {
			case i.Put != nil:
				all = append(all, call{action: "PutItem", keys: leading(i.Put.Item)})
			case i.Update != nil:
				all = append(all, call{action: "UpdateItem", keys: leading(i.Update.Key)})
			case i.Delete != nil:
				all = append(all, call{action: "DeleteItem", keys: leading(i.Delete.Key)})
			case i.ConditionCheck != nil:
				all = append(all, call{action: "ConditionCheckItem", keys: leading(i.ConditionCheck.Key)})
			}
		}
		return all
	default:
		return nil
	}
}

// writes reports whether a request changes anything.
func writes(calls []call) bool {
	for _, c := range calls {
		if c.action == "UpdateItem" || c.action == "PutItem" || c.action == "DeleteItem" {
			return true
		}
	}
	return false
}

// local is the DynamoDB of the package's tests.
var local ddblocal.Shared

func open(t *testing.T, table string, r *record) *dynamostore.Store {
	t.Helper()
	s, err := dynamostore.Open(t.Context(), dynamostore.Config{
		AWS: aws.Config{
			Region: "us-east-1",
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
			}),
			APIOptions: []func(*middleware.Stack) error{r.add},
		},
		Table: table, EndpointURL: local.URL(t), Create: true, Timeout: 20 * time.Second, KeepWarm: -1, Recheck: -1,
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
	table, r := "extauthz-test-"+strings.ToLower(rand.Text()), &record{}
	admin := open(t, table, r)
	cause := hierarchy.Cause{By: hierarchy.Actor{Caller: "alice"}, At: time.Now()}
	acme, err := admin.RegisterNamespace(t.Context(), "acme", cause)
	_, err2 := admin.RegisterNamespace(t.Context(), "other", cause)
	must(t, err, err2)
	registered := r.take()
	administer(t, admin, "acme")
	edits := r.take()
	administer(t, admin, "other")
	theirs := r.take()

	service := open(t, table, r) // as a new process: it finds all by itself
	serve(t, service, "acme")
	served := r.take()
	look(t, open(t, table, r), "acme")
	looked := r.take()
	service = open(t, table, r)
	r.take()
	serve(t, service, "other")
	look(t, service, "other")
	// Its name may be looked up; what its id begins may not.
	foreign := filter(r.take(), func(c []call) bool { return c[0].keys[0] != "namespaces" })

	check(t, "ServePolicy", "", "serve", served, always)
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
