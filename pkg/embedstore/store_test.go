package embedstore

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/extauthz/extauthz/pkg/ratelimit"
	"github.com/extauthz/extauthz/pkg/ratelimit/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) ratelimit.Store { return New(Config{}) })
}

// One shard for all: every test's buckets share a lock, and sweeps come often.
func TestConformanceOfOneShard(t *testing.T) {
	one := New(Config{Shards: 1, Keep: time.Second})
	storetest.Run(t, func(*testing.T) ratelimit.Store { return one })
}

func key(t testing.TB, i int) ratelimit.Key {
	t.Helper()
	k, err := ratelimit.NewKey("default", fmt.Sprintf("user-%d", i), "api", "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// second is a limit of 10 a second with 10 in the bucket.
var second = ratelimit.ParamsOf(ratelimit.PerSecond("rps", 10))

// take charges a bucket that is made full where it isn't there.
func take(k ratelimit.Key, at ratelimit.Stamp, tokens int64) *ratelimit.Write {
	left := second.Capacity - ratelimit.Milli(tokens) - second.Refill.Total(at)
	return &ratelimit.Write{
		Key: k, Stamp: at, OrAbsent: true, Same: true, Revision: -1,
		Limits: []ratelimit.LimitWrite{{
			Slot: 1, Min: ratelimit.NoMin, Max: ratelimit.NoMax, Form: ratelimit.FormSet, Value: left, Params: &second,
		}},
	}
}

func apply(t testing.TB, s *Store, w *ratelimit.Write) {
	t.Helper()
	if _, err := s.Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

func exists(t testing.TB, s *Store, k ratelimit.Key) bool {
	t.Helper()
	b, err := s.Get(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	return b.Exists
}

func TestSweep(t *testing.T) {
	s := New(Config{Keep: 3 * time.Second})
	apply(t, s, take(key(t, 1), 100_000, 5))  // full at 100.5 s
	apply(t, s, take(key(t, 2), 100_000, 10)) // full at 101 s
	apply(t, s, take(key(t, 3), 100_000, 25)) // in debt: full at 102.5 s
	for _, c := range []struct {
		now           ratelimit.Stamp
		dropped, left int
	}{
		{100_000, 0, 3}, {103_499, 0, 3}, {103_500, 1, 2}, {103_999, 0, 2}, {104_000, 1, 1}, {105_499, 0, 1}, {105_500, 1, 0}, {1 << 50, 0, 0},
	} {
		if got := s.Sweep(c.now); got != c.dropped || s.Len() != c.left {
			t.Errorf("at %d: %d dropped, %d left", c.now, got, s.Len())
		}
	}
	apply(t, s, take(key(t, 4), 100_000, 1))
	if !exists(t, s, key(t, 4)) || exists(t, s, key(t, 1)) {
		t.Error("after the sweeps")
	}
}

// One bucket after the other, each used for a moment: what is held follows the
// buckets that aren't full, not those ever seen.
func TestMemoryFollowsUse(t *testing.T) {
	s := New(Config{Shards: 4, Keep: time.Second})
	most := 0
	for i := range 200_000 {
		apply(t, s, take(key(t, i), ratelimit.Stamp(i), 10)) // 1,000 a second, each full after one and kept one more
		most = max(most, s.Len())
	}
	// 2,000 in use, and as many again before a shard is swept.
	if most > 2*2_000+4*minSweep {
		t.Errorf("held %d", most)
	}
	sizes := 0
	for i := range s.shards {
		sizes += s.shards[i].peak
	}
	if sizes > 2*most {
		t.Errorf("tables of %d", sizes)
	}
}

// After a burst of many keys the table itself is given back.
// A flood of new buckets takes no more memory than it may; what is full makes
// room, which is looked for once a second.
func TestFull(t *testing.T) {
	s := New(Config{Shards: 1, MaxBuckets: 100, Keep: -1})
	for i := range 100 {
		apply(t, s, take(key(t, i), 10_000, 10)) // full again at 11,000
	}
	for _, at := range []ratelimit.Stamp{10_010, 10_500, 11_009} {
		_, err := s.Apply(t.Context(), take(key(t, 100), at, 1))
		if !errors.Is(err, ErrFull) || !errors.Is(err, ratelimit.ErrUnusable) || !errors.Is(err, ratelimit.ErrNotApplied) {
			t.Fatalf("a new bucket of a full store at %d: %v, want ErrFull", at, err)
		}
	}
	if s.Len() != 100 {
		t.Errorf("%d buckets, want 100", s.Len())
	}
	apply(t, s, take(key(t, 100), 11_010, 1))
	if s.Len() != 1 {
		t.Errorf("%d buckets after the others were full, want 1", s.Len())
	}
}

func TestShrink(t *testing.T) {
	s := New(Config{})
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	empty := heap()
	for i := range 200_000 {
		apply(t, s, take(key(t, i), 0, 1))
	}
	full := heap()
	if n := s.Sweep(3_600_000); n != 200_000 {
		t.Fatalf("dropped %d", n)
	}
	if left := heap(); left > empty+(full-empty)/20 {
		t.Errorf("%d KB before, %d KB full, %d KB after", empty>>10, full>>10, left>>10)
	}
	for i := range s.shards {
		if p := s.shards[i].peak; p != 0 {
			t.Fatalf("shard %d still counts %d", i, p)
		}
	}
	runtime.KeepAlive(s)
}

func TestBytesPerBucket(t *testing.T) {
	const most = 300
	short := bytesPerBucket(t, "api", 200_000)
	if short > most {
		t.Errorf("%d bytes a bucket, more than %d", short, most)
	}
	// A path is three times as long in a key's ID, behind which it lies itself.
	name, path := bytesPerBucket(t, strings.Repeat("x", 126), 20_000), bytesPerBucket(t, strings.Repeat("/", 42), 20_000)
	if path > name+16 {
		t.Errorf("%d bytes a bucket of a path, %d of a name", path, name)
	}
	t.Logf("%d bytes a bucket, %d of a long name, %d of a path", short, name, path)
}

func bytesPerBucket(t *testing.T, resource string, n int) uint64 {
	t.Helper()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s := New(Config{})
	for i := range n {
		k, err := ratelimit.NewKey("default", fmt.Sprintf("user-%d", i), resource, "")
		if err != nil {
			t.Fatal(err)
		}
		apply(t, s, take(k, 0, 1))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(s)
	return (after.HeapAlloc - before.HeapAlloc) / uint64(n)
}

func TestAllocations(t *testing.T) {
	s, k := New(Config{}), key(t, 1)
	apply(t, s, take(k, 0, 1))
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _, _ = s.Get(ctx, k) }); n != 0 {
		t.Errorf("Get: %v allocations", n)
	}
	w := add(k)
	if n := testing.AllocsPerRun(100, func() { _, _ = s.Apply(ctx, w) }); n > 1 {
		t.Errorf("Apply: %v allocations", n)
	}
}

func add(k ratelimit.Key) *ratelimit.Write {
	return &ratelimit.Write{Key: k, Limits: []ratelimit.LimitWrite{
		{Slot: 1, Min: -1 << 60, Max: ratelimit.NoMax, Form: ratelimit.FormAdd, Value: -1, Charged: 1},
	}}
}

func TestShards(t *testing.T) {
	for asked, want := range map[int]int{-1: 256, 0: 256, 1: 1, 2: 2, 3: 4, 64: 64, 65: 128, 1 << 30: maxShards} {
		s := New(Config{Shards: asked})
		if got := len(s.shards); got != want || bits.OnesCount(uint(got)) != 1 {
			t.Errorf("%d shards for %d", got, asked)
		}
	}
	s := New(Config{Shards: 16})
	for i := range 4_000 {
		apply(t, s, take(key(t, i), 0, 1))
	}
	for i := range s.shards {
		if n := s.shards[i].len(); n < 100 || n > 500 {
			t.Errorf("shard %d holds %d of 4000", i, n)
		}
	}
}

// Sweeps go on while buckets are written, drop those that are full, and none
// that isn't.
func TestSweepWhileWriting(t *testing.T) {
	const workers, each = 4, 2_000
	s := New(Config{Shards: 2, Keep: -1})
	var wg sync.WaitGroup
	for g := range workers {
		wg.Go(func() {
			for i := range each {
				at := ratelimit.Stamp(i % 1_000)
				apply(t, s, take(key(t, 2*(g*each+i)), at, 10)) // full at 1,000 at the earliest
				apply(t, s, take(key(t, 2*(g*each+i)+1), at, 0))
			}
		})
		wg.Go(func() {
			for range 50 {
				s.Sweep(999)
				s.Len()
			}
		})
	}
	wg.Wait()
	s.Sweep(999)
	if n := s.Len(); n != workers*each {
		t.Errorf("%d buckets held", n)
	}
	for i := range workers * each {
		if !exists(t, s, key(t, 2*i)) {
			t.Fatalf("bucket %d is gone", i)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1, 10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, keys := filled(b, n)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				ctx := context.Background()
				for i := 0; pb.Next(); i++ {
					_, _ = s.Get(ctx, keys[i%len(keys)])
				}
			})
		})
	}
}

func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, keys := filled(b, n)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				ctx, w := context.Background(), add(keys[0])
				for i := 0; pb.Next(); i++ {
					w.Key = keys[i%len(keys)]
					if _, err := s.Apply(ctx, w); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkCreate makes buckets that are full again soon, sweeps included.
func BenchmarkCreate(b *testing.B) {
	s := New(Config{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		apply(b, s, take(key(b, i), ratelimit.Stamp(i), 1))
	}
	b.ReportMetric(float64(s.Len()), "held")
}

func filled(b *testing.B, n int) (*Store, []ratelimit.Key) {
	s := New(Config{})
	keys := make([]ratelimit.Key, n)
	for i := range keys {
		keys[i] = key(b, i)
		apply(b, s, take(keys[i], 0, 1))
	}
	return s, keys
}
