package ratelimit

import (
	"math"
	"slices"
)

// Write is one conditional change of one bucket, planned by the functions of
// this package. Every operation of charge.md is one. All its parts are
// conditions and updates of a bucket's attributes, so that a store that has
// them natively needs one request; [Write.Execute] says what they mean.
type Write struct {
	Key   Key
	Op    Op    // what the write is for; to count by, not to decide by
	Stamp Stamp // becomes `lt`

	// The condition: OrAbsent and the bucket is absent, or it is present and
	// all of these hold.
	OrAbsent bool
	Same     bool   // `v` is Revision and `sh` is Shape
	Revision int64  //
	Shape    Shape  //
	BornIs   *Stamp // `born` is this
	AtMost   *Stamp // `at` is not later than this
	TTLMin   int64  // not 0: `ttl` is at least this
	TTLBelow int64  // not 0: there is no `ttl`, or it is below this
	TTLSet   int64  // not 0: becomes `ttl`; the condition is TTLBelow

	// The update, beside that of the Limits. With NewShape, `v` becomes
	// NewRevision, `sh` NewHash, and `at` Reshaped if the bucket had none or
	// AtMost is given.
	NewShape    bool
	NewRevision int64
	NewHash     Shape
	Reshaped    Stamp
	TTLRemove   bool

	Limits []LimitWrite // at most one for each slot
}

// LimitWrite is the part of a write that concerns one limit.
type LimitWrite struct {
	Slot int // from 1
	// Min and Max bound `b`, inclusively; NoMin and NoMax where they don't. Any
	// bound, and Exists, needs the limit to be there.
	Min, Max Millitokens
	Exists   bool

	Form  Form
	Value Millitokens // what Form sets or adds

	Charged  Millitokens // added to `c`
	Returned Millitokens // added to `r`

	// Params, where not nil, become the limit's.
	Params *Params
}

// The absence of a bound.
const (
	NoMin Millitokens = math.MinInt64
	NoMax Millitokens = math.MaxInt64
)

// Form is what a write does to a balance.
type Form uint8

// The forms.
const (
	FormKeep        Form = iota
	FormAdd              // b += Value
	FormSet              // b = Value
	FormSetIfAbsent      // b = Value unless there is one
	FormRemove           // the limit goes; its counters stay
)

// Op is what a write is for.
type Op uint8

// The operations of charge.md, section 2.
const (
	OpCreate  Op = iota // create or full, 2.2
	OpCharge            // 2.3
	OpSettle            // settlements and adjustments, 2.5
	OpCredit            // 2.5
	OpReshape           // 2.6
	OpReset             // 2.5
)

var opNames = [...]string{"create", "charge", "settle", "credit", "reshape", "reset"}

// String is the operation's name, as metrics have it.
func (o Op) String() string { return nameOf(opNames[:], uint8(o)) }

// Execute is what the write means: whether its condition holds for a bucket,
// and the bucket after it. It does not change s. For stores in the process,
// and for tests of the others.
func (w *Write) Execute(s State) (State, bool) {
	if !w.holds(&s) {
		return s, false
	}
	return w.update(s), true
}

func (w *Write) holds(s *State) bool {
	if !s.Exists {
		return w.OrAbsent
	}
	switch {
	case w.Same && (s.Revision != w.Revision || s.Shape != w.Shape),
		w.BornIs != nil && s.Born != *w.BornIs,
		w.AtMost != nil && s.ShapedAt > *w.AtMost,
		w.TTLMin != 0 && s.ExpiresAt < w.TTLMin,
		w.TTLBelow != 0 && s.ExpiresAt >= w.TTLBelow:
		return false
	}
	for i := range w.Limits {
		if !w.Limits[i].holds(s) {
			return false
		}
	}
	return true
}

func (l *LimitWrite) holds(s *State) bool {
	if l.Min == NoMin && l.Max == NoMax && !l.Exists {
		return true
	}
	if l.Slot > len(s.Limits) || !s.Limits[l.Slot-1].On {
		return false
	}
	b := s.Limits[l.Slot-1].Balance
	return b >= l.Min && b <= l.Max
}

func (w *Write) update(s State) State {
	n := len(s.Limits)
	for i := range w.Limits {
		n = max(n, w.Limits[i].Slot)
	}
	old := s.Limits
	s.Limits = make([]LimitState, n)
	copy(s.Limits, old)
	for i := range w.Limits {
		w.Limits[i].update(&s.Limits[w.Limits[i].Slot-1])
	}
	if !s.Exists {
		s.Exists, s.Born = true, w.Stamp
	}
	if w.NewShape {
		if w.AtMost != nil || s.ShapedAt == 0 {
			s.ShapedAt = w.Reshaped
		}
		s.Revision, s.Shape = w.NewRevision, w.NewHash
	}
	if w.TTLSet != 0 {
		s.ExpiresAt = w.TTLSet
	}
	if w.TTLRemove {
		s.ExpiresAt = 0
	}
	s.Last = w.Stamp
	return s
}

func (l *LimitWrite) update(s *LimitState) {
	if l.Params != nil {
		s.Params = *l.Params
	}
	switch l.Form {
	case FormAdd:
		s.Balance = s.Balance.plus(l.Value)
	case FormSet:
		s.Balance, s.On = l.Value, true
	case FormSetIfAbsent:
		if !s.On {
			s.Balance, s.On = l.Value, true
		}
	case FormRemove:
		s.Balance, s.On = 0, false
	case FormKeep:
	}
	s.Charged = s.Charged.plus(l.Charged)
	s.Returned = s.Returned.plus(l.Returned)
}

// clone copies a write, so that a test may keep it.
func (w *Write) clone() *Write {
	c := *w
	c.Limits = slices.Clone(w.Limits)
	return &c
}
