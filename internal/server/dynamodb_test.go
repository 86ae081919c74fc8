package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/ddblocal"
	"github.com/extauthz/extauthz/internal/faultproxy"
)

// local is the DynamoDB of all tests of the package.
var local ddblocal.Shared

// newTable is the name of a table that nobody has, removed after the test. The
// environment has credentials for it.
func newTable(t *testing.T) string {
	t.Helper()
	local.URL(t)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_SESSION_TOKEN": "", "AWS_REGION": "us-east-1",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	table := "extauthz-test-" + strings.ToLower(rand.Text())
	t.Cleanup(func() {
		dynamo(t, "DeleteTable", fmt.Sprintf(`{"TableName": %q}`, table)) // tests that make none have none to remove
		http.DefaultClient.CloseIdleConnections()
	})
	return table
}

// dynamo makes a call to DynamoDB as it stands on the wire, and returns the
// answer.
func dynamo(t *testing.T, operation, body string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, local.URL(t), strings.NewReader(body))
	mustDo(t, err)
	request.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0")
	request.Header.Set("X-Amz-Date", "20260101T000000Z")
	response, err := http.DefaultClient.Do(request)
	mustDo(t, err)
	answer, err := io.ReadAll(response.Body)
	mustDo(t, errors.Join(err, response.Body.Close()))
	return string(answer)
}

// onDynamoDB is a configuration of a service with one rule, of 2 an hour.
func onDynamoDB(url, table, more string) string {
	return listenLine + fmt.Sprintf("store: {type: dynamodb, stack: %s, endpoint_url: '%s', create: true}\n%s\n", table, url, more) +
		"rules: [{name: edge, match: 'domain == \"edge\"', entity: '${descriptor.tenant}', default_limits: {requests: 2/hour}}]\n"
}

func newProxy(t *testing.T) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Start(local.URL(t), nil)
	mustDo(t, err)
	t.Cleanup(func() { mustDo(t, p.Close()) })
	return p
}

// buckets are the items of buckets in a table, by their attributes of numbers.
func buckets(t *testing.T, table string) []map[string]string {
	t.Helper()
	var scanned struct{ Items []map[string]map[string]any }
	mustDo(t, json.Unmarshal([]byte(dynamo(t, "Scan", fmt.Sprintf(`{"TableName": %q, "ConsistentRead": true}`, table))), &scanned))
	var all []map[string]string
	for _, item := range scanned.Items {
		if sk, _ := item["SK"]["S"].(string); !strings.HasPrefix(sk, "b/") {
			continue
		}
		bucket := map[string]string{}
		for name, value := range item {
			if n, ok := value["N"].(string); ok {
				bucket[name] = n
			}
		}
		all = append(all, bucket)
	}
	return all
}

const (
	codeOK        = 1
	codeOverLimit = 2
)

// TestTwoProcessesShareATable: what one has taken is gone for the other, and
// where a decision comes from is told.
func TestTwoProcessesShareATable(t *testing.T) {
	content := onDynamoDB(local.URL(t), newTable(t), "decision_timeout: 20s")
	a, b := runService(t, content), runService(t, content)
	for i, r := range []*running{a, b} {
		if code, err := ask(t.Context(), r.conn, "acme"); err != nil || code != codeOK {
			t.Fatalf("process %d: code %d, %v", i, code, err)
		}
	}
	for range 2 {
		if code, err := ask(t.Context(), a.conn, "acme"); err != nil || code != codeOverLimit {
			t.Fatalf("code %d, %v, want a denial", code, err)
		}
	}
	const series = `extauthz_decisions_total{protocol="ratelimit",reason="%s",rule="edge",source="%s",verdict="%s"} 1`
	for _, labels := range [][]any{{"allowed", "store", "allow"}, {"exceeded", "store", "deny"}, {"exceeded", "cache", "deny"}} {
		if line := fmt.Sprintf(series, labels...); !a.metric(t, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	for _, line := range []string{
		`extauthz_dynamodb_calls_total{kind="ok",request="write"} 1`, `extauthz_dynamodb_calls_total{kind="refused",request="write"} 1`,
		`extauthz_store_operations_total{operation="apply",outcome="ok"} 1`, "extauthz_rejection_cache_entries 1", "extauthz_store_requests_in_flight 0",
	} {
		if !a.metric(t, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if code, body := a.get(t, a.Metrics, "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d %s", code, body)
	}
	for tenant, want := range map[string]int64{"acme": 0, "globex": 2} {
		e, err := admin.NewClient(b.Admin).Explain(t.Context(), &admin.Question{
			Domain: "edge", Descriptors: []admin.Descriptor{{Entries: []admin.Entry{{Key: "tenant", Value: tenant}}}},
		})
		mustDo(t, err)
		if got := e.Requests[0].Charges[0].Buckets[0].Limits[0].Balance; got != want || !e.Live {
			t.Errorf("%s has %d left, want %d", tenant, got, want)
		}
	}
}

// TestANamespaceThatIsNotRegistered is invalid, which nothing admits.
func TestANamespaceThatIsNotRegistered(t *testing.T) {
	content := onDynamoDB(local.URL(t), newTable(t), "on_unavailable: allow\ndecision_timeout: 20s")
	r := runService(t, strings.Replace(content, "entity:", "namespace: nobodys, entity:", 1))
	if code, err := ask(t.Context(), r.conn, "acme"); err != nil || code != codeOverLimit {
		t.Errorf("code %d, %v, want a denial", code, err)
	}
	if line := `extauthz_decisions_total{protocol="ratelimit",reason="invalid",rule="edge",source="store",verdict="invalid"} 1`; !r.metric(t, line) {
		t.Errorf("the metrics lack %s", line)
	}
}

// TestAStoreThatCannotBeUsed ends the start, and says what to do.
func TestAStoreThatCannotBeUsed(t *testing.T) {
	hours := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		_, _ = io.WriteString(w, `{"Table": {"TableStatus": "ACTIVE"}}`)
	}
	forbidden := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"__type": "com.amazon.coral.service#AccessDeniedException", "Message": "not authorized"}`)
	}
	const keys = `{"TableName": %q, "BillingMode": "PAY_PER_REQUEST", "KeySchema": [{"AttributeName": %[2]q, "KeyType": "HASH"}, {"AttributeName": "SK", "KeyType": "RANGE"}],
		"AttributeDefinitions": [{"AttributeName": %[2]q, "AttributeType": "S"}, {"AttributeName": "SK", "AttributeType": "S"}]}`
	ready := func(t *testing.T, table string) {
		until(t, "the table is there", func() bool {
			return strings.Contains(dynamo(t, "DescribeTable", fmt.Sprintf(`{"TableName": %q}`, table)), `"ACTIVE"`)
		})
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, table string)
		answer  http.HandlerFunc // nil: the local DynamoDB
		env     map[string]string
		want    []string
	}{
		"missing": {want: []string{"does not exist", "store.create: true"}},
		"another program's": {
			prepare: func(t *testing.T, table string) {
				dynamo(t, "CreateTable", fmt.Sprintf(keys, table, "id"))
				ready(t, table)
			},
			want: []string{"another program's", "give the stack another name", "found id"},
		},
		"of a newer version": {
			prepare: func(t *testing.T, table string) {
				dynamo(t, "CreateTable", fmt.Sprintf(keys, table, "PK"))
				ready(t, table)
				dynamo(t, "PutItem", fmt.Sprintf(`{"TableName": %q, "Item": {"PK": {"S": "schema"}, "SK": {"S": "schema"}, "version": {"N": "99"}}}`, table))
			},
			want: []string{"newer version", "upgrade", "99"},
		},
		"forbidden":       {answer: forbidden, want: []string{"the credentials may not use the table", "allow dynamodb:DescribeTable"}},
		"a clock":         {answer: hours, want: []string{"clock is 1h0m", "ahead of DynamoDB's", "NTP"}},
		"no credentials":  {env: map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, want: []string{"nothing gives AWS credentials", "AWS_ACCESS_KEY_ID"}},
		"no region":       {env: map[string]string{"AWS_REGION": ""}, want: []string{"nothing names an AWS region", "store.region"}},
		"a wrong profile": {env: map[string]string{"AWS_PROFILE": "nobody's"}, want: []string{"loading the AWS configuration", "nobody's"}},
	} {
		t.Run(name, func(t *testing.T) {
			table, url := newTable(t), local.URL(t)
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			if c.prepare != nil {
				c.prepare(t, table)
			}
			if c.answer != nil {
				stand := httptest.NewServer(c.answer)
				defer stand.Close()
				url = stand.URL
			}
			content := strings.Replace(onDynamoDB(url, table, ""), "create: true", "create: false", 1)
			loaded, report := config.Parse("", []byte(content), config.Options{})
			mustDo(t, report.Err())
			err := Run(t.Context(), Options{Config: loaded, Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)})
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T: %v", err, err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoesn't say %q", err, want)
				}
			}
		})
	}
}

// TestStartDuringAnOutage: the service answers by on_unavailable, isn't ready,
// and is by itself once DynamoDB answers.
func TestStartDuringAnOutage(t *testing.T) {
	table, proxy := newTable(t), newProxy(t)
	var down atomic.Bool
	down.Store(true)
	proxy.Set(func(faultproxy.Call) faultproxy.Fault {
		if down.Load() {
			return faultproxy.Fault{Action: faultproxy.FailBefore, Status: http.StatusServiceUnavailable}
		}
		return faultproxy.Fault{}
	})
	r := runService(t, onDynamoDB(proxy.URL, table, "on_unavailable: allow"))
	allowed := func(source string) string {
		reason := map[string]string{"store": "allowed", "fallback": "unavailable"}[source]
		return fmt.Sprintf(`extauthz_decisions_total{protocol="ratelimit",reason=%q,rule="edge",source=%q,verdict="allow"} `, reason, source)
	}
	if code, err := ask(t.Context(), r.conn, "acme"); err != nil || code != codeOK || !r.metric(t, allowed("fallback")+"1") {
		t.Errorf("code %d, %v, want the fallback's", code, err)
	}
	if code, body := r.get(t, r.Metrics, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "could not be opened yet") {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if code, _ := r.get(t, r.Metrics, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
	down.Store(false)
	until(t, "the store is open", func() bool {
		code, _ := r.get(t, r.Metrics, "/readyz")
		return code == http.StatusOK
	})
	until(t, "the store decides", func() bool {
		code, err := ask(t.Context(), r.conn, "globex")
		return err == nil && code == codeOK && r.metric(t, allowed("store")+"1")
	})
}

// TestAnOutageThatEndsInAMisconfiguration: what waiting doesn't help ends the
// service, though it has begun.
func TestAnOutageThatEndsInAMisconfiguration(t *testing.T) {
	table, proxy := newTable(t), newProxy(t)
	fault := faultproxy.Fault{Action: faultproxy.DropBefore}
	proxy.Set(func(faultproxy.Call) faultproxy.Fault { return fault })
	loaded, report := config.Parse("", []byte(onDynamoDB(proxy.URL, table, "")), config.Options{})
	mustDo(t, report.Err())
	err := Run(t.Context(), Options{
		Config: loaded, Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar),
		Serving: func(Addresses) {
			proxy.Set(func(faultproxy.Call) faultproxy.Fault {
				return faultproxy.Fault{Action: faultproxy.Refuse, Code: faultproxy.CodeForbidden}
			})
		},
	})
	if e := new(Error); !errors.As(err, &e) || !strings.Contains(err.Error(), "the credentials may not use the table") {
		t.Errorf("it ended with %v", err)
	}
}

// TestStoppingGivesBackWhatComesLate: a charge is under way whose caller was
// denied by the fallback. It is applied and given back before the store closes.
func TestStoppingGivesBackWhatComesLate(t *testing.T) {
	table, proxy := newTable(t), newProxy(t)
	r := runService(t, onDynamoDB(proxy.URL, table, "on_unavailable: deny\ndecision_timeout: 50ms"))
	mustAnswer(t, r, "warm")
	release, held := make(chan struct{}), make(chan struct{}, 1)
	proxy.Set(func(c faultproxy.Call) faultproxy.Fault {
		if c.Operation == "UpdateItem" {
			select {
			case held <- struct{}{}:
			default:
			}
			<-release
		}
		return faultproxy.Fault{}
	})
	// A busy machine may take the 50 ms to find out what acme's limits are.
	until(t, "a charge is on its way", func() bool {
		code, err := ask(t.Context(), r.conn, "acme")
		if err != nil || code != codeOverLimit {
			t.Errorf("code %d, %v, want the fallback's denial", code, err)
		}
		select {
		case <-held:
			return true
		default:
			return false
		}
	})
	_ = r.conn.Close()
	r.cancel()
	close(release)
	ended := <-r.ended
	r.ended <- ended // for the end of the test
	for _, b := range buckets(t, table) {
		if b["c1"] != "" && b["r1"] == b["c1"] {
			return
		}
	}
	t.Errorf("nothing was given back: %v", buckets(t, table))
}

// mustAnswer asks until the store answers: the first write of a namespace takes
// several calls.
func mustAnswer(t *testing.T, r *running, tenant string) {
	t.Helper()
	until(t, "the store decides", func() bool {
		code, err := ask(t.Context(), r.conn, tenant)
		return err == nil && code == codeOK
	})
}
