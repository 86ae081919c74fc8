package usage

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestHours(t *testing.T) {
	for _, c := range []struct{ at, hour string }{
		{"2026-11-25T09:59:59Z", "2026-11-25T09"},
		{"2026-11-25T10:00:00Z", "2026-11-25T10"},
		{"2026-11-25T23:59:59.999Z", "2026-11-25T23"},
		{"2026-12-01T00:00:00+01:00", "2026-11-30T23"},
		{"1969-12-31T23:59:59Z", "1969-12-31T23"},
	} {
		h := HourOf(at(c.at))
		if h.String() != c.hour {
			t.Errorf("%s lies in %s, want %s", c.at, h, c.hour)
		}
		if back, err := ParseHour(c.hour); err != nil || back != h {
			t.Errorf("%s is read as %s (%v)", c.hour, back, err)
		}
		if h.Start().After(at(c.at)) || !h.End().After(at(c.at)) {
			t.Errorf("%s isn't between %v and %v", c.at, h.Start(), h.End())
		}
	}
	if _, err := ParseHour("2026-11-25"); err == nil {
		t.Error("a day is read as an hour")
	}
}

func TestSpansAreASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		span := rapid.Custom(func(t *rapid.T) Span {
			from := rapid.Int64Range(0, 50).Draw(t, "from")
			return Span{ratelimit.Millitokens(from), ratelimit.Millitokens(from + rapid.Int64Range(-2, 20).Draw(t, "length"))}
		})
		all := rapid.SliceOfN(span, 0, 12).Draw(t, "spans")
		holds := map[ratelimit.Millitokens]bool{}
		var s Spans
		for _, x := range all {
			for m := x.From; m < x.To; m++ {
				holds[m] = true
			}
			s = s.With(x)
		}
		if int(s.Sum()) != len(holds) {
			t.Fatalf("%v of %v has %d, want %d", s, all, s.Sum(), len(holds))
		}
		for i := 1; i < len(s); i++ {
			if s[i].From <= s[i-1].To {
				t.Fatalf("%v isn't joined", s)
			}
		}
		back, err := ParseSpans(s.String())
		if err != nil || !slices.Equal(back, s) {
			t.Fatalf("%v is read as %v (%v)", s, back, err)
		}
	})
	for _, bad := range []string{"-", "5", "5-5", "7-3", "1-2,", "a-b", "-1-2"} {
		if s, err := ParseSpans(bad); err == nil {
			t.Errorf("%q is read as %v", bad, s)
		}
	}
}

// change is one change of a bucket, and when the stream says that it was.
type change struct {
	before, after ratelimit.State
	hour          Hour
}

// history is a bucket's changes, and what they used by hour and limit.
type history struct {
	changes []change
	used    map[Hour]map[string]Totals
	now     time.Time
	state   ratelimit.State
}

func (h *history) use(name string, u Totals) {
	hour := HourOf(h.now)
	if h.used[hour] == nil {
		h.used[hour] = map[string]Totals{}
	}
	h.used[hour][name] = h.used[hour][name].Plus(u)
}

// step makes a change: the bucket is made where there is none, and each of its
// limits is charged, given back or left alone. Now and then it is removed.
func (h *history) step(t *rapid.T) {
	// Clocks of the stream may step back a little: an item's leader moves.
	h.now = h.now.Add(time.Duration(rapid.SampledFrom([]int64{0, 1, 20, 1800, 3600, 86400, -1}).Draw(t, "seconds")) * time.Second)
	before := h.state
	if before.Exists && rapid.IntRange(0, 9).Draw(t, "gone") == 0 {
		h.state = ratelimit.State{}
		h.changes = append(h.changes, change{before, h.state, HourOf(h.now)})
		return
	}
	after := before
	after.Limits = slices.Clone(before.Limits)
	after.Last = ratelimit.StampOf(h.now)
	if !before.Exists {
		after.Exists, after.Born = true, ratelimit.Stamp(len(h.changes)) // no two at once
		for i := range rapid.IntRange(1, 3).Draw(t, "limits") {
			after.Limits = append(after.Limits, ratelimit.LimitState{On: true, Params: ratelimit.ParamsOf(
				ratelimit.Limit{Name: fmt.Sprint("l", i), Rate: 60, Period: time.Minute, Burst: 100},
			)})
			after.Limits[i].Balance = ratelimit.Milli(100) - after.Limits[i].Refill.Total(after.Last)
		}
	}
	for i := range after.Limits {
		l := &after.Limits[i]
		n := ratelimit.Millitokens(rapid.Int64Range(0, 200_000).Draw(t, "charged"))
		back := ratelimit.Millitokens(rapid.Int64Range(0, 1_000).Draw(t, "returned"))
		if rapid.Bool().Draw(t, "untouched") {
			n, back = 0, 0
		}
		l.Charged, l.Returned, l.Balance = l.Charged+n, l.Returned+back, l.Balance-n+back
		if n+back > 0 {
			h.use(l.Name, Totals{n, n - back, max(0, -l.Available(after.Last))})
		}
	}
	h.state = after
	h.changes = append(h.changes, change{before, after, HourOf(h.now)})
}

func TestNewsOfChangesComeToTheirUse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := history{used: map[Hour]map[string]Totals{}, now: at("2026-11-30T22:59:50Z")}
		for range rapid.IntRange(1, 40).Draw(t, "changes") {
			h.step(t)
		}
		// Some are told again, and all in any order. What a crash leaves behind
		// is that some were told, and all are told again.
		again := rapid.SliceOfN(rapid.SampledFrom(h.changes), 0, 20).Draw(t, "again")
		told := rapid.Permutation(slices.Concat(h.changes, again)).Draw(t, "told")

		kept := map[Hour]Account{}
		for len(told) > 0 {
			n := rapid.IntRange(1, len(told)).Draw(t, "batch")
			batch := map[Hour]Account{}
			for _, c := range told[:n] {
				if batch[c.hour] == nil {
					batch[c.hour] = Account{}
				}
				batch[c.hour].Merge(Of(c.before, c.after))
			}
			told = told[n:]
			for hour, a := range batch {
				if kept[hour] == nil {
					kept[hour] = Account{}
				}
				kept[hour].Merge(a)
				if kept[hour].Merge(a) {
					t.Fatal("an account was news when it was merged again")
				}
			}
		}
		got := map[Hour]map[string]Totals{}
		for hour, a := range kept {
			if len(a) > 0 {
				got[hour] = a.Totals()
			}
		}
		if diff := cmp.Diff(h.used, got); diff != "" {
			t.Fatalf("used (-), counted (+):\n%s", diff)
		}
	})
}

func TestMergeChangesNothingThatOthersHold(t *testing.T) {
	one := Account{{1, 1}: {Name: "rpm", Charged: Spans{{0, 1000}}}}
	other := Account{{1, 1}: {Name: "rpm", Charged: Spans{{1000, 3000}}}, {2, 1}: {Name: "rpm", Charged: Spans{{0, 500}}}}
	before, sum := copyOf(other), copyOf(one)
	sum.Merge(other)
	sum.Merge(Account{{2, 1}: {Name: "rpm", Charged: Spans{{500, 900}}}})
	if diff := cmp.Diff(before, other); diff != "" {
		t.Errorf("the merged account changed:\n%s", diff)
	}
	want := map[string]Totals{"rpm": {Consumed: 3900, Admitted: 3900}}
	if diff := cmp.Diff(want, sum.Totals()); diff != "" {
		t.Errorf("totals:\n%s", diff)
	}
	if names := slices.Collect(maps.Keys(one.Totals())); len(names) != 1 {
		t.Errorf("totals of %v", names)
	}
}

// copyOf is an account that shares nothing with another.
func copyOf(a Account) Account {
	c := Account{}
	for id, g := range a {
		g.Charged, g.Returned = slices.Clone(g.Charged), slices.Clone(g.Returned)
		c[id] = g
	}
	return c
}
