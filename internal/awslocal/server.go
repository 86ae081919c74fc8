package awslocal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/extauthz/extauthz/internal/ddblocal"
)

// Server is an AWS. Make one with [Start]. Its methods may be called by several
// goroutines at once.
type Server struct {
	URL string

	tables string // where DynamoDB is

	mu       sync.Mutex
	perAsk   int
	stacks   []*stack                     // deleted ones too, the oldest first
	sets     map[string]*changeSet        // :: id -> set
	buckets  map[string]map[string][]byte // :: name -> key -> object
	failing  map[string]string            // :: resource -> reason
	denied   string                       // an operation of DynamoDB
	consumed map[string]float64           // :: metric -> in the last day
	throttle int
	calls    map[string]int // :: action -> how often it was asked for
	count    int            // for ids
}

// Start starts a server that ends with the test. Where there is no local
// DynamoDB the test is skipped.
func Start(t testing.TB, tables *ddblocal.Shared) *Server {
	t.Helper()
	s := &Server{
		tables: tables.URL(t), sets: map[string]*changeSet{}, buckets: map[string]map[string][]byte{},
		failing: map[string]string{}, calls: map[string]int{}, consumed: map[string]float64{}, perAsk: 4,
	}
	dynamo, err := url.Parse(s.tables)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(dynamo) },
		ModifyResponse: s.protect, Transport: transport,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.denies(r.Header.Get("X-Amz-Target")):
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"com.amazon.coral.service#AccessDeniedException","message":"not authorized"}`)
		case r.Header.Get("X-Amz-Target") != "":
			proxy.ServeHTTP(w, r)
		case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
			s.formation(w, r)
		case r.Header.Get("Smithy-Protocol") == "rpc-v2-cbor":
			s.watch(w, r)
		default:
			s.storage(w, r)
		}
	}))
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
		s.removeTables()
	})
	s.URL = server.URL
	return s
}

// Fail has the next making or changing of a resource fail, each until Fail with
// an empty reason.
func (s *Server) Fail(resource, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reason == "" {
		delete(s.failing, resource)
		return
	}
	s.failing[resource] = reason
}

// Hurry has an operation see to all resources when somebody asks, not to a few.
func (s *Server) Hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.perAsk = 1000
}

// Consume has CloudWatch know what tables have consumed in the last day. Without
// it there are no figures.
func (s *Server) Consume(writeUnits, readUnits float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consumed["ConsumedWriteCapacityUnits"], s.consumed["ConsumedReadCapacityUnits"] = writeUnits, readUnits
}

// Throttle turns away the next n requests to CloudFormation.
func (s *Server) Throttle(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.throttle = n
}

// Calls is how often CloudFormation was asked for an action.
func (s *Server) Calls(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[action]
}

// Status is that of a stack, by its name; empty: there is none.
func (s *Server) Status(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.find(name); st != nil {
		return st.status
	}
	return ""
}

// Objects are the keys in the bucket of a stack's resource.
func (s *Server) Objects(name, resource string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := []string{}
	for k := range s.buckets[bucketName(name, resource)] {
		keys = append(keys, k)
	}
	return keys
}

// PutObject puts an object into the bucket of a stack's resource.
func (s *Server) PutObject(name, resource, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[bucketName(name, resource)][key] = []byte("x")
}

// Begin has the stack of a name be at work, as if somebody else had begun to
// change it.
func (s *Server) Begin(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.find(name)
	st.begin(&operation{kind: update, set: &changeSet{stack: st, template: st.template, values: st.values, tags: st.tags, body: st.body}})
	st.doing.seen = lag
	st.look()
}

// Deny denies an operation of DynamoDB; empty: none.
func (s *Server) Deny(operation string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = operation
}

func (s *Server) denies(target string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.denied != "" && strings.HasSuffix(target, "."+s.denied)
}

// Foreign makes a stack of somebody else's.
func (s *Server) Foreign(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &stack{server: s, name: name, id: s.newID("stack", name), createdAt: time.Now(), made: map[string]*resource{}, template: new(template)}
	s.stacks = append(s.stacks, st)
	st.set("CREATE_COMPLETE", "")
}

// Protect sets or takes away a stack's own protection.
func (s *Server) Protect(name string, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.find(name).protected = on
}

// find finds a stack by its name, or, where it was deleted too, by its id.
func (s *Server) find(name string) *stack {
	for _, st := range s.stacks {
		if st.id == name || st.name == name && st.status != "DELETE_COMPLETE" {
			return st
		}
	}
	return nil
}

func (s *Server) newID(kind, name string) string {
	s.count++
	return fmt.Sprintf("arn:aws:cloudformation:us-east-1:123456789012:%s/%s/%d", kind, name, s.count)
}

// protect says of a table whether it is protected, which the local DynamoDB has
// no notion of.
func (s *Server) protect(r *http.Response) error {
	if !strings.HasSuffix(r.Request.Header.Get("X-Amz-Target"), ".DescribeTable") || r.StatusCode != http.StatusOK {
		return nil
	}
	var answer map[string]map[string]any
	err := json.NewDecoder(r.Body).Decode(&answer)
	_ = r.Body.Close()
	if err != nil {
		return err
	}
	s.mu.Lock()
	name, _ := answer["Table"]["TableName"].(string)
	st := s.find(name)
	answer["Table"]["DeletionProtectionEnabled"] = st != nil && st.tableProtected()
	s.mu.Unlock()
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	r.Header.Del("X-Amz-Crc32")
	return nil
}

// ask makes a request of the local DynamoDB.
func (s *Server) ask(operation string, in map[string]any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.tables, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Close = true
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=00")
	r.Header.Set("X-Amz-Date", "20260101T000000Z")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if text, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", operation, text)
	}
	return nil
}

// removeTables removes what stacks have left in the local DynamoDB.
func (s *Server) removeTables() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.stacks {
		if st.made["Table"] != nil {
			_ = s.ask("DeleteTable", map[string]any{"TableName": st.name})
		}
	}
}
