package dynamostore

import (
	"strings"
	"testing"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// What is said of a charge's price is never too little, and not much too much:
// items of real buckets are as large as it says.
func TestWriteUnits(t *testing.T) {
	s, _ := newStore(t)
	for _, c := range []struct {
		entity, resource string
		limits           int
		want             int
	}{
		{"user-123", "gpt-4", 2, 1},
		{strings.Repeat("e", 256), strings.Repeat("r", 64), 4, 1},
		{strings.Repeat("e", 256), strings.Repeat("r", 64), 12, 2},
		{"user-123", "gpt-4", 20, 2},
	} {
		limits := manyLimits(c.limits, 1_000_000)
		l, err := ratelimit.New(ratelimit.Config{Store: s, Resolver: &fixed{limits: limits, expires: true}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Acquire(t.Context(), ratelimit.Request{Entity: c.entity, Resource: c.resource}); err != nil {
			t.Fatal(err)
		}
		k, err := ratelimit.NewKey("default", c.entity, c.resource, "")
		if err != nil {
			t.Fatal(err)
		}
		size := itemSize(raw(t, s, k))
		if real := (size + unitBytes - 1) / unitBytes; real != c.want {
			t.Errorf("%d limits: an item of %d bytes costs %d", c.limits, size, real)
		}
		if got := WriteUnits(c.entity, c.resource, limits); got != c.want {
			t.Errorf("%d limits: WriteUnits is %d, want %d", c.limits, got, c.want)
		}
	}
	if got := WriteUnits("", "", manyLimits(4, 1_000_000)); got != 1 {
		t.Errorf("4 limits of anybody: %d", got)
	}
}
