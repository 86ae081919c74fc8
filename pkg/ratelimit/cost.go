package ratelimit

// Cost is what one charge takes: either the same from each limit of the
// bucket, or what it names. The zero Cost takes nothing and looks at nothing.
type Cost struct {
	each  int64
	all   bool
	takes []Take
}

// Take is what is taken from one limit, in whole tokens; 0 looks at it: the
// charge is refused while the limit is at or below zero.
type Take struct {
	Limit  string
	Tokens int64
}

// EachLimit takes n tokens from each limit of the bucket; 0 looks at each.
func EachLimit(n int64) Cost { return Cost{each: n, all: true} }

// TakeNamed takes from the limits that are named, each at most once. The slice
// is kept and must not be changed.
func TakeNamed(takes ...Take) Cost { return Cost{takes: takes} }

// Of is what the cost takes from a limit, and whether it names it at all.
func (c Cost) Of(limit string) (tokens int64, named bool) {
	if c.all {
		return c.each, true
	}
	for _, t := range c.takes {
		if t.Limit == limit {
			return t.Tokens, true
		}
	}
	return 0, false
}

// Takes are the limits that the cost names; nil for [EachLimit].
func (c Cost) Takes() []Take { return c.takes }

// MaxCost is the most that a charge may take from one limit, in tokens.
const MaxCost = MaxTokens
