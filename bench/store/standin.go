package main

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The bucket that each answer shows: a capacity that no run exhausts, half
// full. It does not change, so that the stand-in keeps nothing.
const (
	capacity = 1_000_000_000 // tokens
	perDay   = 10_000
	limit    = "rpm"
)

// standIn answers as DynamoDB does, in a fixed time and without looking at what
// is asked: a write always succeeds, unless its key has had its writes for the
// second. Each key takes so many at most, as DynamoDB's do.
type standIn struct {
	latency time.Duration
	writes  float64 // per second and key; 0: any number

	bucket []byte
	keys   sync.Map // :: partition key -> *allowance
}

// allowance is what a key may still write: a second's worth at most.
type allowance struct {
	mu     sync.Mutex
	tokens float64
	at     time.Time
}

func (a *allowance) take(rate float64, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens = min(rate, a.tokens+rate*now.Sub(a.at).Seconds())
	a.at = now
	if a.tokens < 1 {
		return false
	}
	a.tokens--
	return true
}

func newStandIn(latency time.Duration, writes float64) *standIn {
	bucket := fmt.Appendf(nil, `{"Attributes":{"PK":{"S":"standin000/e/entity"},"SK":{"S":"b/api"},"v":{"N":"0"},"sh":{"B":"oRJSohi22XI="},`+
		`"at":{"N":"28900800000"},"lt":{"N":"28900800250"},"born":{"N":"28900800000"},"ttl":{"N":"1796126580"},`+
		`"b1":{"N":"%d"},"c1":{"N":"1000"},"p1":{"S":"%s/%d/%d/86400000"}}}`, capacity/2*1000, limit, capacity*1000, perDay*1000)
	return &standIn{latency: latency, writes: writes, bucket: bucket}
}

// serve answers on a free port of the loopback, and says on out which, until in
// ends.
func (s *standIn) serve(in io.Reader, out io.Writer) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, "http://"+listener.Addr().String()); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		_ = listener.Close()
	}()
	server := http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	_ = server.Serve(listener) // ends with its listener
	return nil
}

// ServeHTTP answers one call.
func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	arrived := time.Now()
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	switch operation {
	case "UpdateItem":
		if !s.admit(body, arrived) {
			send(w, http.StatusBadRequest, []byte(`{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",`+
				`"message":"The level of configured provisioned throughput for the table was exceeded.",`+
				`"ThrottlingReasons":[{"reason":"TableWriteKeyRangeThroughputExceeded"}]}`))
			return
		}
		time.Sleep(s.latency - time.Since(arrived))
		send(w, http.StatusOK, s.bucket)
	case "DescribeTable":
		send(w, http.StatusOK, []byte(`{"Table":{"TableStatus":"ACTIVE",`+
			`"KeySchema":[{"AttributeName":"PK","KeyType":"HASH"},{"AttributeName":"SK","KeyType":"RANGE"}],`+
			`"AttributeDefinitions":[{"AttributeName":"PK","AttributeType":"S"},{"AttributeName":"SK","AttributeType":"S"}]}}`))
	case "GetItem": // the layout's version, or a namespace's id
		send(w, http.StatusOK, []byte(`{"Item":{"PK":{"S":"k"},"SK":{"S":"k"},"version":{"N":"1"},"id":{"S":"standin000"},"name":{"S":"default"}}}`))
	default:
		send(w, http.StatusOK, []byte(`{}`))
	}
}

// admit reports whether the key takes one more write.
func (s *standIn) admit(body []byte, now time.Time) bool {
	if s.writes == 0 {
		return true
	}
	_, rest, _ := bytes.Cut(body, []byte(`"PK":{"S":"`))
	key, _, _ := bytes.Cut(rest, []byte(`"`))
	a, ok := s.keys.Load(string(key))
	if !ok {
		a, _ = s.keys.LoadOrStore(string(key), &allowance{tokens: s.writes, at: now})
	}
	return a.(*allowance).take(s.writes, now)
}

func send(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["Content-Type"] = []string{"application/x-amz-json-1.0"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h["X-Amzn-Requestid"] = []string{"0LHQ2JQ6RRM0ETM3Q6GAGSMF6FVV4KQNSO5AEMVJF66Q9ASUAAJG"}
	h["X-Amz-Crc32"] = []string{strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10)}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
