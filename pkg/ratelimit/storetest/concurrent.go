package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// together runs f in n goroutines that begin at the same time.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

// outcome is what one of several goroutines was told.
type outcome struct {
	applied bool
	state   ratelimit.State
}

// try applies a write where others do too, and reports errors that are none of
// the outcomes.
func try(t *testing.T, store ratelimit.Store, w *ratelimit.Write) outcome {
	s, err := store.Apply(t.Context(), w)
	var refused *ratelimit.RefusedError
	switch {
	case err == nil:
		return outcome{true, s}
	case errors.As(err, &refused):
		return outcome{false, refused.State}
	}
	t.Errorf("Apply: %v", err)
	return outcome{}
}

// testConcurrentCharges takes a token at a time from a bucket of 40, in many
// goroutines, each as long as the bucket has one: exactly 40 are taken, the
// balances that were returned are those of 40 writes one after the other, and
// each refusal has seen an empty bucket.
func testConcurrentCharges(t *testing.T, s suite) {
	const tokens, workers = 40, 16
	b := s.started(t, "shared", tokens*1_000)
	var mu sync.Mutex
	var left []ratelimit.Millitokens
	together(workers, func(int) {
		w := change(ratelimit.LimitWrite{
			Slot: 1, Min: 1_000, Max: ratelimit.NoMax, Form: ratelimit.FormAdd, Value: -1_000, Charged: 1_000,
		})
		w.Key, w.Same, w.Revision, w.Shape = b.key, true, revision, shape
		for {
			o := try(t, s.store, w)
			if len(o.state.Limits) != 1 {
				t.Errorf("state %+v", o.state)
				return
			}
			l := o.state.Limits[0]
			if !o.applied {
				if l.Balance != 0 || l.Charged != tokens*1_000 {
					t.Errorf("refused at %d, after %d", l.Balance, l.Charged)
				}
				return
			}
			mu.Lock()
			left = append(left, l.Balance)
			mu.Unlock()
		}
	})
	slices.Sort(left)
	for i, v := range left {
		if v != ratelimit.Millitokens(i)*1_000 {
			t.Fatalf("balances left: %d", left)
		}
	}
	if len(left) != tokens {
		t.Fatalf("%d applied, want %d", len(left), tokens)
	}
	got, err := s.store.Get(t.Context(), b.key)
	if err != nil || got.Limits[0].Balance != 0 || got.Limits[0].Charged != tokens*1_000 {
		t.Errorf("in the end: %+v, %v", got, err)
	}
}

// testConcurrentCreates creates a bucket in many goroutines: one does it, the
// others see what it made.
func testConcurrentCreates(t *testing.T, s suite) {
	const workers, rounds = 8, 20
	for round := range rounds {
		k := s.key(t, fmt.Sprint("created ", round))
		outcomes := make([]outcome, workers)
		together(workers, func(i int) {
			w := create(set(1, ratelimit.Millitokens(i)))
			w.Key = k
			outcomes[i] = try(t, s.store, w)
		})
		made := -1
		for i, o := range outcomes {
			if o.applied && made >= 0 {
				t.Fatalf("created by %d and by %d", made, i)
			}
			if o.applied {
				made = i
			}
		}
		for i, o := range outcomes {
			if made < 0 || len(o.state.Limits) != 1 || o.state.Limits[0].Balance != ratelimit.Millitokens(made) {
				t.Fatalf("created by %d; %d was told %+v", made, i, o.state)
			}
		}
	}
}

// testConcurrentBuckets writes many buckets at once: none touches another.
func testConcurrentBuckets(t *testing.T, s suite) {
	const workers, writes = 16, 30
	buckets := make([]*bucket, workers)
	for i := range buckets {
		buckets[i] = s.started(t, fmt.Sprint("own ", i), ratelimit.Millitokens(i)*1_000_000)
	}
	together(workers, func(i int) {
		for range writes {
			w := change(ratelimit.LimitWrite{Slot: 1, Min: 1 - 1<<40, Max: ratelimit.NoMax, Form: ratelimit.FormAdd, Value: -1})
			w.Key = buckets[i].key
			if !try(t, s.store, w).applied {
				t.Error("refused")
			}
		}
	})
	for i, b := range buckets {
		got, err := s.store.Get(t.Context(), b.key)
		if want := ratelimit.Millitokens(i)*1_000_000 - writes; err != nil || got.Limits[0].Balance != want {
			t.Errorf("bucket %d: %+v, %v, want %d", i, got, err, want)
		}
	}
}
