//go:build integration

package fleet

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// event is one line of a process's history. Instants are Unix nanoseconds of
// the machine's clock, which all processes share; amounts are millitokens.
type event struct {
	What   string // asked, told, back; sent, came; ended
	At     int64
	ID     int64  `json:",omitempty"` // of the request, or of the write
	Bucket string `json:",omitempty"`

	Cost    ratelimit.Millitokens `json:",omitempty"` // asked
	Verdict string                `json:",omitempty"` // told: admitted, denied, failed
	Detail  string                `json:",omitempty"` // told: the source, or why it failed; back: why it failed

	Op       ratelimit.Op          `json:",omitempty"` // sent
	Stamp    ratelimit.Stamp       `json:",omitempty"` // sent
	Charged  ratelimit.Millitokens `json:",omitempty"` // sent
	Returned ratelimit.Millitokens `json:",omitempty"` // sent

	Outcome string `json:",omitempty"` // came: applied, refused, not applied, unknown
	State   *item  `json:",omitempty"` // came: what the store told
}

// item is a bucket of one limit as the store holds it.
type item struct {
	Exists                     bool
	Born                       ratelimit.Stamp
	Balance, Charged, Returned ratelimit.Millitokens
	ExpiresAt                  int64
}

func itemOf(s *ratelimit.State) *item {
	i := &item{Exists: s.Exists, Born: s.Born, ExpiresAt: s.ExpiresAt}
	if len(s.Limits) > 0 {
		l := &s.Limits[0]
		i.Balance, i.Charged, i.Returned = l.Balance, l.Charged, l.Returned
	}
	return i
}

// diary writes a history down, each event with one write, so that what had
// happened by then is there when the process is killed.
type diary struct {
	mu   sync.Mutex
	file *os.File
	next int64
}

func (d *diary) id() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	return d.next
}

func (d *diary) write(e event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e.At = time.Now().UnixNano()
	line, err := json.Marshal(e)
	if err == nil {
		_, err = d.file.Write(append(line, '\n'))
	}
	if err != nil {
		// A history with a hole would accuse the innocent.
		fmt.Fprintln(os.Stderr, "writing the history:", err)
		os.Exit(1)
	}
}

// request is a request and what its caller was told; told is 0 when the process
// died first.
type request struct {
	bucket      string
	cost        ratelimit.Millitokens
	asked, told int64
	verdict     string
	detail      string
	back        bool // given back by its caller
}

// write is a write and what came of it; outcome is empty when nothing did.
type write struct {
	bucket            string
	op                ratelimit.Op
	stamp             ratelimit.Stamp
	charged, returned ratelimit.Millitokens
	sent, came        int64
	outcome           string
	state             item
}

// history is what one process did.
type history struct {
	name     string
	ended    bool  // in order: all that it sent has come back
	last     int64 // what it wrote down last
	requests []*request
	writes   []*write
}

// readHistory reads what a process wrote down. Of one that was killed, the last
// line may be torn.
func readHistory(name, path string) (*history, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading a history: %w", err)
	}
	defer file.Close()
	h := &history{name: name}
	requests, writes := map[int64]*request{}, map[int64]*write{}
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return h, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading a history: %w", err)
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("reading a history: %w: %s", err, line)
		}
		h.last = e.At
		switch e.What {
		case "asked":
			r := &request{bucket: e.Bucket, cost: e.Cost, asked: e.At}
			requests[e.ID] = r
			h.requests = append(h.requests, r)
		case "told":
			r := requests[e.ID]
			r.told, r.verdict, r.detail = e.At, e.Verdict, e.Detail
		case "back":
			requests[e.ID].back = true
		case "sent":
			w := &write{bucket: e.Bucket, op: e.Op, stamp: e.Stamp, charged: e.Charged, returned: e.Returned, sent: e.At}
			writes[e.ID] = w
			h.writes = append(h.writes, w)
		case "came":
			w := writes[e.ID]
			w.came, w.outcome = e.At, e.Outcome
			if e.State != nil {
				w.state = *e.State
			}
		case "ended":
			h.ended = true
		}
	}
}
