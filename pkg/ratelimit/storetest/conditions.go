package storetest

import (
	"testing"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// testConditions tries each part of a condition alone, true and false, on a
// bucket with 5,000 in slot 1, slot 2 removed and slot 3 never used.
func testConditions(t *testing.T, s suite) {
	bound := func(slot int, least, most ratelimit.Millitokens) func(w *ratelimit.Write) {
		return func(w *ratelimit.Write) {
			w.Limits = []ratelimit.LimitWrite{{Slot: slot, Min: least, Max: most}}
		}
	}
	exists := func(slot int) func(w *ratelimit.Write) {
		return func(w *ratelimit.Write) { w.Limits = []ratelimit.LimitWrite{present(slot, ratelimit.FormKeep, 0)} }
	}
	same := func(v int64, sh ratelimit.Shape) func(w *ratelimit.Write) {
		return func(w *ratelimit.Write) { w.Same, w.Revision, w.Shape = true, v, sh }
	}
	const none, all = ratelimit.NoMin, ratelimit.NoMax
	for _, c := range []struct {
		name   string
		expiry int64
		part   func(w *ratelimit.Write)
		want   bool
	}{
		{"nothing", 0, func(*ratelimit.Write) {}, true},
		{"revision and shape without Same", 0, func(w *ratelimit.Write) { w.Revision, w.Shape = 1, 1 }, true},
		{"same", 0, same(revision, shape), true},
		{"older revision", 0, same(revision-1, shape), false},
		{"newer revision", 0, same(revision+1, shape), false},
		{"another shape", 0, same(revision, shape^1), false},
		{"another shape, high bit", 0, same(revision, shape^1<<63), false},
		{"born then", 0, func(w *ratelimit.Write) { w.BornIs = ptr(now) }, true},
		{"born before", 0, func(w *ratelimit.Write) { w.BornIs = ptr(now - 1) }, false},
		{"born after", 0, func(w *ratelimit.Write) { w.BornIs = ptr(now + 1) }, false},
		{"shaped then", 0, func(w *ratelimit.Write) { w.AtMost = ptr(now) }, true},
		{"shaped before", 0, func(w *ratelimit.Write) { w.AtMost = ptr(now + 1) }, true},
		{"shaped after", 0, func(w *ratelimit.Write) { w.AtMost = ptr(now - 1) }, false},
		{"lives long enough", expiry, func(w *ratelimit.Write) { w.TTLMin = expiry }, true},
		{"lives longer", expiry, func(w *ratelimit.Write) { w.TTLMin = expiry - 1 }, true},
		{"expires too soon", expiry, func(w *ratelimit.Write) { w.TTLMin = expiry + 1 }, false},
		{"lives for ever, expiry asked for", 0, func(w *ratelimit.Write) { w.TTLMin = 1 }, false},
		{"expiry below", expiry, func(w *ratelimit.Write) { w.TTLBelow = expiry + 1 }, true},
		{"expiry not below", expiry, func(w *ratelimit.Write) { w.TTLBelow = expiry }, false},
		{"no expiry", 0, func(w *ratelimit.Write) { w.TTLBelow = 1 }, true},
		{"at least", 0, bound(1, 5_000, all), true},
		{"less than at least", 0, bound(1, 5_001, all), false},
		{"at most", 0, bound(1, none, 5_000), true},
		{"more than at most", 0, bound(1, none, 4_999), false},
		{"between", 0, bound(1, 4_999, 5_001), true},
		{"exactly", 0, bound(1, 5_000, 5_000), true},
		{"between others", 0, bound(1, 5_001, 5_002), false},
		{"negative bounds", 0, bound(1, -9, -1), false},
		{"there", 0, exists(1), true},
		{"removed", 0, exists(2), false},
		{"removed, at least", 0, bound(2, -1<<40, all), false},
		{"removed, at most", 0, bound(2, none, 1<<40), false},
		{"removed, no bounds", 0, bound(2, none, all), true},
		{"never used", 0, exists(3), false},
		{"never used, at most", 0, bound(3, none, 1<<40), false},
		{"or absent, and it isn't", 0, func(w *ratelimit.Write) { w.OrAbsent, w.Same = true, true }, false},
	} {
		b := s.started(t, c.name, 5_000, 1_000)
		w := change(unbound(2, ratelimit.FormRemove, 0))
		w.TTLSet = c.expiry
		b.mustApply(t, w)
		w = change()
		w.Stamp = now + 2
		c.part(w)
		if got := b.send(t, w); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

// testOneOfManyConditions makes one part after the other false among many that
// are true: nothing of the write is done.
func testOneOfManyConditions(t *testing.T, s suite) {
	b := s.started(t, "many", 1_000, 2_000, 3_000)
	w := change()
	w.TTLSet, w.TTLBelow = expiry, expiry
	b.mustApply(t, w)
	all := func() *ratelimit.Write {
		w := change(present(1, ratelimit.FormAdd, -1), present(2, ratelimit.FormSet, 5), present(3, ratelimit.FormRemove, 0))
		for i := range w.Limits {
			w.Limits[i].Min, w.Limits[i].Max = 0, 4_000
			w.Limits[i].Charged, w.Limits[i].Params = 1, params("other")
		}
		w.Same, w.Revision, w.Shape, w.BornIs, w.AtMost = true, revision, shape, ptr(now), ptr(now)
		w.TTLSet, w.TTLBelow = expiry+1, expiry+1
		w.NewShape, w.NewRevision, w.NewHash, w.Reshaped = true, revision+1, 1, now+1
		return w
	}
	for _, spoil := range []func(w *ratelimit.Write){
		func(w *ratelimit.Write) { w.Revision++ },
		func(w *ratelimit.Write) { w.Shape++ },
		func(w *ratelimit.Write) { *w.BornIs++ },
		func(w *ratelimit.Write) { *w.AtMost-- },
		func(w *ratelimit.Write) { w.TTLMin = expiry + 1 },
		func(w *ratelimit.Write) { w.TTLBelow = expiry },
		func(w *ratelimit.Write) { w.Limits[0].Min = 1_001 },
		func(w *ratelimit.Write) { w.Limits[1].Max = 1_999 },
		func(w *ratelimit.Write) { w.Limits[2].Slot = 4 },
	} {
		w := all()
		spoil(w)
		b.mustRefuse(t, w)
	}
	b.mustApply(t, all())
	b.balance(t, 1, 999)
	b.balance(t, 2, 5)
}
