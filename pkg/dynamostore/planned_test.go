package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// doubled applies each write to a store, and compares what comes of it with
// what ratelimit.Write.Execute makes of the bucket as it should be.
type doubled struct {
	*Store
	t      *rapid.T
	states map[ratelimit.Key]ratelimit.State
	ops    map[ratelimit.Op]int
}

func (d *doubled) Apply(ctx context.Context, w *ratelimit.Write) (ratelimit.State, error) {
	want, holds := w.Execute(d.states[w.Key])
	got, err := d.Store.Apply(ctx, w)
	var refused *ratelimit.RefusedError
	switch {
	case err == nil && holds:
		d.ops[w.Op]++
		d.states[w.Key] = want
	case errors.As(err, &refused) && !holds:
		got = refused.State
	default:
		d.t.Fatalf("%s: %v; the condition holds: %t, for %+v:\n%+v", w.Op, err, holds, d.states[w.Key], *w)
	}
	if diff := cmp.Diff(d.states[w.Key], got, cmpopts.EquateEmpty()); diff != "" {
		d.t.Fatalf("%s (-want +got):\n%s", w.Op, diff)
	}
	return got, err
}

// TestPlannedWrites lets the planners plan: charges, looks, settlements, leases
// that are adjusted and rolled back, limits that change, for buckets that
// expire and that don't. Each write is what Execute says.
func TestPlannedWrites(t *testing.T) {
	s, _ := newStore(t)
	var runs atomic.Int64
	seen := map[ratelimit.Op]int{}
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)
		limits := &fixed{expires: rapid.Bool().Draw(t, "expires")}
		limits.limits = drawLimits(t)
		d := &doubled{Store: s, t: t, states: map[ratelimit.Key]ratelimit.State{}, ops: seen}
		l, err := ratelimit.New(ratelimit.Config{Store: d, Resolver: limits, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		entity := fmt.Sprint("run ", runs.Add(1))
		for range rapid.IntRange(1, 8).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 500, 60_000, 86_400_000}).Draw(t, "ms later")) * time.Millisecond)
			if rapid.IntRange(0, 4).Draw(t, "change") == 0 {
				limits.revision++
				limits.limits, limits.expires = drawLimits(t), rapid.Bool().Draw(t, "expires")
			}
			request(t, l, entity)
		}
	})
	if testing.Short() { // too few to have had everything
		return
	}
	for op := ratelimit.OpCreate; op <= ratelimit.OpReshape; op++ {
		if seen[op] == 0 {
			t.Errorf("no %s was planned: the test tries too little", op)
		}
	}
}

func drawLimits(t *rapid.T) []ratelimit.Limit {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"rpm", "tpm", "rpd", "a"}), 1, 4, rapid.ID[string]).Draw(t, "limits")
	limits := make([]ratelimit.Limit, len(names))
	for i, name := range names {
		period := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 24 * time.Hour}).Draw(t, "period")
		limits[i] = ratelimit.Custom(name, rapid.Int64Range(1, 20).Draw(t, "burst"), rapid.Int64Range(1, 20).Draw(t, "rate"), period)
	}
	return limits
}

func request(t *rapid.T, l *ratelimit.Limiter, entity string) {
	lease, err := l.Acquire(t.Context(), ratelimit.Request{
		Entity: entity, Resource: "gpt-4", Settle: rapid.IntRange(0, 3).Draw(t, "settle") == 0,
		Consume: rapid.MapOfN(rapid.SampledFrom([]string{"rpm", "tpm", "rpd", "a"}), rapid.Int64Range(0, 12), 1, 3).Draw(t, "consume"),
	})
	var exceeded *ratelimit.ExceededError
	if errors.As(err, &exceeded) {
		return
	}
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	if rapid.Bool().Draw(t, "roll back") {
		if err := lease.Rollback(t.Context()); err != nil {
			t.Fatalf("Rollback: %v", err)
		}
	}
}

// TestExactAcrossProcesses charges one bucket from several limiters, each with
// a store of its own, as processes have: exactly the capacity is admitted.
func TestExactAcrossProcesses(t *testing.T) {
	const capacity, processes, callers, asks = 60, 4, 4, 12 // 192 for 60
	url, table := local.URL(t), newTable(t)
	limits := &fixed{limits: []ratelimit.Limit{ratelimit.Custom("rpm", capacity, 1, 24*time.Hour)}, expires: true}
	var admitted atomic.Int64
	var wg sync.WaitGroup
	var last *Store
	for range processes {
		c := config(url, table)
		s := open(t, c)
		last = s
		l, err := ratelimit.New(ratelimit.Config{
			Store: s, Resolver: limits,
			Remote: &ratelimit.Remote{WriteTimeout: c.Timeout},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
		for range callers {
			wg.Go(func() {
				for range asks {
					_, err := l.Acquire(t.Context(), ratelimit.Request{Entity: "shared", Resource: "gpt-4"})
					var exceeded *ratelimit.ExceededError
					switch {
					case err == nil:
						admitted.Add(1)
					case !errors.As(err, &exceeded):
						t.Errorf("Acquire: %v", err)
					}
				}
			})
		}
	}
	wg.Wait()
	if n := admitted.Load(); n != capacity {
		t.Errorf("admitted %d of %d", n, capacity)
	}
	state, err := last.Get(t.Context(), key(t, "shared"))
	if err != nil {
		t.Fatal(err)
	}
	if got := state.Limits[0].Charged - state.Limits[0].Returned; got != ratelimit.Milli(capacity) {
		t.Errorf("the bucket counts %d millitokens", got)
	}
}
