// Package hist is a log-linear histogram of durations: less than 1.6 % error,
// no allocation for a sample. Each goroutine fills one of its own, and Merge
// joins them. It imports the standard library alone; start at H.
package hist

import (
	"math/bits"
	"time"
)

const (
	sub     = 6 // 64 buckets for each power of two
	buckets = (64 - sub) << sub
)

// H is a histogram. Its zero value is empty; it is for one goroutine.
type H struct {
	n     [buckets]uint64
	count uint64
	max   time.Duration
}

// index is the bucket of a value.
func index(v uint64) int {
	if v < 1<<sub {
		return int(v)
	}
	e := bits.Len64(v) - 1 - sub
	return (e+1)<<sub + int(v>>e) - 1<<sub
}

// upper is the largest value that index puts into a bucket.
func upper(i int) uint64 {
	if i < 1<<sub {
		return uint64(i) //nolint:gosec // an index
	}
	e := i>>sub - 1
	return uint64(i&(1<<sub-1)+1<<sub+1)<<e - 1 //nolint:gosec // an index
}

// Add counts one sample.
func (h *H) Add(d time.Duration) {
	h.n[index(uint64(max(d, 0)))]++
	h.count++
	h.max = max(h.max, d)
}

// Merge adds the samples of another histogram.
func (h *H) Merge(o *H) {
	for i, n := range o.n {
		h.n[i] += n
	}
	h.count += o.count
	h.max = max(h.max, o.max)
}

// Count is the number of samples.
func (h *H) Count() uint64 { return h.count }

// Max is the largest sample.
func (h *H) Max() time.Duration { return h.max }

// Quantile is a value that a share q of the samples isn't above.
func (h *H) Quantile(q float64) time.Duration {
	want := uint64(q*float64(h.count) + .5)
	var seen uint64
	for i, n := range h.n {
		if seen += n; n > 0 && seen >= want {
			return min(time.Duration(upper(i)), h.max) //nolint:gosec // a duration went in
		}
	}
	return h.max
}
