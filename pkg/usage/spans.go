package usage

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Span is that a counter grew: from one value to a larger one.
type Span struct{ From, To ratelimit.Millitokens }

// Spans is a set of growth: in order, none empty, none meeting another. It is
// never changed in place.
type Spans []Span

// With is the set with more in it. What doesn't grow is left out.
func (s Spans) With(more ...Span) Spans {
	all := slices.Concat(s, more)
	all = slices.DeleteFunc(all, func(x Span) bool { return x.To <= x.From })
	slices.SortFunc(all, func(x, y Span) int { return cmp.Compare(x.From, y.From) })
	joined := all[:0]
	for _, x := range all {
		if n := len(joined); n > 0 && x.From <= joined[n-1].To {
			joined[n-1].To = max(joined[n-1].To, x.To)
			continue
		}
		joined = append(joined, x)
	}
	return slices.Clip(joined)
}

// Sum is how much was grown in all.
func (s Spans) Sum() (sum ratelimit.Millitokens) {
	for _, x := range s {
		sum += x.To - x.From
	}
	return sum
}

// String is the set as 0-3000,5000-6000. [ParseSpans] reads it.
func (s Spans) String() string {
	var b strings.Builder
	for i, x := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(int64(x.From), 10))
		b.WriteByte('-')
		b.WriteString(strconv.FormatInt(int64(x.To), 10))
	}
	return b.String()
}

// errSpans is a text that is no set of spans.
var errSpans = errors.New("is not FROM-TO, once or more, with commas")

// ParseSpans reads what [Spans.String] writes.
func ParseSpans(text string) (Spans, error) {
	if text == "" {
		return nil, nil
	}
	var all Spans
	for part := range strings.SplitSeq(text, ",") {
		from, to, ok := strings.Cut(part, "-")
		x, err := strconv.ParseInt(from, 10, 64)
		y, err2 := strconv.ParseInt(to, 10, 64)
		if !ok || err != nil || err2 != nil || x < 0 || y <= x {
			return nil, fmt.Errorf("%q %w", text, errSpans)
		}
		all = append(all, Span{ratelimit.Millitokens(x), ratelimit.Millitokens(y)})
	}
	return all.With(), nil
}
