package server

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestProcessorsFollowTheLoad(t *testing.T) {
	type load struct {
		used  float64 // processors
		looks int
	}
	for name, c := range map[string]struct {
		most  int
		loads []load
		want  []int // what is set, in order
	}{
		"idle: nothing":                    {8, []load{{0, 3 * calm}}, nil},
		"busy for a moment: nothing":       {8, []load{{1, hot - 1}, {0, 1}, {1, hot - 1}}, nil},
		"busy: twice as many, to the most": {8, []load{{1, hot}, {2, hot}, {4, hot}, {8, 3 * hot}}, []int{2, 4, 8}},
		"a most that is no power of two":   {6, []load{{1, hot}, {2, hot}, {4, hot}}, []int{2, 4, 6}},
		"calm: fewer, not before long":     {8, []load{{1, hot}, {0, calm - 1}}, []int{2}},
		"calm: fewer":                      {8, []load{{1, hot}, {0, calm}}, []int{2, 1}},
		"a peak keeps what it needs":       {8, []load{{1, hot}, {2, hot}, {4, hot}, {0.1, calm / 2}, {2, 1}, {0.1, calm / 2}}, []int{2, 4, 8, 3}},
		"busy again: calm anew":            {4, []load{{1, hot}, {0, calm - 1}, {2, 1}, {0, calm - 1}}, []int{2}},
		"one processor":                    {1, []load{{1, 10 * calm}, {0, calm}}, []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			var set []int
			p := &processors{n: 1, limit: c.most, most: func() int { return c.most }, set: func(n int) { set = append(set, n) }}
			for _, l := range c.loads {
				for range l.looks {
					p.look(l.used)
				}
			}
			if set = slices.Compact(set); !slices.Equal(set, c.want) { // to ask for the limit has it set again
				t.Errorf("set %v, want %v", set, c.want)
			}
		})
	}
}

func TestProcessorsTakeARaisedLimit(t *testing.T) {
	most := 2
	p := &processors{n: 2, limit: 2, most: func() int { return most }, set: func(int) {}}
	most = 4
	for range calm + hot {
		p.look(2)
	}
	if p.n != 4 {
		t.Errorf("%d are used, want all 4 that there may be now", p.n)
	}
}

// The share is of the time that has passed, however late a look comes.
func TestProcessorsMeasureTheTimeThatHasPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start, set := time.Now(), []int(nil)
		p := &processors{
			used: func() time.Duration { return time.Since(start) * 3 / 2 }, // one and a half
			most: func() int { return 8 }, set: func(n int) { set = append(set, n) },
		}
		go p.run(ctx)
		time.Sleep(look*(calm+hot) + look/2)
		cancel()
		synctest.Wait()
		if want := []int{1, 2, 8}; !slices.Equal(set, want) {
			t.Errorf("set %v, want %v: one, as many as it takes, and at the end as it was", set, want)
		}
	})
}

func TestProcessorsAreLeftToTheEnvironment(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Setenv("GOMAXPROCS", "7")
	TuneProcessors(t.Context())()
	if n := runtime.GOMAXPROCS(0); n != before {
		t.Errorf("%d processors, want the %d of before", n, before)
	}
}
