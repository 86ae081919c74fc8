package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/internal/faultproxy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// created is a bucket with 1,000 tokens in the table, and a write that takes
// one of them.
func created(t *testing.T, s *Store, entity string) *ratelimit.Write {
	t.Helper()
	p := ratelimit.ParamsOf(ratelimit.Custom("rpm", 1000, 1, ratelimit.MaxPeriod))
	w := &ratelimit.Write{
		Key: key(t, entity), Op: ratelimit.OpCreate, Stamp: 1000, OrAbsent: true, Same: true, Revision: -1,
		NewShape: true, Reshaped: 1000,
		Limits: []ratelimit.LimitWrite{{
			Slot: 1, Min: ratelimit.NoMin, Max: ratelimit.NoMax, Form: ratelimit.FormSet, Value: p.Capacity, Params: &p,
		}},
	}
	if _, err := s.Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	return &ratelimit.Write{
		Key: w.Key, Op: ratelimit.OpCharge, Stamp: 1001, Same: true,
		Limits: []ratelimit.LimitWrite{{Slot: 1, Min: 1000, Max: ratelimit.NoMax, Form: ratelimit.FormAdd, Value: -1000, Charged: 1000}},
	}
}

// charged is how many tokens the bucket counts as taken.
func charged(t *testing.T, s *Store, k ratelimit.Key) int64 {
	t.Helper()
	state, err := s.Get(context.WithoutCancel(t.Context()), k)
	if err != nil {
		t.Fatal(err)
	}
	return state.Limits[0].Charged.Tokens()
}

// faultTest is a fault, and what it must be taken for.
type faultTest struct {
	fault   faultproxy.Fault
	kind    Kind
	applied int64 // how often the table has it
	reasons []string
}

func faultTests() []faultTest {
	throttle := faultproxy.Throttle
	tests := []faultTest{
		{faultproxy.Fault{}, KindOK, 1, nil},
		{faultproxy.Fault{Before: time.Millisecond, After: time.Millisecond}, KindOK, 1, nil},
		{faultproxy.Fault{Action: faultproxy.DropBefore}, KindUnknown, 0, nil},
		{faultproxy.Fault{Action: faultproxy.DropAfter}, KindUnknown, 1, nil},
		{faultproxy.Fault{Action: faultproxy.FailBefore}, KindUnknown, 0, nil},
		{faultproxy.Fault{Action: faultproxy.FailAfter}, KindUnknown, 1, nil},
		{faultproxy.Fault{Action: faultproxy.FailBefore, Status: 503}, KindUnknown, 0, nil},
		{faultproxy.Fault{Action: faultproxy.FailAfter, Status: 503}, KindUnknown, 1, nil},
		{faultproxy.Fault{Action: faultproxy.FailAfter, Status: 504}, KindUnknown, 1, nil},
		{faultproxy.Fault{Action: faultproxy.Stall}, KindUnknown, 0, nil},
		{faultproxy.Fault{Action: faultproxy.StallAfter}, KindUnknown, 1, nil},
		{faultproxy.Fault{After: time.Hour}, KindUnknown, 1, nil},
		{faultproxy.Fault{Action: faultproxy.Cut}, KindUnknown, 1, nil},
		{faultproxy.Conflict(), KindConflict, 0, nil},
		{faultproxy.Fault{Action: faultproxy.Refuse, Code: faultproxy.CodeForbidden, Message: "no"}, KindMisconfigured, 0, nil},
		{faultproxy.Fault{Action: faultproxy.Refuse, Code: faultproxy.CodeMissing, Message: "no"}, KindMisconfigured, 0, nil},
		{faultproxy.Fault{Action: faultproxy.Refuse, Code: "ValidationException", Message: "no"}, KindRejected, 0, nil},
		{faultproxy.Fault{Action: faultproxy.Refuse, Code: "SomethingNew", Message: "no"}, KindRejected, 0, nil},
		{throttle(faultproxy.CodeThroughput), KindThrottled, 0, nil},
		{faultproxy.Fault{Action: faultproxy.FailBefore, Status: 429}, KindThrottled, 0, nil},
	}
	for _, code := range []string{faultproxy.CodeThroughput, faultproxy.CodeThrottling, faultproxy.CodeLimit} {
		for _, on := range []string{"Table", "Index"} {
			for _, why := range []string{
				"ProvisionedThroughputExceeded", "AccountLimitExceeded", "KeyRangeThroughputExceeded", "MaxOnDemandThroughputExceeded",
			} {
				reason := on + "Write" + why
				tests = append(tests, faultTest{throttle(code, reason), KindThrottled, 0, []string{reason}})
			}
		}
	}
	return tests
}

// TestFaults does each thing that can go wrong to a charge, and compares what
// the store says of it with what the table has: what it calls not applied is
// not there, what is open may be, and nothing is there twice.
func TestFaults(t *testing.T) {
	var seen calls
	s, proxy := newStore(t, func(c *Config) { c.Observer = &seen })
	for i, c := range faultTests() {
		t.Run(fmt.Sprintf("%s %s %d %v", c.fault.Action, c.fault.Code, c.fault.Status, c.fault.Reasons), func(t *testing.T) {
			w := created(t, s, fmt.Sprint("entity ", i))
			seen.take()
			proxy.Set(func(c2 faultproxy.Call) faultproxy.Fault {
				if c2.Operation != "UpdateItem" {
					return faultproxy.Fault{}
				}
				return c.fault
			})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			if c.fault.Action == faultproxy.Stall || c.fault.Action == faultproxy.StallAfter || c.fault.After == time.Hour {
				cancel()
				ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
			}
			_, err := s.Apply(ctx, w)
			cancel()
			proxy.Set(nil)
			all := seen.take()
			if len(all) != 1 || all[0].Kind != c.kind || !slices.Equal(all[0].Reasons, c.reasons) {
				t.Errorf("observed %+v, want one %s for %v", all, c.kind, c.reasons)
			}
			means(t, err, c.kind)
			if n := charged(t, s, w.Key); n != c.applied {
				t.Errorf("%v: the table has it %d times, want %d", err, n, c.applied)
			}
		})
	}
}

// means checks what the engine learns from the error of a write.
func means(t *testing.T, err error, kind Kind) {
	t.Helper()
	notApplied := errors.Is(err, ratelimit.ErrNotApplied)
	if wantNot := kind != KindOK && kind != KindUnknown; notApplied != wantNot || (err == nil) != (kind == KindOK) {
		t.Errorf("%v: not applied %t, want %t", err, notApplied, wantNot)
	}
	if errors.Is(err, ratelimit.ErrThrottled) != (kind == KindThrottled) ||
		errors.Is(err, ratelimit.ErrUnusable) != (kind == KindMisconfigured || kind == KindRejected) {
		t.Errorf("%v, after which the engine would not know what to do", err)
	}
}

// TestFaultsAtRandom charges one bucket under faults of every kind: what was
// certainly applied is there once, what is open at most once, all else not.
func TestFaultsAtRandom(t *testing.T) {
	for seed := range uint64(3) {
		s, proxy := newStore(t)
		w := created(t, s, "one")
		proxy.Set(faultproxy.Random("UpdateItem", seed,
			faultproxy.Share{PerMille: 100, Fault: faultproxy.Fault{Action: faultproxy.DropBefore}},
			faultproxy.Share{PerMille: 100, Fault: faultproxy.Fault{Action: faultproxy.DropAfter}},
			faultproxy.Share{PerMille: 100, Fault: faultproxy.Fault{Action: faultproxy.FailAfter}},
			faultproxy.Share{PerMille: 50, Fault: faultproxy.Fault{Action: faultproxy.Cut}},
			faultproxy.Share{PerMille: 100, Fault: faultproxy.Throttle(faultproxy.CodeThroughput, "TableWriteKeyRangeThroughputExceeded")},
			faultproxy.Share{PerMille: 50, Fault: faultproxy.Conflict()},
		))
		var applied, open int64
		for range 200 {
			_, err := s.Apply(t.Context(), w)
			switch {
			case err == nil:
				applied++
			case !errors.Is(err, ratelimit.ErrNotApplied):
				open++
			}
		}
		proxy.Set(nil)
		n, there := charged(t, s, w.Key), int64(0)
		if err := proxy.Close(); err != nil { // the last call too has its record then
			t.Error(err)
		}
		for _, r := range proxy.Records() {
			if r.Operation == "UpdateItem" {
				there += int64(r.Applied())
			}
		}
		there-- // the creation
		if n != there || n < applied || n > applied+open || open == 0 || applied == 0 {
			t.Errorf("seed %d: %d in the table, %d by the proxy, %d certain, %d open", seed, n, there, applied, open)
		}
	}
}

// TestNothingSent wants writes that never left the process to be known as such.
func TestNothingSent(t *testing.T) {
	var seen calls
	s, proxy := newStore(t, func(c *Config) { c.Observer = &seen })
	w := created(t, s, "one")
	if err := proxy.Close(); err != nil {
		t.Fatal(err)
	}
	s.transport.CloseIdleConnections()
	seen.take()
	_, err := s.Apply(t.Context(), w)
	if all := seen.take(); !errors.Is(err, ratelimit.ErrNotApplied) || len(all) != 1 || all[0].Kind != KindUnsent {
		t.Errorf("nobody listens: %v, observed %+v", err, all)
	}
	// A network that drops all: the connection is never made.
	s.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err = s.Apply(ctx, w); !errors.Is(err, ratelimit.ErrNotApplied) {
		t.Errorf("no connection in time: %v", err)
	}
}

// TestThrottledError wants DynamoDB's reasons in the error.
func TestThrottledError(t *testing.T) {
	s, proxy := newStore(t)
	w := created(t, s, "one")
	proxy.Set(func(faultproxy.Call) faultproxy.Fault {
		return faultproxy.Throttle(faultproxy.CodeThroughput, "TableWriteKeyRangeThroughputExceeded")
	})
	_, err := s.Apply(t.Context(), w)
	var throttled *ThrottledError
	var sdk *types.ProvisionedThroughputExceededException
	if !errors.As(err, &throttled) || !slices.Equal(throttled.Reasons, []string{"TableWriteKeyRangeThroughputExceeded"}) || !errors.As(err, &sdk) {
		t.Errorf("%v", err)
	}
	proxy.Set(nil)
}

// TestReadsTryAgain: a read may be sent as often as it takes.
func TestReadsTryAgain(t *testing.T) {
	s, proxy := newStore(t)
	w := created(t, s, "one")
	before := len(proxy.Records())
	fails := 2
	proxy.Set(func(c faultproxy.Call) faultproxy.Fault {
		if c.Operation == "GetItem" && fails > 0 {
			fails--
			return faultproxy.Fault{Action: faultproxy.FailBefore}
		}
		return faultproxy.Fault{}
	})
	if state, err := s.Get(t.Context(), w.Key); err != nil || !state.Exists {
		t.Errorf("%+v, %v", state, err)
	}
	if n := len(proxy.Records()) - before; n != 3 {
		t.Errorf("%d calls, want 3", n)
	}
}

// TestConnectionsAreBounded has a store stall: calls beyond the connections that
// there may be were not sent, and are known as such.
func TestConnectionsAreBounded(t *testing.T) {
	const most, asked = 6, 30
	s, proxy := newStore(t, func(c *Config) { c.Connections = most })
	w := created(t, s, "one")
	proxy.Set(func(c faultproxy.Call) faultproxy.Fault {
		if c.Operation != "UpdateItem" {
			return faultproxy.Fault{}
		}
		return faultproxy.Fault{Action: faultproxy.Stall}
	})
	before := proxy.Connections()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	results := make(chan error, asked)
	for range asked {
		go func() {
			_, err := s.Apply(ctx, w)
			results <- err
		}()
	}
	open := 0
	for range asked {
		if err := <-results; !errors.Is(err, ratelimit.ErrNotApplied) {
			open++
		}
	}
	proxy.Set(nil)
	// Those that end with their calls may be opened anew, and be given to calls
	// that are about to end too.
	if n := proxy.Connections() - before; open > 2*most || open == 0 || n > 2*most {
		t.Errorf("%d of %d were sent over %d connections, want %d at once", open, asked, n, most)
	}
}

// TestConnectionsAreKept charges in waves: each finds the connections of the
// wave before.
func TestConnectionsAreKept(t *testing.T) {
	const wave, waves = 24, 6
	s, proxy := newStore(t)
	w := created(t, s, "one")
	for range waves {
		done := make(chan error, wave)
		for range wave {
			go func() {
				_, err := s.Apply(t.Context(), w)
				done <- err
			}()
		}
		for range wave {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	// A wave may begin before the last connection of the one before is put back.
	if n := proxy.Connections(); n > 2*wave {
		t.Errorf("%d connections for waves of %d", n, wave)
	}
}
