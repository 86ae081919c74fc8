package recent

import (
	"fmt"
	"hash/maphash"
	"math"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func keyOf(tb testing.TB, namespace, entity string) ratelimit.Key {
	tb.Helper()
	k, err := ratelimit.NewKey(namespace, entity, "api", "")
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// What is told of an entity holds it between two bounds, of which the upper one
// is no further off than the sketch promises; and entities with more than that
// are told. The counts are naive ones of the same stream.
func TestBoundsHoldTheCounts(t *testing.T) {
	keys := make([]ratelimit.Key, 3*shards*perShard)
	for i := range keys {
		keys[i] = keyOf(t, "ns"+strconv.Itoa(i%3), "tenant-"+strconv.Itoa(i))
	}
	rapid.Check(t, func(t *rapid.T) {
		tally := newTally(maphash.MakeSeed())
		const windows = 3
		var counts [windows]map[ratelimit.Key]int64
		var totals [windows]int64
		for w := range windows {
			if w > 0 {
				tally.turn()
			}
			counts[w] = map[ratelimit.Key]int64{}
			// A few take most, as a skewed load does, and many come once.
			few := rapid.IntRange(1, len(keys)).Draw(t, "few")
			for i := range rapid.IntRange(0, 1500).Draw(t, "events") {
				k := keys[i%few]
				if i%4 == 0 {
					k = keys[(i*31)%len(keys)]
				}
				n := int64(1 + i%7)
				tally.add(k, n)
				counts[w][k] += n
				totals[w] += n
			}
		}
		told := map[string]Rank{}
		for _, r := range tally.top("", "", math.MaxInt) {
			told[r.Namespace+"/"+r.Entity] = r
		}
		if len(told) > 2*shards*perShard {
			t.Fatalf("%d entities are told", len(told))
		}
		off := (totals[windows-2] + totals[windows-1]) / perShard
		for _, k := range keys {
			n := counts[windows-2][k] + counts[windows-1][k]
			r, ok := told[k.Namespace()+"/"+k.Entity()]
			switch {
			case !ok && n > off:
				t.Fatalf("%s has %d and isn't told; what isn't has %d at most", k.ID(), n, off)
			case ok && (n < r.AtLeast || n > r.AtMost || r.AtMost-n > off):
				t.Fatalf("%s has %d, told as %d to %d, off by %d at most", k.ID(), n, r.AtLeast, r.AtMost, off)
			}
		}
	})
}

// Of few entities the counts are exact, and in order; those of a window end with
// the one after it.
func TestTopOfFew(t *testing.T) {
	tally := newTally(maphash.MakeSeed())
	for i := range 20 {
		tally.add(keyOf(t, "default", fmt.Sprintf("e%02d", i)), int64(100-i))
	}
	tally.add(keyOf(t, "other", "e00"), 1000)
	ranks := tally.top("tpm", "default", 3)
	for i, r := range ranks {
		if want := (Rank{"tpm", "default", fmt.Sprintf("e%02d", i), int64(100 - i), int64(100 - i)}); r != want {
			t.Errorf("%+v, want %+v", r, want)
		}
	}
	if all := tally.top("", "", 1); len(ranks) != 3 || len(all) != 1 || all[0].Namespace != "other" {
		t.Errorf("%v, %v", ranks, all)
	}
	tally.turn()
	tally.add(keyOf(t, "default", "e00"), 1)
	if r := tally.top("", "default", 1)[0]; r.AtLeast != 101 || r.AtMost != 101 {
		t.Errorf("over both windows: %+v", r)
	}
	tally.turn()
	if all := tally.top("", "", 9); len(all) != 1 || all[0].AtLeast != 1 {
		t.Errorf("after both windows: %v", all)
	}
	tally.turn()
	if all := tally.top("", "", 9); len(all) != 0 {
		t.Errorf("after all: %v", all)
	}
}

// Counts end at the most that can be counted, as many of the largest costs do.
func TestCountsSaturate(t *testing.T) {
	tally := newTally(maphash.MakeSeed())
	k := keyOf(t, "default", "alice")
	for range 3 {
		tally.add(k, math.MaxInt64/2)
	}
	tally.turn()
	tally.add(k, math.MaxInt64/2)
	if r := tally.top("", "", 1)[0]; r.AtLeast != math.MaxInt64 || r.AtMost != math.MaxInt64 {
		t.Errorf("%+v", r)
	}
}

func BenchmarkAdd(b *testing.B) {
	for _, entities := range []int{1, 100, 1_000_000} {
		b.Run(strconv.Itoa(entities), func(b *testing.B) {
			tally := newTally(maphash.MakeSeed())
			keys := make([]ratelimit.Key, entities)
			for i := range keys {
				keys[i] = keyOf(b, "default", "tenant-"+strconv.Itoa(i))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				tally.add(keys[i%entities], 1)
			}
		})
	}
}
