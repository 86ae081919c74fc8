package ratelimit

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// memory is the least that a store can be; it counts its writes.
type memory struct {
	mu     sync.Mutex
	items  map[string]State
	writes []Op
	fail   func(w *Write) (apply bool, err error)
}

func (m *memory) Apply(_ context.Context, w *Write) (State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		if apply, err := m.fail(w); err != nil {
			if s, ok := w.Execute(m.items[w.Key.ID()]); apply && ok {
				m.items[w.Key.ID()] = s
			}
			return State{}, err
		}
	}
	s, ok := w.Execute(m.items[w.Key.ID()])
	if !ok {
		return State{}, &RefusedError{State: s}
	}
	m.writes = append(m.writes, w.Op)
	m.items[w.Key.ID()] = s
	return s, nil
}

func (m *memory) Get(_ context.Context, k Key) (State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.items[k.ID()], nil
}

// fixed resolves from a table of entities; an entity may have a parent.
type fixed map[string]struct {
	limits   []Limit
	revision int64
	mode     Mode
	parent   string
}

func (f fixed) Resolve(_ context.Context, q Query) (Resolution, error) {
	var r Resolution
	k := q.Key
	for e, ok := f[k.Entity()]; ok; e, ok = f[e.parent] {
		r.Targets = append(r.Targets, Target{Key: k, Limits: e.limits, Level: LevelEntity, Revision: e.revision, Mode: e.mode, Expires: true})
		if e.parent == "" {
			break
		}
		k = k.WithEntity(e.parent)
	}
	if len(r.Targets) == 0 && len(q.DefaultLimits) > 0 {
		r.Targets = []Target{{Key: k, Limits: q.DefaultLimits, Level: LevelDefault, Expires: true}}
	}
	return r, nil
}

// bench is a limiter on a store in memory, with a clock that tests move.
type bench struct {
	*Limiter
	store *memory
	clock time.Time
}

func newBench(t *testing.T, r Resolver) *bench {
	t.Helper()
	b := &bench{store: &memory{items: map[string]State{}}, clock: Epoch.Add(300 * 24 * time.Hour)}
	l, err := New(Config{Store: b.store, Resolver: r, Now: func() time.Time { return b.clock }, Slack: -1})
	if err != nil {
		t.Fatal(err)
	}
	b.Limiter = l
	return b
}

func (b *bench) acquire(t *testing.T, entity string, consume map[string]int64) (*Lease, *ExceededError) {
	t.Helper()
	l, err := b.Acquire(t.Context(), Request{Entity: entity, Resource: "api", Consume: consume})
	var denied *ExceededError
	if err != nil && !errors.As(err, &denied) {
		t.Fatal(err)
	}
	return l, denied
}

// spend acquires what must be there.
func (b *bench) spend(t *testing.T, entity string, consume map[string]int64) {
	t.Helper()
	if _, denied := b.acquire(t, entity, consume); denied != nil {
		t.Fatal(denied)
	}
}

func (b *bench) balance(t *testing.T, entity, limit string) int64 {
	t.Helper()
	s, err := b.Balance(t.Context(), Request{Entity: entity, Resource: "api"})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range s[0].Limits {
		if l.Limit.Name == limit {
			return l.Balance.Tokens()
		}
	}
	t.Fatalf("no limit %s in %v", limit, s)
	return 0
}

func TestBucketThroughTime(t *testing.T) {
	b := newBench(t, fixed{"a": {limits: []Limit{PerMinute("rpm", 5)}}})
	for i := range 5 {
		if _, denied := b.acquire(t, "a", nil); denied != nil {
			t.Fatalf("request %d: %v", i, denied)
		}
	}
	_, denied := b.acquire(t, "a", nil)
	if denied == nil || denied.RetryAfter != 12*time.Second || denied.RetryAfterSeconds() != 12 {
		t.Fatalf("the sixth: %v", denied)
	}
	b.clock = b.clock.Add(12*time.Second - time.Millisecond)
	if _, denied = b.acquire(t, "a", nil); denied == nil || denied.RetryAfter != time.Millisecond || denied.RetryAfterSeconds() != 1 {
		t.Fatalf("a millisecond early: %v", denied)
	}
	b.clock = b.clock.Add(time.Millisecond)
	if _, denied = b.acquire(t, "a", nil); denied != nil {
		t.Fatalf("in time: %v", denied)
	}
	if n := len(b.store.writes); n != 6 {
		t.Errorf("%d writes for 6 admitted requests", n)
	}
	h := http.Header{}
	_, denied = b.acquire(t, "a", nil)
	denied.SetHeaders(h)
	if h.Get("Retry-After") != "12" {
		t.Errorf("headers: %v", h)
	}
}

func TestAllLimitsOrNone(t *testing.T) {
	b := newBench(t, fixed{"a": {limits: []Limit{PerMinute("rpm", 5), PerMinute("tpm", 100)}}})
	b.spend(t, "a", map[string]int64{"rpm": 1, "tpm": 60})
	_, denied := b.acquire(t, "a", map[string]int64{"rpm": 1, "tpm": 60})
	if denied == nil || denied.RetryAfter != 12*time.Second {
		t.Fatalf("denied: %v", denied)
	}
	if r, tp := b.balance(t, "a", "rpm"), b.balance(t, "a", "tpm"); r != 4 || tp != 40 {
		t.Errorf("rpm %d, tpm %d", r, tp)
	}
	if _, denied := b.acquire(t, "a", map[string]int64{"tpm": 101}); !errors.Is(denied, ErrUnsatisfiable) || denied.RetryAfter != 0 {
		t.Errorf("above capacity: %v", denied)
	}
}

func TestLookIsRefusedAtZero(t *testing.T) {
	b := newBench(t, fixed{"a": {limits: []Limit{PerMinute("tpm", 60)}}})
	look := map[string]int64{"tpm": 0}
	if _, denied := b.acquire(t, "a", look); denied != nil || len(b.store.writes) != 0 {
		t.Fatalf("%v, writes %v", denied, b.store.writes)
	}
	b.spend(t, "a", map[string]int64{"tpm": 60})
	if _, denied := b.acquire(t, "a", look); denied == nil || denied.RetryAfter != time.Millisecond {
		t.Fatalf("at zero: %v", denied)
	}
	b.clock = b.clock.Add(time.Millisecond)
	if _, denied := b.acquire(t, "a", look); denied != nil {
		t.Fatalf("above zero: %v", denied)
	}
}

func TestSettleGoesIntoDebt(t *testing.T) {
	b := newBench(t, fixed{"a": {limits: []Limit{PerSecond("tpm", 10)}}})
	for range 2 {
		l, err := b.Acquire(t.Context(), Request{Entity: "a", Resource: "api", Consume: map[string]int64{"tpm": 500}, Settle: true})
		if err != nil || !l.Decision().Allowed {
			t.Fatal(err)
		}
	}
	if got := b.balance(t, "a", "tpm"); got != -990 {
		t.Errorf("balance %d", got)
	}
	_, denied := b.acquire(t, "a", map[string]int64{"tpm": 1})
	if denied == nil || denied.RetryAfter != 99*time.Second+100*time.Millisecond {
		t.Errorf("denied: %v", denied)
	}
}

func TestCascadeChargesAllOrNone(t *testing.T) {
	b := newBench(t, fixed{
		"child":  {limits: []Limit{PerMinute("rpm", 10)}, parent: "parent"},
		"parent": {limits: []Limit{PerMinute("rpm", 2)}},
	})
	b.spend(t, "child", nil)
	b.spend(t, "child", nil)
	writes := len(b.store.writes)
	_, denied := b.acquire(t, "child", nil)
	if denied == nil || denied.RetryAfter != 30*time.Second {
		t.Fatalf("denied: %v", denied)
	}
	if len(b.store.writes) != writes {
		t.Errorf("the denial wrote: %v", b.store.writes[writes:])
	}
	if bucket, limit := denied.Primary(); bucket.Key.Entity() != "parent" || limit.Limit.Name != "rpm" || bucket.Parent != 1 {
		t.Errorf("primary: %v %v", bucket, limit)
	}
	if c, p := b.balance(t, "child", "rpm"), b.balance(t, "parent", "rpm"); c != 8 || p != 0 {
		t.Errorf("child %d, parent %d", c, p)
	}
	if p := denied.Public(); p.Limit != "rpm" || p.Resource != "api" || p.Error != "rate_limit_exceeded" {
		t.Errorf("public: %+v", p)
	}
}

// The parent is emptied by somebody else between the look and the charge.
func TestCompensation(t *testing.T) {
	b := newBench(t, fixed{
		"child":  {limits: []Limit{PerMinute("rpm", 10)}, parent: "parent"},
		"parent": {limits: []Limit{PerMinute("rpm", 2)}},
	})
	raced := false
	b.store.fail = func(w *Write) (bool, error) {
		if w.Key.Entity() == "parent" && !raced {
			raced = true
			k := w.Key.ID()
			b.store.items[k], _ = w.Execute(b.store.items[k])
			second := w.clone()
			if s := b.store.items[k]; s.Exists {
				second.Op = OpCharge
				second.OrAbsent, second.TTLBelow, second.TTLSet = false, 0, 0
				second.Limits[0].Form, second.Limits[0].Value, second.Limits[0].Min = FormAdd, -1000, NoMin
				b.store.items[k], _ = second.Execute(s)
			}
		}
		return false, nil
	}
	if _, denied := b.acquire(t, "child", nil); denied == nil {
		t.Fatal("admitted from an empty parent")
	}
	if c := b.balance(t, "child", "rpm"); c != 10 {
		t.Errorf("the child was left with %d", c)
	}
	if got := b.store.writes; !cmp.Equal(got, []Op{OpCreate, OpCredit}) {
		t.Errorf("writes: %v", got)
	}
}

func TestUnknownOutcomeIsUnavailable(t *testing.T) {
	b := newBench(t, fixed{"a": {limits: []Limit{PerMinute("rpm", 5)}}})
	sends := 0
	b.store.fail = func(*Write) (bool, error) { sends++; return true, errors.New("connection reset") }
	_, err := b.Acquire(t.Context(), Request{Entity: "a", Resource: "api"})
	if !errors.Is(err, ErrUnavailable) || sends != 1 {
		t.Fatalf("%v after %d sends", err, sends)
	}
	b.store.fail = func(*Write) (bool, error) {
		if sends++; sends < 4 {
			return false, ErrNotApplied
		}
		return false, nil
	}
	if _, err = b.Acquire(t.Context(), Request{Entity: "a", Resource: "api"}); err != nil || sends != 4 {
		t.Fatalf("%v after %d sends", err, sends)
	}
	b.store.fail = nil
	if got := b.balance(t, "a", "rpm"); got != 3 { // the unknown one counts as charged
		t.Errorf("balance %d", got)
	}
}

func TestLease(t *testing.T) {
	lim := fixed{"a": {limits: []Limit{PerMinute("rpm", 5), PerMinute("tpm", 100)}}}
	estimate := map[string]int64{"rpm": 1, "tpm": 50}
	for _, c := range []struct {
		name     string
		end      func(*Lease) error
		rpm, tpm int64
		ops      []Op
	}{
		{"commit", func(l *Lease) error { return l.Commit(t.Context()) }, 4, 50, nil},
		{"rollback", func(l *Lease) error { return l.Rollback(t.Context()) }, 5, 100, []Op{OpCredit}},
		{"close", (*Lease).Close, 5, 100, []Op{OpCredit}},
		{"less", func(l *Lease) error { return adjusted(l, map[string]int64{"tpm": -30}) }, 4, 80, []Op{OpCredit}},
		{"more, into debt", func(l *Lease) error { return adjusted(l, map[string]int64{"tpm": 40}, map[string]int64{"tpm": 30}) }, 4, -20, []Op{OpSettle}},
		{"both ways", func(l *Lease) error { return adjusted(l, map[string]int64{"tpm": 10, "rpm": -1}) }, 5, 40, []Op{OpSettle}},
		{"none left", func(l *Lease) error { return adjusted(l, map[string]int64{"tpm": 10}, map[string]int64{"tpm": -10}) }, 4, 50, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, lim)
			l, denied := b.acquire(t, "a", estimate)
			if denied != nil {
				t.Fatal(denied)
			}
			if err := c.end(l); err != nil {
				t.Fatal(err)
			}
			if r, tp := b.balance(t, "a", "rpm"), b.balance(t, "a", "tpm"); r != c.rpm || tp != c.tpm {
				t.Errorf("rpm %d, tpm %d; want %d, %d", r, tp, c.rpm, c.tpm)
			}
			if d := cmp.Diff(append([]Op{OpCreate}, c.ops...), b.store.writes); d != "" {
				t.Errorf("writes: %s", d)
			}
			if err := l.Commit(t.Context()); !errors.Is(err, ErrLeaseEnded) {
				t.Errorf("commit again: %v", err)
			}
			if err := l.Adjust(nil); !errors.Is(err, ErrLeaseEnded) {
				t.Errorf("adjust again: %v", err)
			}
			if err := l.Close(); err != nil {
				t.Errorf("close again: %v", err)
			}
		})
	}
}

func adjusted(l *Lease, deltas ...map[string]int64) error {
	for _, d := range deltas {
		if err := l.Adjust(d); err != nil {
			return err
		}
	}
	return l.Commit(context.Background())
}

func TestDo(t *testing.T) {
	b := newBench(t, fixed{"a": {limits: []Limit{PerMinute("rpm", 5)}}})
	r := Request{Entity: "a", Resource: "api"}
	if err := b.Do(t.Context(), r, func(context.Context, *Lease) error { return nil }); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	if err := b.Do(t.Context(), r, func(context.Context, *Lease) error { return boom }); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = b.Do(t.Context(), r, func(context.Context, *Lease) error { panic("boom") })
	}()
	if got := b.balance(t, "a", "rpm"); got != 4 {
		t.Errorf("balance %d", got)
	}
}

func TestModes(t *testing.T) {
	b := newBench(t, fixed{
		"off":  {limits: []Limit{PerMinute("rpm", 5)}, mode: ModeDisabled},
		"free": {limits: []Limit{PerMinute("rpm", 1)}, mode: ModeBypass},
	})
	_, denied := b.acquire(t, "off", nil)
	if denied == nil || denied.Decision.Reason != ReasonDisabled || denied.RetryAfter != 0 || denied.Public().Error != "disabled" {
		t.Errorf("disabled: %v", denied)
	}
	for range 3 {
		l, denied := b.acquire(t, "free", nil)
		if denied != nil || l.Decision().Reason != ReasonBypass {
			t.Errorf("bypass: %v", denied)
		}
	}
	l, denied := b.acquire(t, "nobody", nil)
	if denied != nil || l.Decision().Reason != ReasonNoLimits {
		t.Errorf("no limits: %v", denied)
	}
	if len(b.store.writes) != 0 {
		t.Errorf("writes: %v", b.store.writes)
	}
}

// Two charges of one bucket are one: both or none, with one wait.
func TestTwoChargesOfOneBucket(t *testing.T) {
	f := fixed{"a": {limits: []Limit{PerMinute("n", 10)}}}
	b := newBench(t, f)
	k := mustKey(t, "default", "a", "api", "")
	six := Charge{Query: Query{Key: k}, Cost: EachLimit(6)}
	four := Charge{Query: Query{Key: k}, Cost: TakeNamed(Take{"n", 4}, Take{"other", 1})}
	d, err := b.Decide(t.Context(), Ask{Now: b.clock, Resolver: f, Charges: []Charge{six, four}})
	if err != nil || !d.Allowed || len(d.Buckets) != 2 || len(b.store.writes) != 1 {
		t.Fatalf("%+v, %v, writes %v", d, err, b.store.writes)
	}
	if got := d.Buckets[1].Unknown; !cmp.Equal(got, []string{"other"}) {
		t.Errorf("unknown: %v", got)
	}
	d, err = b.Decide(t.Context(), Ask{Now: b.clock, Resolver: f, Charges: []Charge{four, four}})
	if err != nil || d.Allowed || d.RetryAfter != 48*time.Second {
		t.Errorf("%+v, %v", d, err)
	}
}

// What a settlement books stays, whatever the other charges decide.
func TestSettleBesideADenial(t *testing.T) {
	f := fixed{"a": {limits: []Limit{PerMinute("n", 10)}}, "b": {limits: []Limit{PerMinute("n", 1)}}}
	b := newBench(t, f)
	b.spend(t, "b", nil)
	d, err := b.Decide(t.Context(), Ask{Now: b.clock, Resolver: f, Charges: []Charge{
		{Query: Query{Key: mustKey(t, "default", "a", "api", "")}, Cost: EachLimit(30), Settle: true},
		{Query: Query{Key: mustKey(t, "default", "b", "api", "")}, Cost: EachLimit(1)},
	}})
	if err != nil || d.Allowed {
		t.Fatalf("%+v, %v", d, err)
	}
	if got := b.balance(t, "a", "n"); got != -20 {
		t.Errorf("booked: %d", got)
	}
}

func TestExceededJSON(t *testing.T) {
	b := newBench(t, fixed{"a": {limits: []Limit{PerMinute("rpm", 1), PerMinute("tpm", 100).WithBurst(150)}}})
	b.spend(t, "a", nil)
	_, denied := b.acquire(t, "a", map[string]int64{"rpm": 1, "tpm": 2})
	got, err := json.Marshal(denied)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"error":"rate_limit_exceeded","message":"Rate limit exceeded; retry after 60 s.","resource":"api","limit":"rpm","retry_after_seconds":60,` +
		`"limits":[{"namespace":"default","entity":"a","resource":"api","level":"entity","name":"rpm","rate":1,"period_seconds":60,"burst":1,"cost":1,"balance":0,"violated":true,"retry_after_seconds":60},` +
		`{"namespace":"default","entity":"a","resource":"api","level":"entity","name":"tpm","rate":100,"period_seconds":60,"burst":150,"cost":2,"balance":149,"violated":false,"retry_after_seconds":0}]}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
}

func TestAcquireRefusesBadRequests(t *testing.T) {
	b := newBench(t, fixed{})
	for _, c := range []struct {
		r    Request
		want string
	}{
		{Request{Resource: "api"}, "the entity is empty"},
		{Request{Entity: "a", Resource: "api", Consume: map[string]int64{"n": -1}}, "consume n: -1 is not between 0 and 1e15"},
		{Request{Entity: "a", Resource: "api", DefaultLimits: []Limit{{Name: "9"}}}, `limit "9": the name "9" is not a letter followed by letters, digits and . _ -; rate 0 is not between 1 and 1e15; burst 0 is not between 1 and 1e15; period 0s is not between 1ms and 1e9 seconds`},
	} {
		if _, err := b.Acquire(t.Context(), c.r); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v", c.r, err)
		}
	}
}
