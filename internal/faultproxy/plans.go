package faultproxy

import "math/rand/v2"

// Script is the plan of the first calls of one operation, in order; the others
// pass.
func Script(operation string, faults ...Fault) Plan {
	return func(c Call) Fault {
		if c.Operation != operation || c.N >= len(faults) {
			return Fault{}
		}
		return faults[c.N]
	}
}

// Share is a fault and how many of a thousand calls it befalls.
type Share struct {
	PerMille int
	Fault    Fault
}

// Random is a plan that draws what happens to the calls of one operation. The
// seed and a call's number decide, so that a run with the same calls in the
// same order has the same faults.
func Random(operation string, seed uint64, shares ...Share) Plan {
	return func(c Call) Fault {
		if c.Operation != operation {
			return Fault{}
		}
		n := rand.New(rand.NewPCG(seed, uint64(c.N))).IntN(1000) //nolint:gosec // repeatable on purpose; a call's number is not negative
		for _, s := range shares {
			if n < s.PerMille {
				return s.Fault
			}
			n -= s.PerMille
		}
		return Fault{}
	}
}
