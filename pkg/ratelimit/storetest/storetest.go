package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Run tests a store. open is called once for each subtest, with its t to clean
// up by; it may return the same store each time, and one that holds buckets of
// earlier runs: each test charges keys that nobody ever used.
//
// The writes are those that the planners make: an amount is added to a limit
// only where a bound or Exists says that it is there, no lower bound is above
// the upper one, and Reshaped is not 0. A bucket that may be full is written
// again within a second by stamps, so that a store that drops full ones drops
// none of these.
func Run(t *testing.T, open func(t *testing.T) ratelimit.Store) {
	run := rand.Text()
	for _, c := range []struct {
		name string
		test func(t *testing.T, s suite)
	}{
		{"Absent", testAbsent},
		{"Create", testCreate},
		{"CreateOrFull", testCreateOrFull},
		{"Conditions", testConditions},
		{"OneOfManyConditions", testOneOfManyConditions},
		{"Forms", testForms},
		{"Counters", testCounters},
		{"NewShape", testNewShape},
		{"Expiry", testExpiry},
		{"Slots", testSlots},
		{"Extremes", testExtremes},
		{"Keys", testKeys},
		{"StatesStayAsTheyAre", testStatesStay},
		{"WritesAreNotKept", testWritesAreNotKept},
		{"CancelledContext", testCancelled},
		{"ConcurrentCharges", testConcurrentCharges},
		{"ConcurrentCreates", testConcurrentCreates},
		{"ConcurrentBuckets", testConcurrentBuckets},
		{"Random", testRandom},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, suite{store: open(t), unique: run + "/" + c.name}) })
	}
}

// suite is what one test works with.
type suite struct {
	store  ratelimit.Store
	unique string // a prefix of entities that no other test has
}

// failer is what both *testing.T and *rapid.T are.
type failer interface {
	Helper()
	Context() context.Context
	Fatalf(format string, args ...any)
}

func (s suite) key(t failer, name string) ratelimit.Key {
	t.Helper()
	k, err := ratelimit.NewKey("default", s.unique+"/"+name, "api", "")
	if err != nil {
		t.Fatalf("key of %q: %v", name, err)
	}
	return k
}

// bucket is one bucket in the store and what it must be.
type bucket struct {
	store ratelimit.Store
	key   ratelimit.Key
	state ratelimit.State
}

func (s suite) bucket(t failer, name string) *bucket {
	t.Helper()
	return &bucket{store: s.store, key: s.key(t, name)}
}

// send applies a write, and compares everything that comes of it with what the
// write means: the answer, the bucket as the answer has it, and as Get has it.
// It reports whether the condition was true.
func (b *bucket) send(t failer, w *ratelimit.Write) bool {
	t.Helper()
	w.Key = b.key
	want, holds := w.Execute(b.state)
	got, err := b.apply(t, w)
	var refused *ratelimit.RefusedError
	switch {
	case err == nil && !holds:
		t.Fatalf("the write was applied, its condition is false for %+v:\n%+v", b.state, *w)
	case err == nil:
		b.state = want
	case errors.As(err, &refused) && !holds:
		got = refused.State
	default:
		t.Fatalf("Apply: %v\nthe condition holds: %t, for %+v:\n%+v", err, holds, b.state, *w)
	}
	same(t, "Apply", b.state, got)
	b.read(t)
	return holds
}

// apply applies a write. One that the store says wasn't applied is sent again: on a
// busy machine a connection to a server isn't always there in time.
func (b *bucket) apply(t failer, w *ratelimit.Write) (got ratelimit.State, err error) {
	const attempts = 3
	for range attempts {
		if got, err = b.store.Apply(t.Context(), w); !errors.Is(err, ratelimit.ErrNotApplied) {
			break
		}
	}
	return got, err
}

// read compares what Get returns.
func (b *bucket) read(t failer) {
	t.Helper()
	got, err := b.store.Get(t.Context(), b.key)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	same(t, "Get", b.state, got)
}

// same compares two buckets. Slots at the end that nobody ever used say
// nothing.
func same(t failer, what string, want, got ratelimit.State) {
	t.Helper()
	want.Limits, got.Limits = used(want.Limits), used(got.Limits)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func used(limits []ratelimit.LimitState) []ratelimit.LimitState {
	n := len(limits)
	for n > 0 && limits[n-1] == (ratelimit.LimitState{}) {
		n--
	}
	return limits[:n]
}

// mustApply sends a write whose condition is true.
func (b *bucket) mustApply(t failer, w *ratelimit.Write) {
	t.Helper()
	if !b.send(t, w) {
		t.Fatalf("refused, for %+v:\n%+v", b.state, *w)
	}
}

// mustRefuse sends a write whose condition is false.
func (b *bucket) mustRefuse(t failer, w *ratelimit.Write) {
	t.Helper()
	if b.send(t, w) {
		t.Fatalf("applied, and left %+v:\n%+v", b.state, *w)
	}
}

// balance compares one balance with a number.
func (b *bucket) balance(t failer, slot int, want ratelimit.Millitokens) {
	t.Helper()
	if got := b.state.Limits[slot-1].Balance; got != want {
		t.Fatalf("balance of slot %d: %d, want %d", slot, got, want)
	}
}

// The base of the tests: a bucket of two limits, created at a moment after all
// that was before.
const (
	revision = int64(7)
	shape    = ratelimit.Shape(0xfedc_ba98_7654_3210) // more than an int64 holds
	now      = ratelimit.Stamp(40_000_000_000)
	expiry   = int64(1_900_000_000)
)

// params are those of a limit that fills so slowly that it never is full here.
func params(name string) *ratelimit.Params {
	p := ratelimit.ParamsOf(ratelimit.Limit{Name: name, Rate: 1, Period: ratelimit.MaxPeriod, Burst: 9})
	return &p
}

// set writes a balance and the parameters of a limit named by its slot.
func set(slot int, value ratelimit.Millitokens) ratelimit.LimitWrite {
	l := unbound(slot, ratelimit.FormSet, value)
	l.Params = params(fmt.Sprintf("limit%d", slot))
	return l
}

func unbound(slot int, form ratelimit.Form, value ratelimit.Millitokens) ratelimit.LimitWrite {
	return ratelimit.LimitWrite{Slot: slot, Min: ratelimit.NoMin, Max: ratelimit.NoMax, Form: form, Value: value}
}

// present is unbound for a limit that must be there.
func present(slot int, form ratelimit.Form, value ratelimit.Millitokens) ratelimit.LimitWrite {
	l := unbound(slot, form, value)
	l.Exists = true
	return l
}

// create makes a bucket, or is refused by one that is there.
func create(limits ...ratelimit.LimitWrite) *ratelimit.Write {
	return &ratelimit.Write{
		Op: ratelimit.OpCreate, Stamp: now,
		OrAbsent: true, Same: true, Revision: -1, Shape: 1,
		NewShape: true, NewRevision: revision, NewHash: shape, Reshaped: now,
		Limits: limits,
	}
}

// change changes a bucket that is there, whatever it is.
func change(limits ...ratelimit.LimitWrite) *ratelimit.Write {
	return &ratelimit.Write{Op: ratelimit.OpCharge, Stamp: now + 1, Limits: limits}
}

// started is a bucket with balances in its slots from 1 on.
func (s suite) started(t failer, name string, balances ...ratelimit.Millitokens) *bucket {
	t.Helper()
	b := s.bucket(t, name)
	var limits []ratelimit.LimitWrite
	for i, v := range balances {
		limits = append(limits, set(i+1, v))
	}
	b.mustApply(t, create(limits...))
	return b
}

func ptr[T any](v T) *T { return &v }
