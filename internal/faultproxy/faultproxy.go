// Package faultproxy stands between a client and a DynamoDB in tests, and does
// to each call what a plan says: loses it before or after it is applied, fails
// it, delays it, repeats it, throttles it, or never answers.
//
// The package is for tests alone; it imports the standard library. Start
// reading at [Start] and [Fault].
package faultproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Action is what happens to a call.
type Action uint8

// The actions. After each but those that say so the call was not applied.
const (
	Pass       Action = iota // it is forwarded, and applied as the server likes
	DropBefore               // the connection is reset, nothing is forwarded
	DropAfter                // applied; the connection is reset in place of the answer
	FailBefore               // answered with 500 (or Status), nothing is forwarded
	FailAfter                // applied; answered with 500 (or Status)
	Stall                    // no answer until the client goes away, nothing is forwarded
	StallAfter               // applied; no answer until the client goes away
	Repeat                   // applied, and once more after Later; the first answer is given
	Refuse                   // answered with Code as DynamoDB would, nothing is forwarded
	Cut                      // applied; the answer ends in its middle
)

var actionNames = [...]string{
	"pass", "drop before", "drop after", "fail before", "fail after", "stall", "stall after", "repeat", "refuse", "cut",
}

// String is the action's name.
func (a Action) String() string { return actionNames[a] }

// Fault is what happens to one call. The zero Fault forwards it.
type Fault struct {
	Action Action
	// Before delays the call, After its answer; in both the client may go away.
	// A client that goes away Before has made no call.
	Before, After time.Duration
	Later         time.Duration // of Repeat
	Status        int           // of FailBefore and FailAfter; 0: 500
	Code          string        // of Refuse: DynamoDB's name of the error
	Message       string        // of Refuse
	Reasons       []string      // of Refuse: why it throttled
}

// Call is a call that a plan decides about.
type Call struct {
	N         int    // from 0, of its operation
	Operation string // such as UpdateItem
	Body      []byte // the request's JSON; not to be changed
}

// Record is what became of a call.
type Record struct {
	Call
	Fault  Fault
	Status []int // the server's answer, for each time the call was forwarded
}

// Applied is how often the server did what was asked.
func (r Record) Applied() int {
	n := 0
	for _, s := range r.Status {
		if s == http.StatusOK {
			n++
		}
	}
	return n
}

// Plan says what happens to each call. It is asked by many goroutines at once.
type Plan func(Call) Fault

// Proxy is a proxy that runs. Its methods may be called from several
// goroutines.
type Proxy struct {
	URL string

	target  string
	server  *http.Server
	client  *http.Client
	calls   sync.WaitGroup // those under way, repeated ones too; one more until Close
	done    chan struct{}
	closing sync.Once

	mu    sync.Mutex
	plan  Plan
	made  map[string]int // :: operation -> calls so far
	log   []Record
	conns int
}

// Start starts a proxy in front of the server at target, on a free port of the
// loopback. plan may be nil: nothing goes wrong. The caller closes it.
func Start(target string, plan Plan) (*Proxy, error) { return StartAt("127.0.0.1:0", target, plan) }

// StartAt is Start on an address of the caller's choice, such as that of a proxy
// that was closed: in between, connections were refused.
func StartAt(address, target string, plan Plan) (*Proxy, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("starting a fault proxy: %w", err)
	}
	p := &Proxy{
		URL:    "http://" + listener.Addr().String(),
		target: target,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}},
		done:   make(chan struct{}),
		plan:   plan,
		made:   map[string]int{},
	}
	p.server = &http.Server{
		Handler: p, ReadHeaderTimeout: 10 * time.Second,
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.conns++
			}
		},
	}
	p.calls.Add(1)
	go func() {
		defer close(p.done)
		_ = p.server.Serve(listener) // ends when it is closed
	}()
	return p, nil
}

// Close ends the proxy and every call in it; once more does nothing. Calls that are to be repeated
// later are, before it returns.
func (p *Proxy) Close() error {
	err := p.server.Close()
	<-p.done
	p.closing.Do(p.calls.Done)
	p.calls.Wait()
	p.client.CloseIdleConnections()
	return err
}

// Set changes what happens to the calls from now on.
func (p *Proxy) Set(plan Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan = plan
}

// Records are the calls so far that have ended, in the order of their ends; a call
// is among them before its client is answered.
func (p *Proxy) Records() []Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Record(nil), p.log...)
}

// Connections is how many the clients have opened so far.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

// ServeHTTP takes one call.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.calls.Add(1)
	defer p.calls.Done()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away while it asked
	}
	record := &Record{Call: Call{Body: body}}
	_, record.Operation, _ = strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	p.decide(record)
	tell := p.act(r, record)
	p.keep(record) // who is told finds it
	if tell != nil {
		tell(w)
	}
}

// decide asks the plan.
func (p *Proxy) decide(record *Record) {
	p.mu.Lock()
	plan := p.plan
	record.N = p.made[record.Operation]
	p.made[record.Operation]++
	p.mu.Unlock()
	if plan != nil {
		record.Fault = plan(record.Call)
	}
}

func (p *Proxy) keep(record *Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, *record)
}

// act does what is planned, up to what the client is told; nil: nothing, its call
// has ended by itself.
func (p *Proxy) act(r *http.Request, record *Record) (tell func(http.ResponseWriter)) {
	f := record.Fault
	if !sleep(r.Context(), f.Before) {
		return nil
	}
	failing := func(w http.ResponseWriter) { fail(w, f) }
	switch f.Action {
	case DropBefore:
		return reset
	case FailBefore:
		return failing
	case Refuse:
		return func(w http.ResponseWriter) { refuse(w, f) }
	case Stall:
		<-r.Context().Done()
		return nil
	case Pass, DropAfter, FailAfter, StallAfter, Repeat, Cut:
	}
	a, err := p.forward(r, record.Body)
	if err != nil {
		// The server itself is gone: as much as the client can be told.
		return reset
	}
	record.Status = append(record.Status, a.status)
	if f.Action == Repeat {
		p.repeat(r, record) //nolint:contextcheck // it outlives the client, as the plan says
	}
	if !sleep(r.Context(), f.After) {
		return nil
	}
	switch f.Action {
	case DropAfter:
		return reset
	case FailAfter:
		return failing
	case StallAfter:
		<-r.Context().Done()
		return nil
	case Cut:
		a.header.Set("Content-Length", strconv.Itoa(len(a.body)))
		a.body = a.body[:len(a.body)/2]
		return func(w http.ResponseWriter) {
			a.write(w)
			cut(w)
		}
	case Pass, Repeat, DropBefore, FailBefore, Refuse, Stall:
	}
	return a.write
}

// repeat forwards the call once more, later, whatever the client does. It is a
// record of its own.
func (p *Proxy) repeat(r *http.Request, record *Record) {
	again := *record
	again.Status = nil
	p.calls.Go(func() {
		ctx := context.WithoutCancel(r.Context())
		sleep(ctx, record.Fault.Later)
		a, err := p.forward(r.WithContext(ctx), again.Body)
		if err != nil {
			return
		}
		again.Status = append(again.Status, a.status)
		p.keep(&again)
	})
}

// answer is the server's.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// forward makes the call at the server. It goes on when the client goes away:
// what arrived is done.
func (p *Proxy) forward(r *http.Request, body []byte) (*answer, error) {
	request, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, p.target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("forwarding: %w", err)
	}
	request.Header = r.Header.Clone()
	request.Header.Del("Connection")
	response, err := p.client.Do(request) //nolint:gosec // to the server that the test named
	if err != nil {
		return nil, fmt.Errorf("forwarding: %w", err)
	}
	text, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return &answer{response.StatusCode, response.Header, text}, nil
}

func (a *answer) write(w http.ResponseWriter) {
	for name, values := range a.header {
		if name != "Connection" && name != "Keep-Alive" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) //nolint:gosec // the server's own answer, to a test; a client that is gone reads nothing
}

// sleep reports whether ctx outlasted d.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
