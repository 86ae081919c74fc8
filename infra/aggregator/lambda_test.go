package main_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What Lambda gives the function, by the template's defaults.
const (
	memory   = 128 << 20
	mostZip  = 10 << 20
	mostSent = 6 << 20 // bytes of a batch
)

// answer is what the function said to an invocation.
type answer struct{ path, body string }

// lambda stands in for the runtime API of Lambda: it hands out what is to be
// done, and takes in what comes of it.
type lambda struct {
	todo    chan []byte
	answers chan answer
}

// invoke hands out an event and waits for what comes of it.
func (l *lambda) invoke(t *testing.T, event []byte) answer {
	t.Helper()
	late := time.After(2 * time.Minute)
	select {
	case l.todo <- event:
	case <-late:
		t.Fatal("the function never asked for an event")
	}
	select {
	case got := <-l.answers:
		return got
	case <-late:
		t.Fatal("the function never answered")
	}
	return answer{}
}

func (l *lambda) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const invocation = "/2018-06-01/runtime/invocation/"
	if r.URL.Path == invocation+"next" {
		select {
		case event := <-l.todo:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(time.Minute).UnixMilli(), 10))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:aggregator")
			_, _ = w.Write(event)
		case <-r.Context().Done():
		}
		return
	}
	body, _ := io.ReadAll(r.Body)
	w.WriteHeader(http.StatusAccepted)
	l.answers <- answer{strings.TrimPrefix(r.URL.Path, invocation), string(body)}
}

// counted stands in for DynamoDB and S3: it has a namespace and nothing else, and
// takes all.
// The tests of the handler have real ones.
type counted struct{ writes, objects atomic.Int64 }

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.Method == http.MethodPut {
		c.objects.Add(1)
		return
	}
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".UpdateItem") {
		c.writes.Add(1)
	}
	has := "{}"
	if bytes.Contains(body, []byte(`"SK":{"S":"namespace"}`)) {
		has = `{"Item":{"name":{"S":"default"}}}`
	}
	w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(has))), 10))
	_, _ = io.WriteString(w, has)
}

// pack makes the zip of this machine, as `make aggregator` does, and unpacks
// the function.
func pack(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a program for Lambda and runs it")
	}
	arch := map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	if arch == "" || runtime.GOOS != "linux" {
		t.Skipf("Lambda has no %s on %s", runtime.GOOS, runtime.GOARCH)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "aggregator.zip")
	cmd := exec.CommandContext(t.Context(), filepath.Join("..", "..", "tools", "pack-aggregator"), arch, file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.Close() }()
	if info, err := os.Stat(file); err != nil || info.Size() > mostZip {
		t.Errorf("the zip has %d bytes (%v)", info.Size(), err)
	}
	if len(z.File) != 1 || z.File[0].Name != "bootstrap" || z.File[0].Mode() != 0o755 {
		t.Fatalf("the zip holds %v", z.File)
	}
	packed, err := z.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "bootstrap")
	if err := os.WriteFile(path, binary, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs the function with the template's environment.
func start(t *testing.T, program, api, aws string, environment ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + api, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local",
		"AWS_ENDPOINT_URL=" + aws, "GOMEMLIMIT=96MiB",
	}, environment...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the function said:\n%s", said.String())
		}
	})
	return cmd
}

// most is the most memory that a process ever had, in bytes.
func most(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no VmHWM in\n%s", status)
	}
	kilobytes, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// batch is as many records as fit. Records have the indexes from 0 on.
func batch(record func(i int) string) (event []byte, records int) {
	var b bytes.Buffer
	b.WriteString(`{"Records":[`)
	for ; ; records++ {
		r := record(records)
		if b.Len()+len(r)+2 > mostSent {
			break
		}
		if records > 0 {
			b.WriteByte(',')
		}
		b.WriteString(r)
	}
	b.WriteString(`]}`)
	return b.Bytes(), records
}

// charge is a record of a bucket with 4 limits, each bucket charged once.
func charge(i int) string {
	image := func(charged int) string {
		s := `{"PK":{"S":"3q7xk2m9vd/e/user-` + strconv.Itoa(i) + `"},"SK":{"S":"b/gpt-4"},"v":{"N":"12"},"sh":{"B":"oRJSohi22XI="},` +
			`"at":{"N":"28900800000"},"lt":{"N":"28900800250"},"born":{"N":"28900800000"},"ttl":{"N":"1796126580"}`
		for slot := 1; slot <= 4; slot++ {
			s += fmt.Sprintf(`,"b%d":{"N":"-48167901000"},"c%d":{"N":"%d"},"r%d":{"N":"0"},"p%d":{"S":"limit-%d-of-a-name/100000/100000/60000"}`,
				slot, slot, charged, slot, slot, slot)
		}
		return s + "}"
	}
	return `{"eventID":"1","eventName":"MODIFY","eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":"us-east-1","dynamodb":{` +
		`"ApproximateCreationDateTime":1796126400,"Keys":{"PK":{"S":"3q7xk2m9vd/e/user-` + strconv.Itoa(i) + `"},"SK":{"S":"b/gpt-4"}},` +
		`"OldImage":` + image(1000) + `,"NewImage":` + image(2000) + `,"SequenceNumber":"` + strconv.Itoa(100+i) + `","SizeBytes":900,"StreamViewType":"NEW_AND_OLD_IMAGES"}}`
}

// event is a record of an expired audit event.
func event(i int) string {
	text := strconv.Quote(fmt.Sprintf(`{"id":"%026d","at":"2026-08-01T00:00:00Z","more":"%s"}`, i, strings.Repeat("x", 2000)))
	return `{"eventID":"1","eventName":"REMOVE","userIdentity":{"type":"Service","principalId":"dynamodb.amazonaws.com"},"dynamodb":{` +
		`"ApproximateCreationDateTime":1796126400,"Keys":{"PK":{"S":"3q7xk2m9vd/a"},"SK":{"S":"` + strconv.Itoa(i) + `"}},` +
		`"OldImage":{"event":{"S":` + text + `}},"SequenceNumber":"` + strconv.Itoa(100+i) + `","StreamViewType":"NEW_AND_OLD_IMAGES"}}`
}

// listen serves until the test ends.
func listen(t *testing.T, h http.Handler) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.BaseContext = func(net.Listener) context.Context { return t.Context() }
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.Listener.Addr().String()
}

func TestTheFunction(t *testing.T) {
	program := pack(t)
	t.Run("takes the largest batches", func(t *testing.T) { largestBatches(t, program) })
	t.Run("says what is wrong", func(t *testing.T) { wrongEnvironment(t, program) })
}

func largestBatches(t *testing.T, program string) {
	api := &lambda{todo: make(chan []byte), answers: make(chan answer)}
	aws := &counted{}
	function := start(t, program, listen(t, api), "http://"+listen(t, aws),
		"EXTAUTHZ_TABLE=extauthz", "EXTAUTHZ_USAGE_DAYS=90", "EXTAUTHZ_AUDIT_BUCKET=archive", "EXTAUTHZ_DEAD_LETTERS_URL=http://queue")
	charges, buckets := batch(charge)
	expired, _ := batch(event)
	for _, b := range [][]byte{expired, charges, expired} {
		got := api.invoke(t, b)
		if !strings.HasSuffix(got.path, "/response") || got.body != `{"batchItemFailures":null}` {
			t.Fatalf("%s: %s", got.path, got.body)
		}
	}
	// Its hour, and that its entity used anything on this day.
	if n := aws.writes.Load(); n != 2*int64(buckets) {
		t.Errorf("%d writes of %d buckets", n, buckets)
	}
	if n := aws.objects.Load(); n != 2 {
		t.Errorf("%d objects of 2 batches", n)
	}
	n := most(t, function.Process.Pid)
	t.Logf("%d buckets in a batch; at most %d MiB", buckets, n>>20)
	if n > memory {
		t.Errorf("the function took %d MiB of %d", n>>20, memory>>20)
	}
}

func wrongEnvironment(t *testing.T, program string) {
	api := &lambda{todo: make(chan []byte), answers: make(chan answer)}
	start(t, program, listen(t, api), "http://127.0.0.1:1", "EXTAUTHZ_TABLE=extauthz", "EXTAUTHZ_USAGE_DAYS=x")
	if got := api.invoke(t, []byte(`{"Records":[]}`)); !strings.HasSuffix(got.path, "/error") || !strings.Contains(got.body, "EXTAUTHZ_USAGE_DAYS") {
		t.Errorf("%s: %s", got.path, got.body)
	}
}
