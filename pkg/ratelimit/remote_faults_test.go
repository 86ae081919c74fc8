package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// failing is a store in memory whose writes fail as long as it has an error.
type failing struct {
	memory
	err   error
	calls int
}

func newFailing(err error) *failing {
	s := &failing{err: err}
	s.items = map[string]State{}
	s.fail = func(*Write) (bool, error) {
		s.calls++
		return false, s.err
	}
	return s
}

// set changes the error from now on.
func (s *failing) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func newLimiter(t *testing.T, c Config) *Limiter {
	t.Helper()
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return l
}

var (
	errNoRight   = fmt.Errorf("no such table: %w, %w", ErrNotApplied, ErrUnusable)
	errNoNetwork = fmt.Errorf("connection refused: %w", ErrNotApplied)
)

// A store that needs a person is not asked again until the deadline: the
// fallback answers at once, also for what is booked in any case.
func TestUnusableStore(t *testing.T) {
	f := fixed{"a": {limits: []Limit{PerHour("n", 10)}}}
	for name, remote := range map[string]*Remote{"direct": nil, "remote": {}} {
		for _, settle := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " settle ", settle), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newFailing(errNoRight)
					l := newLimiter(t, Config{Store: s, Remote: remote})
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					charge := Charge{Query: Query{Key: mustKey(t, "default", "a", "api", "")}, Cost: EachLimit(1), Settle: settle}
					start := time.Now()
					_, err := l.Decide(ctx, Ask{Now: start, Resolver: f, Charges: []Charge{charge}})
					if !errors.Is(err, ErrUnavailable) || !errors.Is(err, ErrUnusable) || time.Since(start) > 0 || s.calls != 1 {
						t.Errorf("%v after %v and %d calls", err, time.Since(start), s.calls)
					}
				})
			})
		}
	}
}

// Buckets are charged by a clock that stands still or was set back; nothing
// that the engine waits for does.
func TestClockThatStandsStill(t *testing.T) {
	f := fixed{"a": {limits: []Limit{PerHour("n", 500)}}}
	synctest.Test(t, func(t *testing.T) {
		now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
		s := newFailing(nil)
		l := newLimiter(t, Config{
			Store: s, Resolver: f, Now: func() time.Time { return now }, Remote: &Remote{MaxWritesPerSecond: 100},
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for i := range 50 {
			if _, err := l.Acquire(ctx, Request{Entity: "a", Resource: "api"}); err != nil {
				t.Fatalf("charge %d: %v", i, err)
			}
			time.Sleep(10 * time.Millisecond) // the process's bound on writes
		}
		s.set(errNoNetwork)
		if _, err := l.Acquire(ctx, Request{Entity: "a", Resource: "api"}); !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
			t.Errorf("nobody listens: %v", err)
		}
	})
}

func TestClockThatIsSetBack(t *testing.T) {
	f := fixed{"a": {limits: []Limit{PerHour("n", 10)}}}
	synctest.Test(t, func(t *testing.T) {
		now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
		s := newFailing(nil)
		l := newLimiter(t, Config{Store: s, Resolver: f, Now: func() time.Time { return now }, Remote: &Remote{}})
		lease, err := l.Acquire(t.Context(), Request{Entity: "a", Resource: "api", Consume: map[string]int64{"n": 10}})
		if err != nil {
			t.Fatal(err)
		}
		// Given back by another process.
		lease.limiter = newLimiter(t, Config{Store: s, Resolver: f, Now: func() time.Time { return now }})
		now = now.Add(-30 * time.Minute)
		if err := lease.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		// What was seen is of the future: it proves nothing for half an hour.
		calls := s.calls
		if _, err := l.Acquire(t.Context(), Request{Entity: "a", Resource: "api"}); err != nil || s.calls == calls {
			t.Errorf("%v, %d calls", err, s.calls-calls)
		}
	})
}

// What must be booked waits for a store that takes no writes, but not for ever:
// it would pile up.
func TestPatienceEnds(t *testing.T) {
	f := fixed{"a": {limits: []Limit{PerHour("n", 10)}}}
	synctest.Test(t, func(t *testing.T) {
		s := newFailing(errNoNetwork)
		l := newLimiter(t, Config{Store: s, Resolver: f, Remote: &Remote{}})
		book := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := l.Acquire(ctx, Request{Entity: "a", Resource: "api", Settle: true})
			return err
		}
		if err := book(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("no answer in time: %v", err)
		}
		time.Sleep(patience / 2)
		s.set(nil)
		time.Sleep(time.Second)
		if booked, _ := s.Get(t.Context(), mustKey(t, "default", "a", "api", "")); booked.Limits[0].Charged != Milli(1) {
			t.Error("what was settled in a short outage was not booked")
		}
		s.set(errNoNetwork)
		for range 100 {
			_ = book()
		}
		time.Sleep(2 * patience)
		if e := l.engine.(*remote); e.busy() {
			t.Error("settlements still wait for a store that is gone")
		}
	})
}

// A denial by one bucket stands, whatever the other's store says: a fallback
// that allows would admit what is surely exhausted.
func TestDenialStandsBesideAFailure(t *testing.T) {
	f := fixed{"full": {limits: []Limit{PerHour("n", 10)}}, "lost": {limits: []Limit{PerHour("n", 10)}}}
	synctest.Test(t, func(t *testing.T) {
		s := &memory{items: map[string]State{}}
		charge := func(entity string, n int64, settle bool) Charge {
			return Charge{Query: Query{Key: mustKey(t, "default", entity, "api", "")}, Cost: EachLimit(n), Settle: settle}
		}
		first := newLimiter(t, Config{Store: s})
		if d, err := first.Decide(t.Context(), Ask{Now: time.Now(), Resolver: f, Charges: []Charge{charge("full", 10, false)}}); err != nil || !d.Allowed {
			t.Fatalf("%+v, %v", d, err)
		}
		s.fail = func(w *Write) (bool, error) {
			if w.Key.Entity() == "lost" {
				return false, errors.New("no route")
			}
			return false, nil
		}
		for _, settle := range []bool{false, true} {
			l := newLimiter(t, Config{Store: s, Remote: &Remote{}}) // has seen nothing
			d, err := l.Decide(t.Context(), Ask{
				Now: time.Now(), Resolver: f, OnUnavailable: FallbackAllow,
				Charges: []Charge{charge("full", 1, false), charge("lost", 1, settle)},
			})
			// A settlement that was lost is not: that is for the fallback.
			if err != nil || d.Allowed != settle || (d.Source == SourceFallback) != settle {
				t.Errorf("settle %t: %+v, %v", settle, d, err)
			}
		}
	})
}

// A client that waits as long as it was told is not told to wait again.
func TestWaitCoversThePollFloor(t *testing.T) {
	limit := PerSecond("n", 20).WithBurst(4)
	f := fixed{"a": {limits: []Limit{limit}}}
	inBubble(t, 0, f, func(t *testing.T, l *Limiter, _ *slow) {
		r := Request{Entity: "a", Resource: "api"}
		for i := range 200 {
			_, err := l.Acquire(t.Context(), r)
			var no *ExceededError
			if !errors.As(err, &no) {
				time.Sleep(time.Millisecond) // so that what is missing is of any size
				continue
			}
			time.Sleep(no.RetryAfter)
			if _, err := l.Acquire(t.Context(), r); err != nil {
				t.Fatalf("try %d: after %v: %v", i, no.RetryAfter, err)
			}
		}
	})
}

// Until the store is asked again, nothing that was refilled is given away: what
// is admitted is charged.
func TestNothingIsAdmittedUncharged(t *testing.T) {
	for _, limit := range []Limit{PerSecond("n", 20).WithBurst(4), PerSecond("n", 20).WithBurst(1), PerSecond("n", 100)} {
		f := fixed{"a": {limits: []Limit{limit}}}
		inBubble(t, 4*time.Millisecond, f, func(t *testing.T, l *Limiter, s *slow) {
			admitted := int64(0)
			for range 3000 {
				if _, err := l.Acquire(t.Context(), Request{Entity: "a", Resource: "api"}); err == nil {
					admitted++
				}
				time.Sleep(time.Millisecond)
			}
			state, err := s.memory.Get(t.Context(), mustKey(t, "default", "a", "api", ""))
			if charged := state.Limits[0].Charged.Tokens(); err != nil || charged != admitted {
				t.Errorf("%s: admitted %d, charged %d, %v", limit, admitted, charged, err)
			}
		})
	}
}

// The names that a charge takes from are those of the newest limits.
func TestJobFollowsTheBucketsLimits(t *testing.T) {
	target := &Target{Limits: []Limit{PerHour("a", 1)}, Revision: 1}
	j := &job{kind: jobCharge, target: target, costs: []Cost{EachLimit(1)}}
	on := func(revision int64, names ...string) *State {
		s := State{Exists: true, Revision: revision}
		for _, n := range names {
			s.Limits = append(s.Limits, LimitState{Params: ParamsOf(PerHour(n, 1)), On: true})
		}
		return &s
	}
	for _, c := range []struct {
		state *State
		want  int
	}{{&State{}, 1}, {on(1, "a", "b"), 1}, {on(2, "a", "b"), 2}, {on(3, "b"), 1}, {&State{}, 1}} {
		j.ask(c.state)
		if len(j.wants) != c.want {
			t.Errorf("revision %d: wants %+v", c.state.Revision, j.wants)
		}
	}
	if j.wants[0].name != "a" {
		t.Errorf("of an absent bucket: %+v", j.wants)
	}
}
