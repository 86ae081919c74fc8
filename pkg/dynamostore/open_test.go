package dynamostore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/internal/faultproxy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// client is a bare client, to lay tables out in other ways.
func client(t *testing.T, c Config) *dynamodb.Client {
	t.Helper()
	transport := newTransport(4)
	t.Cleanup(transport.CloseIdleConnections)
	_, others := newClients(&c, transport)
	return others
}

// openError opens a store, which must fail for a problem with the table.
func openError(t *testing.T, c Config, want Problem, says ...string) {
	t.Helper()
	s, err := Open(t.Context(), c)
	if err == nil {
		_ = s.Close()
	}
	var problem *TableError
	if !errors.As(err, &problem) || problem.Problem != want || problem.Table != c.Table {
		t.Fatalf("Open: %v", err)
	}
	for _, text := range append(says, c.Table) {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
}

func TestOpenMissing(t *testing.T) {
	c := config(local.URL(t), newTable(t))
	c.Create = false
	openError(t, c, ProblemMissing, "does not exist", "store.create: true")
}

func TestOpenWrongKeys(t *testing.T) {
	c := config(local.URL(t), newTable(t))
	_, err := client(t, c).CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &c.Table, BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: new("id"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: new("id"), AttributeType: types.ScalarAttributeTypeN}},
	})
	if err != nil {
		t.Fatal(err)
	}
	openError(t, c, ProblemKeys, "PK (S) and SK (S)", "another name", "id (N, HASH)")

	// The same found by a write, of a table that was changed behind the store.
	s, proxy := newStore(t)
	w := created(t, s, "one")
	proxy.Set(nil)
	s.table = c.Table
	_, err = s.Apply(t.Context(), w)
	var problem *TableError
	if !errors.As(err, &problem) || problem.Problem != ProblemKeys || !errors.Is(err, ratelimit.ErrNotApplied) {
		t.Errorf("Apply: %v", err)
	}
}

func TestOpenNewerSchema(t *testing.T) {
	s, proxy := newStore(t)
	it := rawAt(t, s, schemaKey, schemaKey)
	if v, ok := it[attrVersion].(*types.AttributeValueMemberN); !ok || v.Value != "1" {
		t.Fatalf("the schema's item: %v", it)
	}
	for version, says := range map[string]string{"2": "version 2, this program knows 1", "1.5": "not a whole number"} {
		it[attrVersion] = &types.AttributeValueMemberN{Value: version}
		if _, err := s.others.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &s.table, Item: it}); err != nil {
			t.Fatal(err)
		}
		openError(t, config(proxy.URL, s.table), ProblemSchema, says, "upgrade")
	}
}

// TestOpenForeign: nothing is written to a table that was in use before.
func TestOpenForeign(t *testing.T) {
	s, proxy := newStore(t)
	s.table = newTable(t)
	if err := s.createTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.others.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &s.table, Item: primaryKey("theirs", "theirs")}); err != nil {
		t.Fatal(err)
	}
	openError(t, config(counting(t, proxy.URL), s.table), ProblemForeign, "another program's items", "another name")
	if it := rawAt(t, s, schemaKey, schemaKey); len(it) != 0 {
		t.Errorf("written to it: %v", it)
	}
}

// counting stands before a local DynamoDB, whose count of items is always 0,
// and makes it 1. It returns its own URL.
func counting(t *testing.T, local string) string {
	t.Helper()
	to, err := url.Parse(local)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = func(r *http.Response) error {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		body = bytes.Replace(body, []byte(`"ItemCount":0`), []byte(`"ItemCount":1`), 1)
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.Header.Del("X-Amz-Crc32")
		return nil
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}

func TestOpenForbidden(t *testing.T) {
	_, proxy := newStore(t)
	for _, operation := range []string{"DescribeTable", "GetItem"} {
		proxy.Set(func(c faultproxy.Call) faultproxy.Fault {
			if c.Operation != operation {
				return faultproxy.Fault{}
			}
			return faultproxy.Fault{Action: faultproxy.Refuse, Code: faultproxy.CodeForbidden, Message: "User is not authorized"}
		})
		openError(t, config(proxy.URL, newTable(t)), ProblemForbidden, "allow dynamodb:", "not authorized")
	}
	proxy.Set(nil)
}

func TestOpenWithWrongClock(t *testing.T) {
	s, proxy := newStore(t)
	for _, by := range []time.Duration{-time.Hour, -5 * time.Second, 5 * time.Second, time.Hour} {
		c := config(proxy.URL, s.table)
		c.Now = func() time.Time { return time.Now().Add(by) }
		_, err := Open(t.Context(), c)
		var clock *ClockError
		if !errors.As(err, &clock) || (clock.Ahead > 0) != (by > 0) {
			t.Errorf("%v off: %v", by, err)
		}
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	_, proxy := newStore(t)
	proxy.Set(func(faultproxy.Call) faultproxy.Fault { return faultproxy.Fault{Action: faultproxy.Stall} })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, config(proxy.URL, newTable(t))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open: %v", err)
	}
}

// TestCreateTable looks at what the table is asked to be.
func TestCreateTable(t *testing.T) {
	_, proxy := newStore(t)
	var create, expire map[string]any
	for _, r := range proxy.Records() {
		var into *map[string]any
		switch r.Operation {
		case "CreateTable":
			into = &create
		case "UpdateTimeToLive":
			into = &expire
		default:
			continue
		}
		if err := json.Unmarshal(r.Body, into); err != nil {
			t.Fatal(err)
		}
	}
	stream := fmt.Sprint(create["StreamSpecification"])
	if create["BillingMode"] != "PAY_PER_REQUEST" || stream != "map[StreamEnabled:true StreamViewType:NEW_AND_OLD_IMAGES]" {
		t.Errorf("created as %v", create)
	}
	if create["GlobalSecondaryIndexes"] != nil || create["LocalSecondaryIndexes"] != nil {
		t.Error("it has an index, which charges would have to write")
	}
	if spec := fmt.Sprint(expire["TimeToLiveSpecification"]); spec != "map[AttributeName:ttl Enabled:true]" {
		t.Errorf("expires by %s", spec)
	}
	// By two processes at once: both come to use it.
	table := newTable(t)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			s, err := Open(t.Context(), config(proxy.URL, table))
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestNamespaces registers one namespace from many processes at once: it gets
// one id, which leads back to its name, and no other id stays.
func TestNamespaces(t *testing.T) {
	url, table := local.URL(t), newTable(t)
	const processes = 6
	ids := make([]string, processes)
	stores := make([]*Store, processes)
	for i := range stores {
		stores[i] = open(t, config(url, table))
	}
	var wg sync.WaitGroup
	for i, s := range stores {
		wg.Go(func() {
			id, err := s.registry.id(t.Context(), "acme")
			if err != nil || len(id) != idLength {
				t.Errorf("id %q, %v", id, err)
			}
			ids[i] = id
		})
	}
	wg.Wait()
	for i := range ids {
		if ids[i] != ids[0] {
			t.Errorf("ids %v", ids)
		}
	}
	s := stores[0]
	other, err := s.registry.id(t.Context(), "Acme")
	if err != nil || other == ids[0] {
		t.Errorf("another namespace: %q, %v", other, err)
	}
	if name, err := textOf(rawAt(t, s, ids[0], namespaceKey), attrName); err != nil || name != "acme" {
		t.Errorf("the id leads to %q, %v", name, err)
	}
	out, err := client(t, config(url, table)).Scan(t.Context(), &dynamodb.ScanInput{TableName: &table})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Items) != 9 { // name, head, record and event of each namespace, and the schema's
		t.Errorf("%d items in the table, want 9", len(out.Items))
	}
}

// TestNamespaceIsAskedOnce wants one look-up for all that wait for it, a new
// one after a failure, and a waiter to outlive the caller that asked.
func TestNamespaceIsAskedOnce(t *testing.T) {
	s, proxy := newStore(t)
	asked := func() int {
		n := 0
		for _, r := range proxy.Records() {
			if r.Operation == "GetItem" && strings.Contains(string(r.Body), `"acme"`) {
				n++
			}
		}
		return n
	}
	proxy.Set(func(c faultproxy.Call) faultproxy.Fault {
		if strings.Contains(string(c.Body), `"acme"`) {
			return faultproxy.Fault{Action: faultproxy.Refuse, Code: faultproxy.CodeForbidden, Message: "no"}
		}
		return faultproxy.Fault{}
	})
	w := created(t, s, "one")
	acme, err := ratelimit.NewKey("acme", "one", "gpt-4", "")
	if err != nil {
		t.Fatal(err)
	}
	w.Key, w.OrAbsent = acme, true
	var problem *TableError
	if _, err := s.Apply(t.Context(), w); !errors.Is(err, ratelimit.ErrNotApplied) || !errors.As(err, &problem) {
		t.Errorf("Apply: %v", err)
	}
	proxy.Set(func(c faultproxy.Call) faultproxy.Fault {
		if strings.Contains(string(c.Body), `"acme"`) {
			return faultproxy.Fault{Before: 50 * time.Millisecond}
		}
		return faultproxy.Fault{}
	})
	impatient, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.registry.id(impatient, "acme"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("impatient: %v", err)
		}
	})
	for range 8 {
		wg.Go(func() {
			if _, err := s.registry.id(t.Context(), "acme"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := asked(); n > 3 {
		t.Errorf("asked %d times, want 3 at most: refused, impatient, patient", n)
	}
}

func TestKeepWarm(t *testing.T) {
	s, proxy := newStore(t, func(c *Config) { c.KeepWarm = 5 * time.Millisecond })
	before := len(proxy.Records())
	deadline := time.Now().Add(10 * time.Second)
	for len(proxy.Records()) < before+3 {
		if time.Now().After(deadline) {
			t.Fatal("nothing was asked while nobody asked")
		}
		time.Sleep(time.Millisecond)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r := proxy.Records()[before]; r.Operation != "GetItem" {
		t.Errorf("asked %s", r.Operation)
	}
}
