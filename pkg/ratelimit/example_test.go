package ratelimit_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// chat stands for the work that a charge is for; it says what it used.
func chat(context.Context) (used int64, err error) { return 9_700, nil }

func Example() {
	for range 2 {
		if err := estimateAndAdjust(context.Background()); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
}

// estimateAndAdjust is the README's program.
func estimateAndAdjust(ctx context.Context) error {
	limiter, err := ratelimit.New(ratelimit.Config{
		Store: embedstore.New(embedstore.Config{}),
		Resolver: hierarchy.NewResolver("default", hierarchy.Document{
			System: hierarchy.Level{Limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", 100), ratelimit.PerMinute("tpm", 10_000)}},
		}),
	})
	if err != nil {
		return err
	}
	// Estimate, then correct: what Adjust adds up is booked at the end.
	err = limiter.Do(ctx, ratelimit.Request{
		Entity: "user-123", Resource: "gpt-4", Consume: map[string]int64{"rpm": 1, "tpm": 500},
	}, func(ctx context.Context, lease *ratelimit.Lease) error {
		used, err := chat(ctx)
		if err != nil {
			return err // the charge is given back
		}
		return lease.Adjust(map[string]int64{"tpm": used - 500})
	})
	var denied *ratelimit.ExceededError
	if errors.As(err, &denied) {
		fmt.Println("retry after", denied.RetryAfter)
	}
	return err
}

// A limit in its text form.
func ExampleParseLimit() {
	limit, err := ratelimit.ParseLimit("tpm:10000/min:15000")
	fmt.Println(limit.Rate, limit.Period, limit.Burst, err)
	// Output: 10000 1m0s 15000 <nil>
}

// Acquire says when a request that is refused would pass.
func ExampleLimiter_Acquire() {
	limiter, err := ratelimit.New(ratelimit.Config{
		Store:    embedstore.New(embedstore.Config{}),
		Resolver: hierarchy.NewResolver("default", hierarchy.Document{}),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	request := ratelimit.Request{
		Entity: "user-123", Resource: "api", Consume: map[string]int64{"requests": 2},
		DefaultLimits: []ratelimit.Limit{ratelimit.PerMinute("requests", 1)},
	}
	_, err = limiter.Acquire(context.Background(), request)
	fmt.Println(err)
	fmt.Println(errors.Is(err, ratelimit.ErrUnsatisfiable))
	// Output:
	// rate limit exceeded for user-123 on api: requests takes 2, more than its capacity of 1
	// true
}
