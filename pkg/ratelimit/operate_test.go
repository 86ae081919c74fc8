package ratelimit_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// A reset fills, a top-up adds no more than fits, and neither touches what was
// counted.
func TestByHand(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	store := embedstore.New(embedstore.Config{})
	limiter, err := ratelimit.New(ratelimit.Config{Store: store, Resolver: hierarchy.NewResolver("default", hierarchy.Document{}), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	request := ratelimit.Request{
		Entity: "e", Resource: "r", Settle: true, Consume: map[string]int64{"rpm": 150, "tpm": 30},
		DefaultLimits: []ratelimit.Limit{ratelimit.PerMinute("rpm", 100), ratelimit.PerMinute("tpm", 60)},
	}
	if _, err := limiter.Acquire(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	k, err := ratelimit.NewKey("default", "e", "r", "")
	if err != nil {
		t.Fatal(err)
	}
	has := func(rpm, tpm int64) ratelimit.State {
		t.Helper()
		s, err := store.Get(context.Background(), k)
		if err != nil {
			t.Fatal(err)
		}
		at := ratelimit.StampOf(now)
		if got := [2]int64{s.Find("rpm").Available(at).Tokens(), s.Find("tpm").Available(at).Tokens()}; got != [2]int64{rpm, tpm} {
			t.Fatalf("there is %v, want %v", got, [2]int64{rpm, tpm})
		}
		if s.Find("rpm").Charged != ratelimit.Milli(150) || s.Find("rpm").Returned != 0 {
			t.Fatalf("counted: %+v", s.Find("rpm"))
		}
		return s
	}
	make := func(w *ratelimit.Write, err error) {
		t.Helper()
		if err == nil {
			_, err = store.Apply(t.Context(), w)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s := has(-50, 30)
	make(ratelimit.PlanTopUp(k, &s, ratelimit.StampOf(now), []ratelimit.Take{{Limit: "rpm", Tokens: 60}}))
	s = has(10, 30)
	now = now.Add(6 * time.Second)
	s = has(20, 36)
	make(ratelimit.PlanReset(k, &s, ratelimit.StampOf(now), []string{"tpm"}))
	s = has(20, 60)
	make(ratelimit.PlanTopUp(k, &s, ratelimit.StampOf(now), []ratelimit.Take{{Limit: "rpm", Tokens: 1000}}))
	has(100, 60)
	request.Consume = map[string]int64{"rpm": 1}
	if _, err := limiter.Acquire(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	s, err = store.Get(t.Context(), k)
	if err != nil || s.Find("rpm").Available(ratelimit.StampOf(now)).Tokens() != 99 {
		t.Fatalf("after a charge there is %v, %v", s.Find("rpm").Available(ratelimit.StampOf(now)), err)
	}
	make(ratelimit.PlanReset(k, &s, ratelimit.StampOf(now), nil))
}

// What a bucket hasn't is named, with what it has.
func TestByHandRefuses(t *testing.T) {
	k, err := ratelimit.NewKey("default", "e", "r", "")
	if err != nil {
		t.Fatal(err)
	}
	s := ratelimit.State{Exists: true, Limits: []ratelimit.LimitState{
		{Params: ratelimit.ParamsOf(ratelimit.PerMinute("tpm", 1)), On: true},
		{Params: ratelimit.ParamsOf(ratelimit.PerMinute("x", 1))},
		{Params: ratelimit.ParamsOf(ratelimit.PerMinute("rpm", 1)), On: true},
	}}
	var unknown *ratelimit.UnknownLimitError
	if _, err := ratelimit.PlanReset(k, &s, 0, []string{"x"}); !errors.As(err, &unknown) || err.Error() != `the bucket has no limit "x": it has rpm, tpm` {
		t.Errorf("a reset of no limit: %v", err)
	}
	if _, err := ratelimit.PlanTopUp(k, &s, 0, []ratelimit.Take{{Limit: "x", Tokens: 1}}); !errors.As(err, &unknown) {
		t.Errorf("a top-up of no limit: %v", err)
	}
	var invalid *ratelimit.InvalidCostError
	if _, err := ratelimit.PlanTopUp(k, &s, 0, []ratelimit.Take{{Limit: "rpm"}}); !errors.As(err, &invalid) {
		t.Errorf("a top-up of nothing: %v", err)
	}
}
