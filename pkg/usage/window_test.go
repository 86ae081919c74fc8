package usage

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// hourOf is the hour of a text.
func hourOf(t *testing.T, s string) Hour {
	t.Helper()
	h, err := ParseHour(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestWindows(t *testing.T) {
	for _, c := range []struct{ window, in, begins, next, before string }{
		{"hour", "2026-11-30T23", "2026-11-30T23", "2026-12-01T00", "2026-11-30T22"},
		{"day", "2026-11-30T23", "2026-11-30T00", "2026-12-01T00", "2026-11-29T00"},
		{"day", "2026-03-01T00", "2026-03-01T00", "2026-03-02T00", "2026-02-28T00"},
		{"month", "2026-12-31T23", "2026-12-01T00", "2027-01-01T00", "2026-11-01T00"},
		{"month", "2028-02-29T12", "2028-02-01T00", "2028-03-01T00", "2028-01-01T00"},
	} {
		w, err := ParseWindow(c.window)
		if err != nil || w.String() != c.window {
			t.Fatalf("%s is read as %s (%v)", c.window, w, err)
		}
		h := hourOf(t, c.in)
		got := [3]string{w.Floor(h).String(), w.Add(h, 1).String(), w.Add(h, -1).String()}
		if want := [3]string{c.begins, c.next, c.before}; got != want {
			t.Errorf("the %s of %s: begins, next, before: %v, want %v", c.window, c.in, got, want)
		}
	}
	if w, err := ParseWindow("week"); err == nil {
		t.Errorf("a week is read as %s", w)
	}
}

func TestSumsOverWindows(t *testing.T) {
	one := Bucket{Entity: "a", Resource: "r"}
	other := Bucket{Entity: "a", Resource: "r", Variant: "shadow:x"}
	item := func(b Bucket, hour string, consumed, admitted, debt ratelimit.Millitokens) Item {
		h := hourOf(t, hour)
		return Item{b, "rpm", h, h + 1, Totals{consumed, admitted, debt}}
	}
	hours := []Item{
		item(one, "2026-12-01T00", 7000, 7000, 0),
		item(one, "2026-11-30T23", 5000, 4000, 300),
		item(other, "2026-11-30T23", 9000, 9000, 0),
		item(one, "2026-11-30T00", 1000, -1000, 700), // gave back what the day before had
	}
	day := func(b Bucket, from, to string, totals Totals) Item {
		return Item{b, "rpm", hourOf(t, from), hourOf(t, to), totals}
	}
	days := Sum(hours, Daily)
	if diff := cmp.Diff([]Item{
		day(one, "2026-11-30T00", "2026-12-01T00", Totals{6000, 3000, 700}),
		day(other, "2026-11-30T00", "2026-12-01T00", Totals{9000, 9000, 0}),
		day(one, "2026-12-01T00", "2026-12-02T00", Totals{7000, 7000, 0}),
	}, days); diff != "" {
		t.Errorf("days:\n%s", diff)
	}
	if diff := cmp.Diff([]Item{
		day(one, "2026-11-01T00", "2026-12-01T00", Totals{6000, 3000, 700}),
		day(other, "2026-11-01T00", "2026-12-01T00", Totals{9000, 9000, 0}),
		day(one, "2026-12-01T00", "2027-01-01T00", Totals{7000, 7000, 0}),
	}, Sum(days, Monthly)); diff != "" {
		t.Errorf("months:\n%s", diff)
	}
	if diff := cmp.Diff([]Summary{
		{one, "rpm", Totals{13000, 10000, 700}, 2, 7000, hourOf(t, "2026-12-01T00")},
		{other, "rpm", Totals{9000, 9000, 0}, 1, 9000, hourOf(t, "2026-11-30T00")},
	}, Summarize(days)); diff != "" {
		t.Errorf("summary:\n%s", diff)
	}
	if diff := cmp.Diff([]ratelimit.Millitokens{0, 12000, 7000}, Series(days, "rpm", Daily, hourOf(t, "2026-11-29T00"), hourOf(t, "2026-12-02T00"))); diff != "" {
		t.Errorf("series:\n%s", diff)
	}
}
