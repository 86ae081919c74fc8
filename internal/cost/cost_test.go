package cost

import (
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// usual is the load of the worked example in docs/operations.md.
func usual() Load {
	return Load{
		Requests: 100, Keys: 500, Overload: 1.5, Processes: 4, Buckets: 1,
		Aggregator: true, Window: time.Minute, Keep: 90 * 24 * time.Hour,
	}
}

// lines are the dollars of a bill, by what for.
func lines(t *testing.T, l Load) (map[string]float64, float64) {
	t.Helper()
	p := USEast1()
	b, err := Of(&l, &p)
	if err != nil {
		t.Fatal(err)
	}
	all, sum := map[string]float64{}, 0.0
	for _, x := range b.Lines {
		all[x.What] = x.Dollars
		sum += x.Dollars
	}
	if math.Abs(sum-b.Dollars) > 1e-9 {
		t.Errorf("the lines are %v, all is %v", sum, b.Dollars)
	}
	return all, b.Dollars
}

// What is computed by hand: a month has 2,628,000 seconds.
func TestBillByHand(t *testing.T) {
	l := usual()
	got, _ := lines(t, l)
	for what, want := range map[string]float64{
		"charges":                       66.6667 * 1.34 * 2.628 * 0.625,
		"rejections that ask the store": 33.3333 * 2.628 * 0.625, // fewer than 500 x 4 x 4 polls
		"polls of limits and versions":  2 * 4 / 5.0 * 2.628 * 0.125,
		// 3,000 records are gathered after 33.6 s, in which 98.9 % of the buckets are charged.
		"usage: hours written": 500 * 0.98866 * (2.628e6 / 33.582) / 1e6 * 0.625,
		"usage: hours begun":   500 * 730 / 1e6 * 0.625,
		"items":                (500*700 + 500*2160*300) / 1e9 * 0.25,
		"alarms":               0.70,
	} {
		if math.Abs(got[what]-want) > 0.01 {
			t.Errorf("%s: %.3f dollars, want %.3f", what, got[what], want)
		}
	}

	one := usual()
	one.Keys, one.Overload, one.Processes = 1, 100, 1
	got, _ = lines(t, one)
	if want := 4 * 2.628 * 0.625; math.Abs(got["rejections that ask the store"]-want) > 0.001 {
		t.Errorf("one bucket that is asked for a hundred times too much: %v dollars, want %v: 4 polls a second", got, want)
	}
	none := usual()
	none.Aggregator = false
	with, all := lines(t, usual())
	_, without := lines(t, none)
	if less := all - without; less < with["usage: hours written"] || with["usage: hours written"] == 0 {
		t.Errorf("without usage it is %v dollars less", less)
	}
}

// More of anything never costs less.
func TestBillGrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Load{
			Requests: rapid.Float64Range(0, 1e5).Draw(t, "requests"), Keys: rapid.IntRange(1, 1e6).Draw(t, "keys"), Overload: 1,
			Processes: rapid.IntRange(1, 100).Draw(t, "processes"), Buckets: rapid.IntRange(1, 9).Draw(t, "buckets"),
			Aggregator: true, Window: time.Duration(rapid.IntRange(1, 300).Draw(t, "window")) * time.Second, Keep: 24 * time.Hour,
		}
		p := USEast1()
		was, err := Of(&l, &p)
		if err != nil {
			t.Fatal(err)
		}
		for what, more := range map[string]func(*Load){
			"requests":  func(l *Load) { l.Requests *= 2 },
			"keys":      func(l *Load) { l.Keys *= 2 },
			"processes": func(l *Load) { l.Processes++ },
			"buckets":   func(l *Load) { l.Buckets++ },
			"keep":      func(l *Load) { l.Keep *= 2 },
		} {
			m := l
			more(&m)
			is, err := Of(&m, &p)
			if err != nil {
				t.Fatal(err)
			}
			if is.Dollars < was.Dollars-1e-6*was.Dollars {
				t.Errorf("more %s: %v dollars, before %v", what, is.Dollars, was.Dollars)
			}
		}
		l.Overload = rapid.Float64Range(1, 1000).Draw(t, "overload")
		is, err := Of(&l, &p)
		if err != nil {
			t.Fatal(err)
		}
		if is.Dollars > was.Dollars*1.0001 {
			t.Errorf("what is refused costs more than what is admitted: %v, %v dollars", is.Dollars, was.Dollars)
		}
	})
}

func TestLoadsThatCantBe(t *testing.T) {
	p := USEast1()
	for name, change := range map[string]func(*Load){
		"requests": func(l *Load) { l.Requests = -1 }, "infinite": func(l *Load) { l.Requests = math.Inf(1) }, "NaN": func(l *Load) { l.Overload = math.NaN() },
		"keys": func(l *Load) { l.Keys = 0 }, "overload": func(l *Load) { l.Overload = -1 }, "processes": func(l *Load) { l.Processes = 0 },
		"buckets": func(l *Load) { l.Buckets = 0 }, "window": func(l *Load) { l.Window = 0 }, "keep": func(l *Load) { l.Keep = 0 },
	} {
		l := usual()
		change(&l)
		if _, err := Of(&l, &p); !errors.Is(err, ErrLoad) {
			t.Errorf("%s: %v", name, err)
		}
	}
	idle := usual()
	idle.Requests = 0
	if b, err := Of(&idle, &p); err != nil || b.PerMillion != 0 || math.IsNaN(b.Dollars) {
		t.Errorf("idle: %+v, %v", b, err)
	}
}
