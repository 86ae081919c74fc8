package storetest

import (
	"fmt"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// testRandom sends random writes, most of them near what the bucket is, and
// compares everything with what the writes mean.
func testRandom(t *testing.T, s suite) {
	var runs atomic.Int64
	rapid.Check(t, func(t *rapid.T) {
		b := s.bucket(t, fmt.Sprint("run ", runs.Add(1)))
		for range rapid.IntRange(1, 12).Draw(t, "writes") {
			b.send(t, (&drawing{t, &b.state}).write())
		}
	})
}

// drawing draws a write for a bucket.
type drawing struct {
	*rapid.T
	state *ratelimit.State
}

// rarely draws a boolean that is rarely true.
func (d *drawing) rarely(label string) bool { return rapid.IntRange(0, 5).Draw(d.T, label) == 0 }

// near draws a number at or around another.
func (d *drawing) near(v int64, label string) int64 {
	return v + rapid.SampledFrom([]int64{0, 0, 0, -1, 1, 1000, -1000}).Draw(d.T, label)
}

func (d *drawing) write() *ratelimit.Write {
	w := &ratelimit.Write{
		Op:       ratelimit.Op(rapid.IntRange(0, 5).Draw(d.T, "op")),
		Stamp:    ratelimit.Stamp(d.near(int64(max(now, d.state.Last)), "stamp")),
		OrAbsent: !d.state.Exists && !d.rarely("not absent") || d.rarely("or absent"),
	}
	if rapid.Bool().Draw(d.T, "same") {
		w.Same, w.Revision, w.Shape = true, d.state.Revision, d.state.Shape
		if d.rarely("not the same") {
			w.Revision, w.Shape = d.near(w.Revision, "revision"), ratelimit.Shape(d.near(int64(w.Shape), "shape"))
		}
	}
	if d.rarely("born") {
		w.BornIs = ptr(ratelimit.Stamp(d.near(int64(d.state.Born), "born at")))
	}
	if d.rarely("at most") {
		w.AtMost = ptr(ratelimit.Stamp(d.near(int64(d.state.ShapedAt), "shaped at")))
	}
	d.expiry(w)
	if !d.state.Exists || d.rarely("new shape") {
		w.NewShape, w.Reshaped = true, w.Stamp
		w.NewRevision = d.near(d.state.Revision, "new revision")
		w.NewHash = ratelimit.Shape(rapid.Uint64().Draw(d.T, "new shape"))
	}
	for slot := 1; slot <= 5; slot++ {
		if rapid.Bool().Draw(d.T, "slot") {
			w.Limits = append(w.Limits, d.limit(slot, w.OrAbsent))
		}
	}
	return w
}

func (d *drawing) expiry(w *ratelimit.Write) {
	switch rapid.IntRange(0, 7).Draw(d.T, "expiry") {
	case 0:
		w.TTLMin = max(1, d.near(d.state.ExpiresAt, "at least"))
	case 1:
		w.TTLSet = max(1, d.near(max(d.state.ExpiresAt, expiry), "set"))
		w.TTLBelow = w.TTLSet
	case 2:
		w.TTLRemove = true
	}
}

// limit draws a limit's part; orAbsent: the bucket may not be there.
func (d *drawing) limit(slot int, orAbsent bool) ratelimit.LimitWrite {
	l := unbound(slot, ratelimit.Form(rapid.IntRange(0, 4).Draw(d.T, "form")), ratelimit.Millitokens(rapid.Int64Range(-1e15, 1e15).Draw(d.T, "value")))
	there, balance := false, ratelimit.Millitokens(0)
	if slot <= len(d.state.Limits) {
		there, balance = d.state.Limits[slot-1].On, d.state.Limits[slot-1].Balance
	}
	if l.Form == ratelimit.FormAdd && orAbsent {
		l.Form = ratelimit.FormSet
	}
	l.Exists = l.Form == ratelimit.FormAdd || there && rapid.Bool().Draw(d.T, "exists")
	if there && rapid.Bool().Draw(d.T, "min") {
		l.Min = ratelimit.Millitokens(d.near(int64(balance), "least"))
	}
	if there && rapid.Bool().Draw(d.T, "max") {
		l.Max = max(l.Min, ratelimit.Millitokens(d.near(int64(balance), "most")))
	}
	if l.Form != ratelimit.FormKeep && l.Form != ratelimit.FormRemove {
		l.Charged = ratelimit.Millitokens(rapid.Int64Range(0, 1e15).Draw(d.T, "charged"))
		l.Returned = ratelimit.Millitokens(rapid.Int64Range(0, 1e15).Draw(d.T, "returned"))
		if !there || rapid.Bool().Draw(d.T, "params") {
			l.Params = params(rapid.StringMatching(`[a-z]{1,8}`).Draw(d.T, "name"))
		}
	}
	return l
}
