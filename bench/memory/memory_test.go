package main

import (
	"runtime/metrics"
	"strings"
	"testing"
	"time"
)

// All is measured in small: the figures mean nothing, but everything must be
// there.
func TestMeasurement(t *testing.T) {
	m := measurement{live: 1000, churn: 20_000, callers: 4, charging: 10 * time.Millisecond}
	var out strings.Builder
	if err := run(&m, false, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1000 live buckets: held", "resident", "20000 new keys", "after quarter 4", "pauses"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no word of %q:\n%s", want, out.String())
		}
	}
}

// A quantile is the upper end of the bucket that it lies in.
func TestQuantile(t *testing.T) {
	h := metrics.Float64Histogram{Buckets: []float64{0, .001, .002, .004}, Counts: []uint64{98, 1, 1}}
	for part, want := range map[float64]time.Duration{.5: time.Millisecond, .99: 2 * time.Millisecond, 1: 4 * time.Millisecond} {
		if n, got := quantile(h, part); n != 100 || got != want {
			t.Errorf("%v of %d is %v, want %v", part, n, got, want)
		}
	}
	if n, got := quantile(metrics.Float64Histogram{Buckets: []float64{0, 1}, Counts: []uint64{0}}, .5); n != 0 || got != 0 {
		t.Errorf("of nothing: %d, %v", n, got)
	}
}
