package faultproxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// counting is a server that counts what it is asked.
func counting(t *testing.T) (url string, calls *atomic.Int64) {
	t.Helper()
	calls = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "call %d: %s", calls.Add(1), body)
	}))
	t.Cleanup(server.Close)
	return server.URL, calls
}

func call(t *testing.T, client *http.Client, url, operation string) (status int, body string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

func TestActions(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, c := range []struct {
		fault   Fault
		status  int // 0: no answer
		body    string
		applied int64
	}{
		{Fault{}, 200, "call 1: hello", 1},
		{Fault{Action: DropBefore}, 0, "", 0},
		{Fault{Action: DropAfter}, 0, "", 1},
		{Fault{Action: FailBefore}, 500, "InternalServerError", 0},
		{Fault{Action: FailBefore, Status: 503}, 503, "InternalServerError", 0},
		{Fault{Action: FailAfter}, 500, "InternalServerError", 1},
		{Fault{Action: Stall}, 0, "", 0},
		{Fault{Action: StallAfter}, 0, "", 1},
		{Fault{Action: Repeat, Later: time.Millisecond}, 200, "call 1: hello", 2},
		{Fault{Action: Cut}, 0, "", 1},
		{Fault{Before: time.Hour}, 0, "", 0},
		{Fault{After: time.Hour}, 0, "", 1},
		{Conflict(), 400, CodeConflict, 0},
		{Throttle(CodeThroughput, "TableWriteKeyRangeThroughputExceeded"), 400, `"ThrottlingReasons":[{"reason":"TableWriteKeyRangeThroughputExceeded"`, 0},
		{Throttle(CodeThrottling, "x"), 400, `"throttlingReasons":[`, 0},
	} {
		t.Run(fmt.Sprintf("%s %s", c.fault.Action, c.fault.Code), func(t *testing.T) {
			url, calls := counting(t)
			p, err := Start(url, Script("UpdateItem", c.fault))
			if err != nil {
				t.Fatal(err)
			}
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			status, body, err := call(t, client, p.URL, "UpdateItem")
			if c.status == 0 && err == nil || c.status != 0 && (err != nil || status != c.status || !strings.Contains(body, c.body)) {
				t.Errorf("%d %q, %v; want %d with %q", status, body, err, c.status, c.body)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if n := calls.Load(); n != c.applied {
				t.Errorf("applied %d times, want %d", n, c.applied)
			}
			sum := 0
			for _, r := range p.Records() {
				sum += r.Applied()
			}
			if int64(sum) != c.applied || p.Connections() != 1 {
				t.Errorf("recorded as applied %d times over %d connections, want %d", sum, p.Connections(), c.applied)
			}
		})
	}
}

func TestOtherCallsPass(t *testing.T) {
	url, calls := counting(t)
	p, err := Start(url, Script("UpdateItem", Fault{Action: DropBefore}))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	for _, operation := range []string{"GetItem", "UpdateItem", "UpdateItem"} {
		status, _, err := call(t, client, p.URL, operation)
		t.Log(operation, status, err)
	}
	p.Set(Script("GetItem", Fault{}, Fault{Action: FailBefore}))
	if status, _, _ := call(t, client, p.URL, "GetItem"); status != 500 {
		t.Errorf("the second GetItem: %d", status)
	}
	client.CloseIdleConnections()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if n := calls.Load(); n != 2 {
		t.Errorf("forwarded %d calls, want 2", n)
	}
}

func TestRandomIsRepeatable(t *testing.T) {
	shares := []Share{{100, Fault{Action: DropAfter}}, {200, Fault{Action: Stall}}}
	draw := func(seed uint64) (counts map[Action]int, all []Action) {
		counts = map[Action]int{}
		for n := range 2000 {
			a := Random("UpdateItem", seed, shares...)(Call{N: n, Operation: "UpdateItem"}).Action
			all = append(all, a)
			counts[a]++
		}
		return counts, all
	}
	counts, one := draw(1)
	_, again := draw(1)
	_, two := draw(2)
	if !slices.Equal(one, again) || slices.Equal(one, two) {
		t.Error("the seed does not decide")
	}
	if n := counts[DropAfter]; n < 140 || n > 260 {
		t.Errorf("%d of 2000 dropped, want about 200", n)
	}
	if n := counts[Stall]; n < 320 || n > 480 {
		t.Errorf("%d of 2000 stalled, want about 400", n)
	}
	if a := Random("UpdateItem", 1, Share{1000, Fault{Action: Stall}})(Call{Operation: "GetItem"}).Action; a != Pass {
		t.Errorf("another operation: %v", a)
	}
}

// TestStartAgain has a proxy come back where it was.
func TestStartAgain(t *testing.T) {
	url, calls := counting(t)
	p, err := Start(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	if _, _, err := call(t, client, p.URL, "UpdateItem"); err == nil {
		t.Error("a proxy that is closed answers")
	}
	again, err := StartAt(strings.TrimPrefix(p.URL, "http://"), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if status, _, err := call(t, client, p.URL, "UpdateItem"); err != nil || status != http.StatusOK || calls.Load() != 1 {
		t.Errorf("%d, %v after %d calls", status, err, calls.Load())
	}
}
