package hist

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestBucketsMeet(t *testing.T) {
	for i := range 40 << sub {
		if got := index(upper(i)); got != i {
			t.Fatalf("index(upper(%d)) = %d", i, got)
		}
		if got := index(upper(i) + 1); got != i+1 {
			t.Fatalf("index(upper(%d)+1) = %d", i, got)
		}
	}
}

func TestQuantile(t *testing.T) {
	const n = 100_000
	var odd, even H
	for _, v := range rand.Perm(n) {
		h := &odd
		if v%2 == 0 {
			h = &even
		}
		h.Add(time.Duration(v+1) * time.Microsecond)
	}
	odd.Merge(&even)
	for _, q := range []float64{.5, .99, .999, 1} {
		want := q * n
		if got := float64(odd.Quantile(q).Microseconds()); got < want*.999 || got > want*1.016 {
			t.Errorf("Quantile(%v) = %v µs, want about %v", q, got, want)
		}
	}
	if odd.Count() != n || odd.Max() != n*time.Microsecond {
		t.Errorf("%d samples, the largest %v", odd.Count(), odd.Max())
	}
}
