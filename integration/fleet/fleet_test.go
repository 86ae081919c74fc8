//go:build integration

package fleet

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/extauthz/extauthz/internal/ddblocal"
	"github.com/extauthz/extauthz/internal/faultproxy"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// dynamo is the DynamoDB of all tests.
var dynamo ddblocal.Shared

// processes is how many a fleet has.
const processes = 10

// patient is far above what the busiest machine takes: no test waits for it.
const patient = 20 * time.Second

// fleet is some processes on a table of their own.
type fleet struct {
	orders // of each process, but for its name and seed
	store  *dynamostore.Store
	client *dynamodb.Client
	proxy  *faultproxy.Proxy
	dir    string
	all    []*child // those that were killed too
}

// child is one process.
type child struct {
	orders
	cmd    *exec.Cmd
	input  io.WriteCloser
	output *bufio.Reader
	errors strings.Builder
	done   chan error
}

// newFleet makes a table and the orders that each process gets.
func newFleet(t *testing.T, o orders) *fleet {
	t.Helper()
	url := dynamo.URL(t)
	f := &fleet{orders: o, dir: t.TempDir()}
	f.Table = "extauthz-fleet-" + strings.ToLower(rand.Text())
	f.client = dynamodb.NewFromConfig(awsConfig(), func(o *dynamodb.Options) { o.BaseEndpoint = &url })
	c := storeConfig(url, f.Table, patient)
	c.Create = true
	var err error
	if f.store, err = dynamostore.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := f.client.DeleteTable(context.WithoutCancel(t.Context()), &dynamodb.DeleteTableInput{TableName: &f.Table})
		if err := errors.Join(err, f.store.Close()); err != nil {
			t.Error(err)
		}
	})
	if f.proxy, err = faultproxy.Start(url, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.proxy.Close() }) // once more, where the test closed it
	f.URL = f.proxy.URL
	return f
}

// start starts n processes and waits until each is ready.
func (f *fleet) start(t *testing.T, n int) []*child {
	t.Helper()
	var started []*child
	for range n {
		started = append(started, f.spawn(t))
	}
	for _, c := range started {
		if line, err := c.output.ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("%s said %q, %v: %s", c.Name, line, err, c.errors.String())
		}
	}
	return started
}

func (f *fleet) spawn(t *testing.T) *child {
	t.Helper()
	c := &child{orders: f.orders, done: make(chan error, 1)}
	c.Name = fmt.Sprint("process ", len(f.all))
	c.Seed = f.Seed<<16 + uint64(len(f.all))
	c.History = filepath.Join(f.dir, strconv.Itoa(len(f.all)))
	text, err := json.Marshal(c.orders)
	if err != nil {
		t.Fatal(err)
	}
	c.cmd = exec.CommandContext(t.Context(), os.Args[0]) // killed with the test
	c.cmd.Env = append(os.Environ(), asProcess+"="+string(text))
	c.cmd.Stderr = &c.errors
	if c.input, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	output, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.output = bufio.NewReader(output)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.all = append(f.all, c)
	return c
}

// begin gives processes the word.
func begin(t *testing.T, started []*child) {
	t.Helper()
	for _, c := range started {
		if _, err := io.WriteString(c.input, "go\n"); err != nil {
			t.Fatal(err)
		}
		go func() { c.done <- c.cmd.Wait() }()
	}
}

// kill ends a process in the middle of whatever it does.
func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	<-c.done //nolint:errcheck // killed is how it is to end
}

// finish waits until processes have ended in order.
func finish(t *testing.T, started []*child) {
	t.Helper()
	for _, c := range started {
		if err := <-c.done; err != nil {
			t.Fatalf("%s: %v: %s", c.Name, err, c.errors.String())
		}
	}
}

// histories are those of all processes.
func (f *fleet) histories(t *testing.T) []*history {
	t.Helper()
	var all []*history
	for _, c := range f.all {
		h, err := readHistory(c.Name, c.History)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // killed before it began
			t.Fatal(err)
		}
		if err == nil {
			all = append(all, h)
		}
	}
	return all
}

// buckets are all that are charged.
func (f *fleet) buckets() []string {
	all := slices.Clone(f.Buckets)
	for _, p := range f.Parents {
		all = append(all, p.Bucket)
	}
	return all
}

// items are the buckets as the table has them.
func (f *fleet) items(t *testing.T) map[string]*item {
	t.Helper()
	items := map[string]*item{}
	for _, bucket := range f.buckets() {
		s, err := f.store.Get(t.Context(), keyOf(t, bucket))
		if err != nil {
			t.Fatal(err)
		}
		items[bucket] = itemOf(&s)
	}
	return items
}

func keyOf(t *testing.T, bucket string) ratelimit.Key {
	t.Helper()
	k, err := ratelimit.NewKey(ratelimit.DefaultNamespace, bucket, "api", "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// drain takes what is left of each bucket, one token at a time, with nothing in
// the way, and returns how much that was.
func (f *fleet) drain(t *testing.T) map[string]int64 {
	t.Helper()
	alone := f.orders
	left := map[string]int64{}
	for _, bucket := range f.buckets() {
		alone.Parents, alone.Limit = nil, f.limitOf(bucket)
		l, err := ratelimit.New(ratelimit.Config{Store: f.store, Resolver: family{alone}, Now: f.Clock.now})
		if err != nil {
			t.Fatal(err)
		}
		for {
			_, err := l.Acquire(t.Context(), ratelimit.Request{Entity: bucket, Resource: "api"})
			var denied *ratelimit.ExceededError
			if errors.As(err, &denied) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			left[bucket]++
		}
	}
	return left
}

// seeds are those of a test: 3, ten times as many, or the one that EXTAUTHZ_SEED
// names.
func seeds(t *testing.T) []uint64 {
	t.Helper()
	if text := os.Getenv("EXTAUTHZ_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return []uint64{seed}
	}
	n := 3
	if long() {
		n = 30
	}
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i) + 1
	}
	return all
}

func long() bool { return os.Getenv("EXTAUTHZ_TEST_LONG") != "" }

// sum is what all histories come to.
type sum struct {
	asked, admitted, denied, failed, cached int
	tokens                                  ratelimit.Millitokens // admitted and kept
	sent, unknown, notApplied, refused      int
}

func summed(histories []*history) (s sum) {
	for _, h := range histories {
		for _, r := range h.requests {
			s.asked++
			switch r.verdict {
			case "admitted":
				s.admitted++
				if !r.back {
					s.tokens += r.cost
				}
			case "denied":
				s.denied++
				if r.detail == ratelimit.SourceCache.String() {
					s.cached++
				}
			default:
				s.failed++
			}
		}
		for _, w := range h.writes {
			s.sent++
			switch w.outcome {
			case "unknown", "":
				s.unknown++
			case "not applied":
				s.notApplied++
			case "refused":
				s.refused++
			}
		}
	}
	return s
}

func (s sum) String() string {
	return fmt.Sprintf("%d asked: %d admitted, %d denied (%d from memory), %d failed; %d writes sent: %d refused, %d not applied, %d unknown",
		s.asked, s.admitted, s.denied, s.cached, s.failed, s.sent, s.refused, s.notApplied, s.unknown)
}

// report fails the test for each fault, with the seed that shows it again.
func report(t *testing.T, seed uint64, faults []string) {
	t.Helper()
	for i, fault := range faults {
		if i == 10 {
			t.Errorf("EXTAUTHZ_SEED=%d: and %d more", seed, len(faults)-i)
			return
		}
		t.Errorf("EXTAUTHZ_SEED=%d: %s", seed, fault)
	}
}

// names are those of n buckets.
func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint("bucket-", i)
	}
	return all
}
