package ratelimit

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// limits draws valid limits of every size.
func limits() *rapid.Generator[Limit] {
	tokens := rapid.OneOf(rapid.Int64Range(1, 100), rapid.Int64Range(1, 1e6), rapid.Int64Range(1, MaxTokens), rapid.Just(int64(MaxTokens)))
	return rapid.Custom(func(t *rapid.T) Limit {
		return Limit{
			Name: rapid.StringMatching(`[a-zA-Z][a-zA-Z0-9._-]{0,5}`).Draw(t, "name"),
			Rate: tokens.Draw(t, "rate"), Burst: tokens.Draw(t, "burst"),
			Period: time.Millisecond * time.Duration(rapid.OneOf(
				rapid.SampledFrom([]int64{1_000, 60_000, 3_600_000, 86_400_000, 604_800_000, 1e12}),
				rapid.Int64Range(1, 1e12), rapid.Int64Range(1, 5_000),
			).Draw(t, "period")),
		}
	}).Filter(func(l Limit) bool { return l.Validate() == nil })
}

func TestParseLimit(t *testing.T) {
	for _, c := range []struct {
		text   string
		rate   int64
		period time.Duration
		burst  int64
		text2  string // as it is printed, where that differs
	}{
		{"rpm:100/min", 100, time.Minute, 100, ""},
		{"rpm:100", 100, time.Minute, 100, "rpm:100/min"},
		{"rpm:100:150", 100, time.Minute, 150, "rpm:100/min:150"},
		{"rpm:100/min:100", 100, time.Minute, 100, "rpm:100/min"},
		{"x:1/s", 1, time.Second, 1, ""},
		{"x:1/sec:5", 1, time.Second, 5, "x:1/s:5"},
		{"x:1/second", 1, time.Second, 1, "x:1/s"},
		{"x:1/m", 1, time.Minute, 1, "x:1/min"},
		{"x:1/minute", 1, time.Minute, 1, "x:1/min"},
		{"x:1/h", 1, time.Hour, 1, "x:1/hour"},
		{"x:1/hour", 1, time.Hour, 1, ""},
		{"x:1/d", 1, 24 * time.Hour, 1, "x:1/day"},
		{"x:1/day", 1, 24 * time.Hour, 1, ""},
		{"x:1/w", 1, 7 * 24 * time.Hour, 1, "x:1/week"},
		{"x:1/week", 1, 7 * 24 * time.Hour, 1, ""},
		{"x:1/10s", 1, 10 * time.Second, 1, ""},
		{"x:1/60s", 1, time.Minute, 1, "x:1/min"},
		{"x:1/90sec", 1, 90 * time.Second, 1, "x:1/90s"},
		{"x:1/14day", 1, 14 * 24 * time.Hour, 1, "x:1/2week"},
		{"x:1/1week", 1, 7 * 24 * time.Hour, 1, "x:1/week"},
		{"x:007/05min:09", 7, 5 * time.Minute, 9, "x:7/5min:9"},
		{"x:1000000000000000/1000000000s:1", 1e15, MaxPeriod, 1, ""},
		{"x:9000000/s:1000000000000000", 9e6, time.Second, 1e15, ""},
		{"a.B_c-9:1/s", 1, time.Second, 1, ""},
	} {
		got, err := ParseLimit(c.text)
		name, _, _ := strings.Cut(c.text, ":")
		if want := (Limit{name, c.rate, c.period, c.burst}); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", c.text, got, err, want)
		}
		want := c.text2
		if want == "" {
			want = c.text
		}
		if got.String() != want {
			t.Errorf("%s is printed %s, want %s", c.text, got, want)
		}
	}
}

func TestParseLimitRefuses(t *testing.T) {
	const form = `not NAME:RATE[/PERIOD][:BURST], as in rpm:100/min`
	period := func(p string) string {
		return `period "` + p + `" is not [N] and one of s, sec, second, m, min, minute, h, hour, d, day, w, week`
	}
	tooLong := func(p string) string { return `period "` + p + `" is not between 1 second and 1e9 seconds` }
	badName := func(n string) string {
		return `the name "` + n + `" is not a letter followed by letters, digits and . _ -`
	}
	for _, c := range []struct{ text, want string }{
		{"", form},
		{"100/min", form},
		{"rpm", form},
		{"rpm:", "the rate is missing"},
		{"rpm:/min", "the rate is missing"},
		{"rpm:100/", period("")},
		{"rpm:100/:5", period("")},
		{"rpm:100/min:", "the burst is missing"},
		{"rpm:100:", "the burst is missing"},
		{"rpm:0/min", "rate 0 is not between 1 and 1e15"},
		{"rpm:100/min:0", "burst 0 is not between 1 and 1e15"},
		{"rpm:1000000000000001/week", "rate 1000000000000001 is not between 1 and 1e15"},
		{"rpm:100/min:1000000000000001", "burst 1000000000000001 is not between 1 and 1e15"},
		{"rpm:99999999999999999999/s", "rate 99999999999999999999 is not between 1 and 1e15"},
		{"rpm:-1/min", `rate "-1" is not a whole number`},
		{"rpm:+1/min", `rate "+1" is not a whole number`},
		{"rpm:1.5/min", `rate "1.5" is not a whole number`},
		{"rpm:1e3/min", `rate "1e3" is not a whole number`},
		{"rpm:10k/min", `rate "10k" is not a whole number`},
		{"rpm:1_000/min", `rate "1_000" is not a whole number`},
		{"rpm: 100/min", `rate " 100" is not a whole number`},
		{"rpm:100 /min", `rate "100 " is not a whole number`},
		{"rpm:٣/min", `rate "٣" is not a whole number`},
		{"rpm:100/min:x", `burst "x" is not a whole number`},
		{"rpm:100/min:1:2", `burst "1:2" is not a whole number`},
		{"rpm:100/ min", period(" min")},
		{"rpm:100/Min", period("Min")},
		{"rpm:100/mins", period("mins")},
		{"rpm:100/month", period("month")},
		{"rpm:100/ms", period("ms")},
		{"rpm:100/500ms", period("500ms")},
		{"rpm:100/1.5s", period("1.5s")},
		{"rpm:100/-1s", period("-1s")},
		{"rpm:100/1", period("1")},
		{"rpm:100/min/min", period("min/min")},
		{"rpm:100/0s", tooLong("0s")},
		{"rpm:100/1000000001s", tooLong("1000000001s")},
		{"rpm:100/1654w", tooLong("1654w")},
		{"rpm:100/99999999999999999999s", tooLong("99999999999999999999s")},
		{":100/min", "the name is empty"},
		{"1pm:100/min", badName("1pm")},
		{".rpm:100/min", badName(".rpm")},
		{"r pm:100/min", badName("r pm")},
		{"r/pm:100/min", badName("r/pm")},
		{"débit:100/min", badName("débit")},
		{"r\x00:100/min", `the name "r\x00" is not a letter followed by letters, digits and . _ -`},
		{strings.Repeat("r", 65) + ":100/min", "the name is longer than 64 characters"},
		{"rpm:9000001/s", "9000001 in 1s is more than 9,000,000 tokens a second"},
		{"rpm:540000001/min", "540000001 in 1m0s is more than 9,000,000 tokens a second"},
		{"rpm:1/week:16535", "a bucket of 16535 takes longer than 1e10 seconds to fill at 1 in 168h0m0s"},
	} {
		_, err := ParseLimit(c.text)
		var bad *InvalidLimitError
		if !errors.As(err, &bad) {
			t.Errorf("%q: %v, want %s", c.text, err, c.want)
			continue
		}
		if bad.Reason != c.want || bad.Text != c.text {
			t.Errorf("%q: %s (of %q), want %s", c.text, bad.Reason, bad.Text, c.want)
		}
	}
	_, err := ParseLimit("rpm:0/min")
	if want := `limit "rpm:0/min": rate 0 is not between 1 and 1e15`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err = ParseRate("rpm", "100"); err == nil || err.Error() != `limit "100": no period: write RATE/PERIOD, as in 100/min` {
		t.Errorf("%v", err)
	}
}

func TestValidate(t *testing.T) {
	good := Custom("rpm", 100, 100, time.Minute)
	for _, c := range []struct {
		l    Limit
		want string // empty: valid
	}{
		{good, ""},
		{good.WithBurst(1), ""},
		{Custom("x", MaxTokens, 1, time.Microsecond), "period 1µs is not between 1ms and 1e9 seconds"},
		{Custom("x", 1, 1, time.Millisecond), ""},
		{Custom("x", 1, 1, time.Millisecond+time.Microsecond), "period 1.001ms is not a whole number of milliseconds"},
		{Custom("x", 1, 1, MaxPeriod), ""},
		{Custom("x", 1, 1, MaxPeriod+time.Millisecond), "period 277777h46m40.001s is not between 1ms and 1e9 seconds"},
		{Custom("x", 1, 1, -time.Second), "period -1s is not between 1ms and 1e9 seconds"},
		{Custom("x", 1, 1, math.MaxInt64), "period 2562047h47m16.854775807s is not between 1ms and 1e9 seconds"},
		{Custom("x", 1, 9_000, time.Millisecond), ""},
		{Custom("x", 1, 9_001, time.Millisecond), "9001 in 1ms is more than 9,000,000 tokens a second"},
		{Custom("x", 10, 1, MaxPeriod), ""},
		{Custom("x", 11, 1, MaxPeriod), "a bucket of 11 takes longer than 1e10 seconds to fill at 1 in 277777h46m40s"},
		{Custom("x", MaxTokens, 100_000, time.Second), ""},
		{Custom("x", MaxTokens, 99_999, time.Second), "a bucket of 1000000000000000 takes longer than 1e10 seconds to fill at 99999 in 1s"},
		{Custom("x", math.MinInt64, math.MaxInt64, time.Second), "rate 9223372036854775807 is not between 1 and 1e15; burst -9223372036854775808 is not between 1 and 1e15"},
		{Limit{}, "the name is empty; rate 0 is not between 1 and 1e15; burst 0 is not between 1 and 1e15; period 0s is not between 1ms and 1e9 seconds"},
	} {
		got := ""
		if err := c.l.Validate(); err != nil {
			var bad *InvalidLimitError
			if !errors.As(err, &bad) || bad.Limit != c.l {
				t.Errorf("%+v: %#v", c.l, err)
				continue
			}
			got = bad.Reason
		}
		if got != c.want {
			t.Errorf("%+v: %s\nwant %s", c.l, got, c.want)
		}
	}
}

func TestMakers(t *testing.T) {
	for _, c := range []struct{ got, want Limit }{
		{PerSecond("x", 5), Limit{"x", 5, time.Second, 5}},
		{PerMinute("x", 5), Limit{"x", 5, time.Minute, 5}},
		{PerHour("x", 5), Limit{"x", 5, time.Hour, 5}},
		{PerDay("x", 5), Limit{"x", 5, 24 * time.Hour, 5}},
		{Custom("x", 7, 5, time.Minute), Limit{"x", 5, time.Minute, 7}},
		{PerDay("x", 5).WithBurst(9), Limit{"x", 5, 24 * time.Hour, 9}},
	} {
		if c.got != c.want {
			t.Errorf("%+v, want %+v", c.got, c.want)
		}
	}
	// A period that the text form has no unit for is shown all the same.
	if got := Custom("x", 7, 5, 1500*time.Millisecond).String(); got != "x:5/1500ms:7" {
		t.Errorf("%s", got)
	}
}

// What is printed is read back as the same limit.
func TestTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := limits().Filter(func(l Limit) bool { return l.Period%time.Second == 0 }).Draw(t, "limit")
		if got, err := ParseLimit(l.String()); err != nil || got != l {
			t.Errorf("%s: %+v, %v", l, got, err)
		}
		if got, err := ParseRate(l.Name, l.Text()); err != nil || got != l {
			t.Errorf("%s: %+v, %v", l, got, err)
		}
	})
}

func FuzzParseRate(f *testing.F) {
	for _, s := range []string{"100/min", "1/s:5", "007/05min:09", "1/1000000000s", "9000000/s:1", "/", "1/", "1//:", "1/w:1e9", "\xff/\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseRate("rpm", text)
		if err != nil {
			var bad *InvalidLimitError
			if !errors.As(err, &bad) || bad.Text != text || bad.Reason == "" {
				t.Fatalf("%q: %#v", text, err)
			}
			return
		}
		if err := l.Validate(); err != nil {
			t.Fatalf("%q is read as what is not valid: %v", text, err)
		}
		if again, err := ParseRate("rpm", l.Text()); err != nil || again != l {
			t.Fatalf("%q is printed %q and read as %+v, %v", text, l.Text(), again, err)
		}
		if named, err := ParseLimit("rpm:" + text); err != nil || named != l {
			t.Fatalf("%q with a name: %+v, %v", text, named, err)
		}
	})
}
