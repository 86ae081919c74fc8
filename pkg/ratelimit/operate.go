package ratelimit

import (
	"fmt"
	"slices"
	"strings"
)

// UnknownLimitError says that a bucket has no limit of a name.
type UnknownLimitError struct {
	Name string
	Has  []string // the limits that the bucket has, in the order of their names
}

func (e *UnknownLimitError) Error() string {
	return fmt.Sprintf("the bucket has no limit %q: it has %s", e.Name, strings.Join(e.Has, ", "))
}

// PlanReset plans to fill limits of a bucket, or, where none is named, all of
// them: an operator's reset of charge.md 2.5. The bucket is there; a write that
// is refused is planned again from the state that refused it. What was charged
// stays counted. The error is an [*UnknownLimitError].
func PlanReset(k Key, s *State, now Stamp, limits []string) (*Write, error) {
	w := byHand(k, s, now)
	w.Same, w.Revision, w.Shape = true, s.Revision, s.Shape
	if len(limits) == 0 {
		limits = on(s)
	}
	for _, name := range limits {
		i := s.slot(name)
		if i < 0 || !s.Limits[i].On {
			return nil, &UnknownLimitError{name, on(s)}
		}
		p := &s.Limits[i].Params
		w.Limits = append(w.Limits, LimitWrite{
			Slot: i + 1, Min: NoMin, Max: NoMax, Exists: true,
			Form: FormSet, Value: p.Capacity.minus(p.Refill.Total(w.Stamp)),
		})
	}
	return w, nil
}

// PlanTopUp plans to add tokens to limits of a bucket, which hold no more than
// their capacity in the end. The bucket is there, as for [PlanReset]. It is no
// credit: nothing counts as returned. The error is an [*UnknownLimitError], or
// an [*InvalidCostError] for an amount that is not between 1 and [MaxTokens].
func PlanTopUp(k Key, s *State, now Stamp, add []Take) (*Write, error) {
	w := byHand(k, s, now)
	born := s.Born
	w.BornIs = &born
	for _, a := range add {
		if a.Tokens < 1 || a.Tokens > MaxTokens {
			return nil, &InvalidCostError{Limit: a.Limit, Tokens: a.Tokens}
		}
		i := s.slot(a.Limit)
		if i < 0 || !s.Limits[i].On {
			return nil, &UnknownLimitError{a.Limit, on(s)}
		}
		w.Limits = append(w.Limits, LimitWrite{
			Slot: i + 1, Min: NoMin, Max: NoMax, Exists: true, Form: FormAdd, Value: Milli(a.Tokens),
		})
	}
	return w, nil
}

// byHand begins a write that is no charge.
func byHand(k Key, s *State, now Stamp) *Write {
	return &Write{Key: k, Op: OpReset, Stamp: max(now, s.Last)}
}

// on are the names of the limits that a bucket has.
func on(s *State) []string {
	var names []string
	for i := range s.Limits {
		if s.Limits[i].On {
			names = append(names, s.Limits[i].Name)
		}
	}
	slices.Sort(names)
	return names
}
