package decision

import (
	"context"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// giveBack credits what the requests of the call give back, whatever else is
// decided: MaxCharges buckets at most. It changes no verdict. What is lost with
// a store that doesn't answer stays charged.
func (c *call) giveBack(ctx context.Context, a *Answer) {
	var credits []ratelimit.Charge
	first := make([]int, len(a.Parts)+1)
	for i := range a.Parts {
		for _, credit := range a.Parts[i].Outcome.Credits {
			if len(credits) < MaxCharges {
				credits = append(credits, credit.Charge)
			}
		}
		first[i+1] = len(credits)
	}
	credit := c.limiter.Credit
	if c.looks {
		credit = c.limiter.Look
	}
	d, err := credit(ctx, c.askFor(credits))
	if err != nil {
		if len(c.charges) == 0 && a.Verdict == Allow { // the answer is about the refund alone
			a.Reason, a.Source, a.Err = ReasonUnavailable, ratelimit.SourceFallback, err
		}
		return
	}
	for i := range a.Parts {
		if first[i+1] > first[i] {
			own := ratelimit.Decision{Buckets: ofCharges(d.Buckets, first[i], first[i+1])}
			_, a.Parts[i].Limit = own.Primary()
		}
	}
}
