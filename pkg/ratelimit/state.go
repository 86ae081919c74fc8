package ratelimit

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// State is a bucket as a store holds it. Its Limits are shared and not to be
// changed. The zero State is an absent bucket.
type State struct {
	Exists    bool
	Revision  int64 // `v`: the largest revision among what shaped it
	Shape     Shape // `sh`
	ShapedAt  Stamp // `at`: stamp of the last shape
	Last      Stamp // `lt`: stamp of the last write, by its writer's clock
	Born      Stamp // `born`: creation stamp; tells incarnations apart
	ExpiresAt int64 // `ttl`: Unix seconds; 0 where the limits are an entity's own
	// Limits are in the order of their slots: that of slot n is Limits[n-1].
	// A slot belongs to one name for as long as the bucket lives.
	Limits []LimitState
}

// LimitState is one limit of a bucket.
type LimitState struct {
	Params
	// On is false for a limit that was taken away: its balance is gone, its
	// counters stay.
	On bool
	// Balance is `b`: what the bucket held at some moment, less the refill from
	// the epoch to that moment. What it holds at t is Available(t).
	Balance  Millitokens
	Charged  Millitokens // `c`: all that was ever charged
	Returned Millitokens // `r`: all that was ever given back
}

// Params are the numbers of a limit as a bucket keeps them. They are
// comparable.
type Params struct {
	Name     string
	Capacity Millitokens
	Refill   Refill
}

// ParamsOf are the numbers of a limit.
func ParamsOf(l Limit) Params {
	return Params{Name: l.Name, Capacity: Milli(l.Burst), Refill: continuous(l)}
}

// Is reports whether these are the numbers of the limit, without allocating.
func (p Params) Is(l Limit) bool {
	c, ok := p.Refill.(Continuous)
	return ok && c == continuous(l) && p.Capacity == Milli(l.Burst) && p.Name == l.Name
}

// Raw is what the limit would hold at t if it could overflow.
func (l *LimitState) Raw(t Stamp) Millitokens { return l.Balance.plus(l.Refill.Total(t)) }

// Available is what the limit holds at t; below zero it is a debt.
func (l *LimitState) Available(t Stamp) Millitokens { return min(l.Capacity, l.Raw(t)) }

// EnoughAt is the stamp from which on the limit holds c, of a limit that is
// not charged until then. c is at most the capacity.
func (l *LimitState) EnoughAt(c Millitokens) Stamp { return l.Refill.Reach(c.minus(l.Balance)) }

// Find is the limit of a name that the bucket has, or nil.
func (s *State) Find(name string) *LimitState {
	if i := s.slot(name); i >= 0 && s.Limits[i].On {
		return &s.Limits[i]
	}
	return nil
}

// slot is the index of a name among the slots, also of a limit that is gone,
// or -1.
func (s *State) slot(name string) int {
	for i := range s.Limits {
		if s.Limits[i].Name == name {
			return i
		}
	}
	return -1
}

// FullAt is the stamp from which on a bucket that isn't charged holds nothing
// that arithmetic does not know: each of its limits is full.
func (s *State) FullAt() Stamp {
	full := s.Last
	for i := range s.Limits {
		if l := &s.Limits[i]; l.On {
			full = max(full, l.EnoughAt(l.Capacity))
		}
	}
	return full
}

// Shape is a hash of the slots and the parameters of all limits that a bucket
// has, `sh` of charge.md: a write that computes with parameters is refused by a
// bucket of another shape.
type Shape uint64

// shapeOf hashes the limits in the order of their names.
func shapeOf(limits []LimitState) Shape {
	order := make([]int, 0, 16)
	for i := range limits {
		if limits[i].On {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(limits[a].Name, limits[b].Name) })
	b := make([]byte, 0, 256)
	for _, i := range order {
		b = append(b, byte(i+1), byte((i+1)>>8))
		b = limits[i].appendText(b)
		b = append(b, 0)
	}
	return Shape(xxhash.Sum64(b))
}

// appendText appends an unambiguous form of the parameters.
func (p Params) appendText(b []byte) []byte {
	b = append(b, p.Name...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Capacity))
	c, _ := p.Refill.(Continuous)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Amount))
	return binary.BigEndian.AppendUint64(b, uint64(c.Period))
}
