package ratelimit

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// learning is a resolver that notes what it is told.
type learning struct {
	fixed
	told []string
}

func (l *learning) Stale(k Key, revision int64) {
	l.told = append(l.told, fmt.Sprint(k.Entity(), " ", revision))
}

// A bucket that a newer configuration has shaped tells so, whatever is asked of
// it; one that is as old as the configuration, or older, tells nothing.
func TestBucketsTellOfNewerRevisions(t *testing.T) {
	limits := []Limit{PerMinute("rpm", 5)}
	for _, remote := range []*Remote{nil, {}} {
		t.Run(fmt.Sprintf("remote %t", remote != nil), func(t *testing.T) {
			old := &learning{fixed: fixed{"e": {limits: limits, revision: 3}}}
			b := newBench(t, old)
			if remote != nil {
				l, err := New(Config{Store: b.store, Resolver: old, Now: b.Now, Slack: -1, Remote: remote})
				if err != nil {
					t.Fatal(err)
				}
				b.Limiter = l
			}
			b.spend(t, "e", map[string]int64{"rpm": 1})
			b.spend(t, "e", map[string]int64{"rpm": 1})
			if len(old.told) != 0 {
				t.Errorf("told %v by a bucket of the same revision", old.told)
			}
			newer := &learning{fixed: fixed{"e": {limits: limits, revision: 7}}}
			ask := Ask{Now: b.clock, Resolver: newer, Charges: []Charge{{
				Query: Query{Key: mustKey(t, "default", "e", "api", "")}, Cost: EachLimit(1),
			}}}
			if _, err := b.Decide(t.Context(), ask); err != nil {
				t.Fatal(err)
			}
			if len(newer.told) != 0 {
				t.Errorf("told %v by a bucket that was older", newer.told)
			}
			ask.Resolver = old
			if _, err := b.Decide(t.Context(), ask); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Look(t.Context(), ask); err != nil {
				t.Fatal(err)
			}
			b.spend(t, "e", map[string]int64{"rpm": 1}) // the last
			if _, denied := b.acquire(t, "e", map[string]int64{"rpm": 1}); denied == nil {
				t.Error("not denied")
			}
			if diff := cmp.Diff([]string{"e 7", "e 7", "e 7", "e 7"}, old.told); diff != "" {
				t.Error(diff)
			}
		})
	}
}
