package storetest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/ratelimit"
	"github.com/extauthz/extauthz/pkg/ratelimit/storetest"
)

// A store without faults is the store.
func TestFaultyConforms(t *testing.T) {
	storetest.Run(t, func(*testing.T) ratelimit.Store {
		return storetest.Faulty(embedstore.New(embedstore.Config{}), storetest.Writes())
	})
}

func TestFaulty(t *testing.T) {
	slow := storetest.Fault{Before: time.Minute}
	for _, c := range []struct {
		name    string
		fault   storetest.Fault
		applied bool
		is      []error // nil: no error
		not     error
		took    time.Duration
	}{
		{"none", storetest.Fault{}, true, nil, nil, 0},
		{"not applied", storetest.NotApplied(), false, []error{ratelimit.ErrNotApplied}, nil, 0},
		{"applied, unknown", storetest.Unknown(true), true, []error{storetest.ErrUnknown}, ratelimit.ErrNotApplied, 0},
		{"not applied, unknown", storetest.Unknown(false), false, []error{storetest.ErrUnknown}, ratelimit.ErrNotApplied, 0},
		{"delayed", storetest.Fault{Before: time.Second, After: time.Second}, true, nil, nil, 2 * time.Second},
		{"too late", slow, false, []error{ratelimit.ErrNotApplied, context.DeadlineExceeded}, nil, 10 * time.Second},
		{"stuck", storetest.Stuck(), true, []error{context.DeadlineExceeded}, ratelimit.ErrNotApplied, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := embedstore.New(embedstore.Config{})
				store := storetest.Faulty(inner, storetest.Writes(c.fault))
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				k, err := ratelimit.NewKey("default", "e", "r", "")
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				_, err = store.Apply(ctx, &ratelimit.Write{Key: k, OrAbsent: true})
				if len(c.is) == 0 && err != nil || c.not != nil && errors.Is(err, c.not) {
					t.Errorf("error: %v", err)
				}
				for _, want := range c.is {
					if !errors.Is(err, want) {
						t.Errorf("error: %v, want %v", err, want)
					}
				}
				if took := time.Since(start); took != c.took {
					t.Errorf("took %s", took)
				}
				if applied := inner.Len() == 1; applied != c.applied {
					t.Errorf("applied: %t", applied)
				}
				if _, err := store.Apply(t.Context(), &ratelimit.Write{Key: k, OrAbsent: true}); err != nil {
					t.Errorf("the second write: %v", err)
				}
				if _, err := store.Get(t.Context(), k); err != nil {
					t.Errorf("a read: %v", err)
				}
				if w, g := store.Calls(); w != 2 || g != 1 {
					t.Errorf("%d writes, %d reads", w, g)
				}
			})
		})
	}
}
