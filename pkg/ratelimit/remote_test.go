package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slow is a store that takes its time, however long its caller waits.
type slow struct {
	memory
	takes  atomic.Int64 // nanoseconds
	calls  atomic.Int64
	gets   atomic.Int64
	broken atomic.Bool
}

func (s *slow) Apply(ctx context.Context, w *Write) (State, error) {
	s.calls.Add(1)
	time.Sleep(time.Duration(s.takes.Load()) / 2)
	if s.broken.Load() {
		return State{}, errors.New("no route")
	}
	state, err := s.memory.Apply(ctx, w)
	time.Sleep(time.Duration(s.takes.Load()) / 2)
	return state, err
}

func (s *slow) Get(ctx context.Context, k Key) (State, error) {
	s.gets.Add(1)
	time.Sleep(time.Duration(s.takes.Load()))
	if s.broken.Load() {
		return State{}, errors.New("no route")
	}
	return s.memory.Get(ctx, k)
}

// inBubble runs a test of a limiter on a slow store in simulated time.
func inBubble(t *testing.T, takes time.Duration, r Resolver, f func(t *testing.T, l *Limiter, s *slow)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{memory: memory{items: map[string]State{}}}
		s.takes.Store(int64(takes))
		l, err := New(Config{Store: s, Resolver: r, Slack: -1, Remote: &Remote{}})
		if err != nil {
			t.Fatal(err)
		}
		f(t, l, s)
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func held1(t *testing.T, s *slow, entity, limit string) int64 {
	t.Helper()
	state, err := s.memory.Get(t.Context(), mustKey(t, "default", entity, "api", ""))
	if err != nil {
		t.Fatal(err)
	}
	return state.Find(limit).Available(StampOf(time.Now())).Tokens()
}

func TestManyCallersAreMerged(t *testing.T) {
	f := fixed{"a": {limits: []Limit{PerHour("n", 100)}}}
	inBubble(t, 10*time.Millisecond, f, func(t *testing.T, l *Limiter, s *slow) {
		var wg sync.WaitGroup
		var admitted, denied atomic.Int64
		for range 250 {
			wg.Go(func() {
				_, err := l.Acquire(t.Context(), Request{Entity: "a", Resource: "api"})
				var no *ExceededError
				switch {
				case err == nil:
					admitted.Add(1)
				case errors.As(err, &no):
					denied.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if admitted.Load() != 100 || denied.Load() != 150 {
			t.Errorf("%d admitted, %d denied", admitted.Load(), denied.Load())
		}
		if n := s.calls.Load(); n > 5 {
			t.Errorf("%d writes", n)
		}
		calls := s.calls.Load()
		_, err := l.Acquire(t.Context(), Request{Entity: "a", Resource: "api"})
		var no *ExceededError
		if !errors.As(err, &no) || no.Decision.Source != SourceCache || s.calls.Load() != calls || s.gets.Load() != 0 {
			t.Errorf("%v: %d calls", err, s.calls.Load()-calls)
		}
	})
}

// A store that takes longer than the caller waits: the fallback answers in
// time, and what the late write took is used or given back.
func TestDeadline(t *testing.T) {
	f := fixed{"a": {limits: []Limit{PerHour("n", 10)}}}
	charge := []Charge{{Query: Query{Key: mustKey(t, "default", "a", "api", "")}, Cost: EachLimit(1)}}
	for _, c := range []struct {
		fallback Fallback
		allowed  bool
		err      bool
		left     int64
	}{
		{FallbackError, false, true, 10},
		{FallbackDeny, false, false, 10},
		{FallbackAllow, true, false, 9},
		{FallbackLocal, true, false, 10},
	} {
		t.Run(c.fallback.String(), func(t *testing.T) {
			inBubble(t, 50*time.Millisecond, f, func(t *testing.T, l *Limiter, s *slow) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				start := time.Now()
				d, err := l.Decide(ctx, Ask{Now: start, Resolver: f, Charges: charge, OnUnavailable: c.fallback})
				if took := time.Since(start); took > 20*time.Millisecond {
					t.Errorf("decided after %v", took)
				}
				if d.Allowed != c.allowed || (err != nil) != c.err || err != nil && !errors.Is(err, ErrUnavailable) || err == nil && d.Source != SourceFallback {
					t.Errorf("%+v, %v", d, err)
				}
				time.Sleep(time.Second)
				if got := held1(t, s, "a", "n"); got != c.left {
					t.Errorf("%d left", got)
				}
			})
		})
	}
}

func TestOutageAndRecovery(t *testing.T) {
	f := fixed{"a": {limits: []Limit{PerHour("n", 100)}}}
	charge := []Charge{{Query: Query{Key: mustKey(t, "default", "a", "api", "")}, Cost: EachLimit(1)}}
	inBubble(t, 5*time.Millisecond, f, func(t *testing.T, l *Limiter, s *slow) {
		s.broken.Store(true)
		admitted := 0
		for range 50 {
			d, err := l.Decide(t.Context(), Ask{Now: time.Now(), Resolver: f, Charges: charge, OnUnavailable: FallbackLocal})
			if err != nil || d.Source != SourceFallback {
				t.Fatalf("%+v, %v", d, err)
			}
			if d.Allowed {
				admitted++
			} else if d.RetryAfter <= 0 {
				t.Errorf("no wait: %+v", d)
			}
		}
		if admitted != 10 { // a tenth of the capacity
			t.Errorf("%d admitted from the local share", admitted)
		}
		s.broken.Store(false)
		d, err := l.Decide(t.Context(), Ask{Now: time.Now(), Resolver: f, Charges: charge, OnUnavailable: FallbackLocal})
		if err != nil || !d.Allowed || d.Source != SourceStore {
			t.Errorf("after the outage: %+v, %v", d, err)
		}
	})
}

func TestRemoteCascade(t *testing.T) {
	f := fixed{"parent": {limits: []Limit{PerHour("n", 30)}}}
	for i := range 20 {
		e := f["parent"]
		e.limits, e.parent = []Limit{PerHour("n", 10)}, "parent"
		f[fmt.Sprint("child-", i)] = e
	}
	inBubble(t, 10*time.Millisecond, f, func(t *testing.T, l *Limiter, s *slow) {
		var wg sync.WaitGroup
		var admitted atomic.Int64
		for i := range 20 {
			for range 10 {
				wg.Go(func() {
					if _, err := l.Acquire(t.Context(), Request{Entity: fmt.Sprint("child-", i), Resource: "api"}); err == nil {
						admitted.Add(1)
					}
				})
			}
		}
		wg.Wait()
		time.Sleep(time.Minute) // compensation, which nobody waits for
		spent := int64(0)
		for i := range 20 {
			spent += 10 - held1(t, s, fmt.Sprint("child-", i), "n")
		}
		if admitted.Load() > 30 || spent != admitted.Load() || 30-held1(t, s, "parent", "n") != spent {
			t.Errorf("%d admitted; the children spent %d, the parent has %d left", admitted.Load(), spent, held1(t, s, "parent", "n"))
		}
		if admitted.Load() < 25 {
			t.Errorf("only %d admitted", admitted.Load())
		}
	})
}

func TestRemoteLease(t *testing.T) {
	f := fixed{"a": {limits: []Limit{PerHour("rpm", 100), PerHour("tpm", 1000)}}}
	inBubble(t, 5*time.Millisecond, f, func(t *testing.T, l *Limiter, s *slow) {
		r := Request{Entity: "a", Resource: "api", Consume: map[string]int64{"rpm": 1, "tpm": 500}}
		err := l.Do(t.Context(), r, func(_ context.Context, lease *Lease) error { return lease.Adjust(map[string]int64{"tpm": 700}) })
		if err != nil {
			t.Fatal(err)
		}
		if got := held1(t, s, "a", "tpm"); got != -200 {
			t.Errorf("in debt: %d", got)
		}
		if _, err := l.Acquire(t.Context(), r); err == nil {
			t.Error("admitted while in debt")
		}
		lease, err := l.Acquire(t.Context(), Request{Entity: "a", Resource: "api", Consume: map[string]int64{"rpm": 5}})
		if err != nil {
			t.Fatal(err)
		}
		if err := lease.Close(); err != nil {
			t.Fatal(err)
		}
		if got := held1(t, s, "a", "rpm"); got != 99 {
			t.Errorf("after a rollback: %d", got)
		}
		status, err := l.Balance(t.Context(), r)
		if err != nil || len(status[0].Limits) != 2 || status[0].Limits[1].Balance.Tokens() != -200 {
			t.Errorf("%+v, %v", status, err)
		}
	})
}

// The same buckets are charged alike by both engines.
func TestRemoteThroughTime(t *testing.T) {
	f := fixed{"a": {limits: []Limit{PerMinute("rpm", 5)}}}
	inBubble(t, 0, f, func(t *testing.T, l *Limiter, _ *slow) {
		for range 5 {
			if _, err := l.Acquire(t.Context(), Request{Entity: "a", Resource: "api"}); err != nil {
				t.Fatal(err)
			}
		}
		var no *ExceededError
		_, err := l.Acquire(t.Context(), Request{Entity: "a", Resource: "api"})
		if !errors.As(err, &no) || no.RetryAfter > 12*time.Second || no.RetryAfter < 11900*time.Millisecond {
			t.Fatalf("%v", err)
		}
		time.Sleep(no.RetryAfter - time.Millisecond)
		if _, err = l.Acquire(t.Context(), Request{Entity: "a", Resource: "api"}); !errors.As(err, &no) {
			t.Fatalf("a millisecond early: %v", err)
		}
		// That asked the store, which is not asked again for a quarter of a second.
		if no.RetryAfter != maxPollFloor {
			t.Errorf("a millisecond early: told to wait %v", no.RetryAfter)
		}
		time.Sleep(no.RetryAfter)
		if _, err = l.Acquire(t.Context(), Request{Entity: "a", Resource: "api"}); err != nil {
			t.Fatalf("in time: %v", err)
		}
	})
}
