package ratelimit

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestSeenWeighsWhatItHolds: of a key the cache holds the ID, and nothing of the
// raw parts that lie behind it.
func TestSeenWeighsWhatItHolds(t *testing.T) {
	const entries = 20_000
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	s := newSeen(entries, defaultBytes)
	before := heap()
	for i := range entries {
		k, err := NewKey("default", fmt.Sprintf("/%06d", i)+strings.Repeat("x", 240), "/"+strings.Repeat("y", 120), "")
		if err != nil {
			t.Fatal(err)
		}
		limits := []LimitState{{Params: ParamsOf(PerMinute("rpm", 1))}}
		s.put(k.ID(), sight{state: State{Exists: true, Limits: limits}, at: time.Unix(int64(i), 0)})
	}
	held := heap() - before
	if held > s.bytes*5/4 {
		t.Errorf("%d bytes are held of each entry, which is said to take %d", held/entries, s.bytes/entries)
	}
	runtime.KeepAlive(s)
}
