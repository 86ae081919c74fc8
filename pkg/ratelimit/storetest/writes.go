package storetest

import (
	"fmt"
	"math"
	"testing"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func testAbsent(t *testing.T, s suite) {
	b := s.bucket(t, "never written")
	b.read(t)
	w := change(unbound(1, ratelimit.FormSet, 5))
	b.mustRefuse(t, w) // and carries an absent state
	w = change()
	b.mustRefuse(t, w)
	if b.state.Exists {
		t.Error("it exists")
	}
}

func testCreate(t *testing.T, s suite) {
	b := s.bucket(t, "new")
	w := create(set(1, -4_000), set(2, 9_000))
	w.Limits[0].Charged = 13_000
	w.TTLSet, w.TTLBelow = expiry, expiry
	b.mustApply(t, w)
	same(t, "Create", ratelimit.State{
		Exists: true, Revision: revision, Shape: shape, ShapedAt: now, Last: now, Born: now, ExpiresAt: expiry,
		Limits: []ratelimit.LimitState{
			{Params: *params("limit1"), On: true, Balance: -4_000, Charged: 13_000},
			{Params: *params("limit2"), On: true, Balance: 9_000},
		},
	}, b.state)

	// No bound of a create concerns a bucket that is absent.
	for i, spoil := range []func(w *ratelimit.Write){
		func(w *ratelimit.Write) { w.BornIs = ptr(now + 9) },
		func(w *ratelimit.Write) { w.AtMost = ptr(now - 9) },
		func(w *ratelimit.Write) { w.TTLMin = expiry },
		func(w *ratelimit.Write) { w.Limits[0].Min = 1 << 40 },
		func(w *ratelimit.Write) { w.Limits[0].Max = -1 << 40 },
		func(w *ratelimit.Write) { w.Limits[0].Exists = true },
	} {
		w := create(set(1, 5))
		spoil(w)
		s.bucket(t, fmt.Sprint("spoilt ", i)).mustApply(t, w)
	}
}

// The write of a charge that hasn't seen its bucket: it creates it or finds it
// full.
func testCreateOrFull(t *testing.T, s suite) {
	try := func(stamp ratelimit.Stamp) *ratelimit.Write {
		w := create(set(1, 8_000), unbound(2, ratelimit.FormSetIfAbsent, 9_000))
		w.Revision, w.Shape, w.Stamp, w.Reshaped = revision, shape, stamp, stamp
		w.Limits[0].Min, w.Limits[0].Charged = 9_000, 1_000
		w.Limits[1].Params = params("limit2")
		w.TTLSet, w.TTLBelow = expiry+int64(stamp-now), expiry+int64(stamp-now)
		return w
	}
	b := s.bucket(t, "full or not")
	b.mustApply(t, try(now))
	b.mustRefuse(t, try(now+1)) // 8 of 9 there
	b.mustApply(t, change(present(1, ratelimit.FormAdd, 1_000)))
	b.mustApply(t, try(now+2))
	if b.state.Born != now || b.state.ShapedAt != now || b.state.Last != now+2 || b.state.ExpiresAt != expiry+2 {
		t.Errorf("found full: %+v", b.state)
	}
	b.mustApply(t, change(present(1, ratelimit.FormAdd, 1_000)))
	b.mustRefuse(t, try(now+2)) // full, but its expiry isn't below
	w := try(now + 3)
	w.Shape++
	b.mustRefuse(t, w) // full, but of another shape
	w = try(now + 3)
	w.Revision++
	b.mustRefuse(t, w)
	b.mustApply(t, change(present(2, ratelimit.FormAdd, -500)))
	b.mustApply(t, try(now+3))
	b.balance(t, 1, 8_000)
	b.balance(t, 2, 8_500) // had one: kept
}

func testForms(t *testing.T, s suite) {
	b := s.started(t, "forms", 5_000, 6_000)
	b.mustApply(t, change(present(1, ratelimit.FormAdd, -7_500), present(2, ratelimit.FormAdd, 4_000)))
	b.balance(t, 1, -2_500)
	b.balance(t, 2, 10_000)
	b.mustApply(t, change(present(1, ratelimit.FormSet, 3), present(2, ratelimit.FormKeep, 77)))
	b.balance(t, 1, 3)
	b.balance(t, 2, 10_000)
	b.mustApply(t, change(unbound(1, ratelimit.FormSetIfAbsent, 88)))
	b.balance(t, 1, 3)

	b.mustApply(t, change(unbound(1, ratelimit.FormRemove, 0)))
	if l := b.state.Limits[0]; l.On || l.Balance != 0 || l.Params != *params("limit1") {
		t.Errorf("removed: %+v", l)
	}
	b.mustApply(t, change(unbound(1, ratelimit.FormRemove, 0))) // again: nothing to remove
	b.mustApply(t, change(unbound(1, ratelimit.FormKeep, 5)))
	if b.state.Limits[0].On {
		t.Error("kept, and back")
	}
	b.mustApply(t, change(unbound(1, ratelimit.FormSetIfAbsent, 99)))
	b.balance(t, 1, 99)

	w := change(present(1, ratelimit.FormAdd, 1))
	w.Limits[0].Params = params("renumbered")
	b.mustApply(t, w)
	b.balance(t, 1, 100)
	if got := b.state.Limits[0].Name; got != "renumbered" {
		t.Errorf("parameters of %q", got)
	}
	// A write without limits still moves the stamp, also back: by its writer's
	// clock.
	for _, stamp := range []ratelimit.Stamp{now + 500, now - 500} {
		w := change()
		w.Stamp = stamp
		b.mustApply(t, w)
		if b.state.Last != stamp || b.state.Born != now {
			t.Errorf("stamps: %+v", b.state)
		}
	}
}

func testCounters(t *testing.T, s suite) {
	b := s.started(t, "counters", 5_000, 6_000)
	w := change(present(1, ratelimit.FormAdd, -1_000), present(2, ratelimit.FormSet, 4_000))
	w.Limits[0].Charged, w.Limits[1].Charged, w.Limits[1].Returned = 1_000, 2_000, 300
	b.mustApply(t, w)
	b.mustApply(t, w)
	w = change(present(1, ratelimit.FormAdd, 50))
	w.Limits[0].Returned = 50
	b.mustApply(t, w)
	w = change(present(1, ratelimit.FormAdd, -9))
	w.Limits[0].Min, w.Limits[0].Charged = 1<<40, 9
	b.mustRefuse(t, w) // counts nothing
	b.mustApply(t, change(unbound(2, ratelimit.FormRemove, 0)))
	b.mustApply(t, change(set(2, 1)))
	got := [4]ratelimit.Millitokens{b.state.Limits[0].Charged, b.state.Limits[0].Returned, b.state.Limits[1].Charged, b.state.Limits[1].Returned}
	if want := [4]ratelimit.Millitokens{2_000, 50, 4_000, 600}; got != want {
		t.Errorf("counters %d, want %d", got, want)
	}
}

func testNewShape(t *testing.T, s suite) {
	b := s.started(t, "shapes", 5_000)
	reshape := func(at *ratelimit.Stamp, reshaped ratelimit.Stamp) *ratelimit.Write {
		w := change()
		w.Op, w.Same, w.Revision, w.Shape, w.AtMost = ratelimit.OpReshape, true, b.state.Revision, b.state.Shape, at
		w.NewShape, w.NewRevision, w.NewHash, w.Reshaped = true, b.state.Revision+1, b.state.Shape+1, reshaped
		return w
	}
	b.mustApply(t, reshape(ptr(now+5), now+5))
	if b.state.Revision != revision+1 || b.state.Shape != shape+1 || b.state.ShapedAt != now+5 {
		t.Errorf("reshaped: %+v", b.state)
	}
	b.mustApply(t, reshape(nil, now+6)) // no condition on `at`: set only where there is none
	if b.state.Revision != revision+2 || b.state.ShapedAt != now+5 {
		t.Errorf("reshaped again: %+v", b.state)
	}
	b.mustRefuse(t, reshape(ptr(now+4), now+4)) // shaped later
	w := change()
	w.NewRevision, w.NewHash, w.Reshaped = 100, 100, now+100 // without NewShape: nothing
	b.mustApply(t, w)
	if b.state.Revision != revision+2 || b.state.Shape != shape+2 || b.state.ShapedAt != now+5 {
		t.Errorf("not reshaped: %+v", b.state)
	}
}

func testExpiry(t *testing.T, s suite) {
	b := s.started(t, "expiry", 5_000)
	extend := func(to int64) *ratelimit.Write {
		w := change()
		w.TTLSet, w.TTLBelow = to, to
		return w
	}
	b.mustApply(t, extend(expiry)) // there was none
	b.mustRefuse(t, extend(expiry))
	b.mustRefuse(t, extend(expiry-1)) // never shorter
	b.mustApply(t, extend(expiry+1))
	b.mustApply(t, change(present(1, ratelimit.FormAdd, -1))) // no other write concerns it
	if b.state.ExpiresAt != expiry+1 {
		t.Errorf("expires at %d", b.state.ExpiresAt)
	}
	w := change()
	w.TTLRemove = true
	b.mustApply(t, w)
	if b.state.ExpiresAt != 0 {
		t.Errorf("expires at %d", b.state.ExpiresAt)
	}
	b.mustApply(t, w) // there is none to remove
	b.mustApply(t, extend(1))
}

func testSlots(t *testing.T, s suite) {
	b := s.bucket(t, "slots")
	b.mustApply(t, create(set(2, 20), set(5, 50))) // in no order, with gaps
	if n := len(b.state.Limits); n != 5 || b.state.Limits[0].On || b.state.Limits[1].Name != "limit2" || b.state.Limits[4].Balance != 50 {
		t.Errorf("%d slots: %+v", n, b.state.Limits)
	}
	b.mustRefuse(t, change(present(3, ratelimit.FormAdd, 1))) // a gap
	b.mustRefuse(t, change(present(6, ratelimit.FormAdd, 1))) // beyond the last
	b.mustApply(t, change(set(7, 70), set(1, 10), unbound(5, ratelimit.FormRemove, 0)))
	b.balance(t, 1, 10)
	b.balance(t, 2, 20)
	b.balance(t, 7, 70)
	b.mustRefuse(t, change(present(5, ratelimit.FormAdd, 1))) // removed
	b.mustApply(t, change(set(5, 51)))
	b.balance(t, 5, 51)

	many := s.bucket(t, "many")
	var limits []ratelimit.LimitWrite
	for slot := 20; slot > 0; slot-- {
		limits = append(limits, set(slot, ratelimit.Millitokens(slot)))
	}
	many.mustApply(t, create(limits...))
	many.balance(t, 20, 20)
	many.balance(t, 3, 3)
}

func testExtremes(t *testing.T, s suite) {
	const most, least = math.MaxInt64, math.MinInt64 + 1
	b := s.bucket(t, "extremes")
	w := create(set(1, most), set(2, least), set(3, 0))
	w.Stamp, w.Reshaped = -800_000_000_000, -800_000_000_001 // long before the epoch
	w.NewRevision, w.NewHash, w.Limits[0].Charged = most, math.MaxUint64, most
	w.TTLSet, w.TTLBelow = 1<<40, 1<<40
	w.Limits[0].Params = &ratelimit.Params{
		Name: "a." + "0123456789_-0123456789_-0123456789_-0123456789_-0123456789_-AB", Capacity: 1e18,
		Refill: ratelimit.Continuous{Amount: 1e18, Period: 1e12},
	}
	b.mustApply(t, w)
	b.mustRefuse(t, change(ratelimit.LimitWrite{Slot: 1, Min: ratelimit.NoMin, Max: most - 1}))
	b.mustRefuse(t, change(ratelimit.LimitWrite{Slot: 2, Min: least + 1, Max: ratelimit.NoMax}))
	b.mustApply(t, change(
		ratelimit.LimitWrite{Slot: 1, Min: most, Max: ratelimit.NoMax, Form: ratelimit.FormAdd, Value: least},
		ratelimit.LimitWrite{Slot: 2, Min: ratelimit.NoMin, Max: least, Form: ratelimit.FormAdd, Value: most},
		ratelimit.LimitWrite{Slot: 3, Min: 0, Max: 0, Form: ratelimit.FormSet, Value: least},
	))
	b.balance(t, 1, 0)
	b.balance(t, 2, 0)
	b.balance(t, 3, least)
	w = change()
	w.Stamp, w.Same, w.Revision, w.Shape = most, true, most, math.MaxUint64
	w.BornIs, w.AtMost = ptr(ratelimit.Stamp(-800_000_000_000)), ptr(ratelimit.Stamp(-800_000_000_001))
	b.mustApply(t, w)
}
