package envoy

import (
	"strings"
	"sync"

	"github.com/extauthz/extauthz/pkg/descriptors"
)

// call is what one call asks, used again for others.
type call struct {
	read    reader
	domain  string
	tooMany bool // more descriptors than a call may have; none is there
	reqs    []descriptors.Request
	ptrs    []*descriptors.Request // to each of reqs

	// Those of the request, where it was read by hand.
	headers, extensions map[string]string
}

// reader reads a message in wire form into a call.
type reader struct {
	// byHand reads what is as Envoy sends it, and is false for anything else.
	byHand func(text string, c *call) bool
	// message reads anything, through a message.
	message func(wire []byte, c *call) error
}

// unmarshal reads a message, in place of what was read before: gRPC reads a second
// message, where a client sends one, before it refuses both. The bytes may be
// reused: the texts of the requests are parts of one copy.
func (c *call) unmarshal(wire []byte) error {
	c.empty()
	text := string(wire)
	if !strings.Contains(text, reservedPrefix) && c.read.byHand(text, c) {
		return nil
	}
	c.empty()
	return c.read.message(wire, c)
}

// size makes n requests, which are empty.
func (c *call) size(n int) {
	if cap(c.reqs) < n {
		c.reqs, c.ptrs = make([]descriptors.Request, n), make([]*descriptors.Request, n)
	}
	c.reqs, c.ptrs = c.reqs[:n], c.ptrs[:n]
	for i := range c.reqs {
		c.ptrs[i] = &c.reqs[i]
	}
}

// empty leaves nothing of the call but room for entries and headers.
func (c *call) empty() {
	c.domain, c.tooMany = "", false
	for i := range c.reqs {
		entries := c.reqs[i].Entries
		c.reqs[i] = descriptors.Request{}
		if cap(entries) <= mostKept {
			clear(entries)
			c.reqs[i].Entries = entries[:0]
		}
	}
	c.reqs, c.ptrs = c.reqs[:0], c.ptrs[:0]
	c.headers, c.extensions = emptied(c.headers), emptied(c.extensions)
}

// mostKept is how many requests, entries and headers of a call are kept for the
// next one.
const mostKept = 16

// emptied is a map without what is in it, or none where it has grown.
func emptied(m map[string]string) map[string]string {
	if len(m) > 4*mostKept {
		return nil
	}
	clear(m)
	return m
}

// callPool is a pool of calls of one service.
type callPool struct {
	read reader
	pool sync.Pool
}

func (p *callPool) get() *call {
	if c, ok := p.pool.Get().(*call); ok {
		return c
	}
	return &call{read: p.read}
}

func (p *callPool) put(c *call) {
	if cap(c.reqs) > mostKept {
		return
	}
	c.empty()
	p.pool.Put(c)
}
