package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// partial is a store that knows one namespace alone.
type partial struct{ memory }

func (p *partial) Apply(ctx context.Context, w *Write) (State, error) {
	if w.Key.Namespace() != DefaultNamespace {
		return State{}, fmt.Errorf("%w: %w: %w", ErrNotApplied, ErrUnusable, ErrUnknownNamespace)
	}
	return p.memory.Apply(ctx, w)
}

// TestNoFallbackAnswersForAnUnknownNamespace: it is no outage. What another
// bucket of the request was charged is given back.
func TestNoFallbackAnswersForAnUnknownNamespace(t *testing.T) {
	resolver := fixed{"a": {limits: []Limit{PerHour("n", 10)}}}
	for _, f := range []Fallback{FallbackError, FallbackAllow, FallbackDeny, FallbackLocal} {
		s := &partial{memory{items: map[string]State{}}}
		l, err := New(Config{Store: s, Remote: &Remote{}})
		if err != nil {
			t.Fatal(err)
		}
		var charges []Charge
		for _, namespace := range []string{DefaultNamespace, "nobodys"} {
			charges = append(charges, Charge{Query: Query{Key: mustKey(t, namespace, "a", "api", "")}, Cost: EachLimit(1)})
		}
		d, err := l.Decide(t.Context(), Ask{Now: time.Now(), Resolver: resolver, Charges: charges, OnUnavailable: f})
		if !errors.Is(err, ErrUnknownNamespace) || errors.Is(err, ErrUnavailable) || d.Allowed {
			t.Errorf("%s: allowed %t, %v", f, d.Allowed, err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		state, err := s.Get(t.Context(), charges[0].Query.Key)
		if err != nil || len(state.Limits) != 1 || state.Limits[0].Charged != state.Limits[0].Returned {
			t.Errorf("%s: the other bucket was not given back: %+v %v", f, state, err)
		}
	}
}
