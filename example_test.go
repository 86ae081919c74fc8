package extauthz_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/extauthz/extauthz"
)

// open opens what the examples work on: nothing that outlives them, at a moment
// that stands still.
func open(ctx context.Context) (*extauthz.Limiter, error) {
	noon := time.Date(2026, time.May, 1, 12, 0, 0, 0, time.UTC)
	return extauthz.Open(ctx, extauthz.Options{Embedded: true, Register: true, Now: func() time.Time { return noon }})
}

// doWork stands for what is limited.
func doWork(context.Context) error { return nil }

// chat stands for a model that says what it used.
func chat(context.Context) (used int64, err error) { return 9_700, nil }

// run calls an example with a limiter, and shows what went wrong.
func run(example func(context.Context, *extauthz.Limiter) error) {
	ctx := context.Background()
	limiter, err := open(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	err = example(ctx, limiter)
	if err := errors.Join(err, limiter.Close()); err != nil {
		fmt.Println(err)
	}
}

// estimateAndAdjust is the README's program.
//
//nolint:contextcheck // Close is bounded by itself, also when the context has ended
func estimateAndAdjust(ctx context.Context) error {
	limiter, err := extauthz.Open(ctx, extauthz.Options{Embedded: true}) // a table: Stack: "my-app"
	if err != nil {
		return err
	}
	defer func() { _ = limiter.Close() }()
	// For whoever has none of their own; admins change them while it runs.
	err = limiter.SetSystemDefaults(ctx, extauthz.PerMinute("rpm", 100), extauthz.PerMinute("tpm", 10_000))
	if err != nil {
		return err
	}
	// Estimate, then correct: what Adjust adds up is booked at the end.
	err = limiter.Do(ctx, extauthz.Request{
		Entity: "user-123", Resource: "gpt-4", Consume: map[string]int64{"rpm": 1, "tpm": 500},
	}, func(ctx context.Context, lease *extauthz.Lease) error {
		used, err := chat(ctx)
		if err != nil {
			return err // the charge is given back
		}
		return lease.Adjust(map[string]int64{"tpm": used - 500})
	})
	var denied *extauthz.ExceededError
	if errors.As(err, &denied) {
		fmt.Println("retry after", denied.RetryAfter)
	}
	return err
}

func ExampleOpen() {
	if err := estimateAndAdjust(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
}

// For scripts and quick demos, the limits come with the request.
func Example() {
	ctx := context.Background()
	limiter, err := extauthz.Open(ctx, extauthz.Options{Embedded: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = limiter.Close() }()

	err = limiter.Do(ctx, extauthz.Request{
		Entity:        "user-123",
		Resource:      "api",
		Consume:       map[string]int64{"requests": 1},
		DefaultLimits: []extauthz.Limit{extauthz.PerMinute("requests", 100)},
	}, func(ctx context.Context, _ *extauthz.Lease) error {
		return doWork(ctx)
	})
	var denied *extauthz.ExceededError
	switch {
	case errors.As(err, &denied):
		fmt.Printf("Rate limited! Retry after %.1fs\n", denied.RetryAfter.Seconds())
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println("done")
	}
	// Output: done
}

// Limits are configured once; what applies is found out by each request.
func ExampleLimiter_SetSystemDefaults() {
	run(func(ctx context.Context, limiter *extauthz.Limiter) error {
		err := limiter.SetSystemDefaults(ctx, extauthz.PerMinute("rpm", 1000), extauthz.PerMinute("tpm", 100_000))
		if err != nil {
			return err
		}
		lease, err := limiter.Acquire(ctx, extauthz.Request{
			Entity: "user-123", Resource: "api", Consume: map[string]int64{"rpm": 1, "tpm": 500},
		})
		if err != nil {
			return err
		}
		defer func() { _ = lease.Close() }() // gives back, unless it was committed
		if err := doWork(ctx); err != nil {
			return err
		}
		if err := lease.Commit(ctx); err != nil {
			return err
		}
		buckets, err := limiter.Balance(ctx, extauthz.Request{Entity: "user-123", Resource: "api"})
		if err != nil {
			return err
		}
		for _, limit := range buckets[0].Limits {
			fmt.Println(limit.Limit, "has", limit.Remaining(), "left, from the level", buckets[0].Level)
		}
		return nil
	})
	// Output:
	// rpm:1000/min has 999 left, from the level system
	// tpm:100000/min has 99500 left, from the level system
}

// Each entity has a bucket for each resource.
func ExampleLimiter_Acquire() {
	run(func(ctx context.Context, limiter *extauthz.Limiter) error {
		for _, model := range []struct {
			name string
			rpm  int64
		}{{"gpt-4", 10}, {"gpt-3.5-turbo", 100}} {
			request := extauthz.Request{
				Entity: "user-123", Resource: model.name, Consume: map[string]int64{"rpm": 1},
				DefaultLimits: []extauthz.Limit{extauthz.PerMinute("rpm", model.rpm)},
			}
			lease, err := limiter.Acquire(ctx, request)
			if err != nil {
				return err
			}
			if err := lease.Commit(ctx); err != nil {
				return err
			}
			_, limit := new(lease.Decision()).Primary()
			fmt.Println(model.name, limit.Remaining())
		}
		return nil
	})
	// Output:
	// gpt-4 9
	// gpt-3.5-turbo 99
}

// What a limit is made of.
func ExampleLimit() {
	for _, limit := range []extauthz.Limit{
		extauthz.PerMinute("rpm", 100),                      // 100 requests a minute
		extauthz.PerMinute("tpm", 10_000).WithBurst(15_000), // 10,000 tokens a minute, 15,000 at once
		extauthz.PerHour("rph", 1_000),                      // 1,000 requests an hour
		extauthz.Custom("requests", 50, 50, 30*time.Second), // 50 requests in 30 seconds
	} {
		fmt.Println(limit)
	}
	limit, err := extauthz.ParseLimit("tpm:10000/min:15000")
	fmt.Println(limit == extauthz.PerMinute("tpm", 10_000).WithBurst(15_000), err)
	// Output:
	// rpm:100/min
	// tpm:10000/min:15000
	// rph:1000/hour
	// requests:50/30s
	// true <nil>
}

// A denial says how long to wait, and is a response by itself.
func ExampleExceededError() {
	run(func(ctx context.Context, limiter *extauthz.Limiter) error {
		if err := limiter.SetSystemDefaults(ctx, extauthz.PerMinute("rpm", 1)); err != nil {
			return err
		}
		handler := func(w http.ResponseWriter, r *http.Request) {
			err := limiter.Do(r.Context(), extauthz.Request{Entity: "user-123", Resource: "gpt-4"},
				func(ctx context.Context, _ *extauthz.Lease) error { return doWork(ctx) })
			var denied *extauthz.ExceededError
			switch {
			case errors.As(err, &denied):
				denied.SetHeaders(w.Header()) // Retry-After
				w.WriteHeader(http.StatusTooManyRequests)
				_ = json.NewEncoder(w).Encode(denied.Public()) // without the entity and its parents
			case err != nil:
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
		for range 2 {
			w := httptest.NewRecorder()
			handler(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
			fmt.Println(strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Header().Get("Retry-After"), " ", w.Body)))
		}
		_, err := limiter.Acquire(ctx, extauthz.Request{Entity: "user-456", Resource: "gpt-4", Consume: map[string]int64{"rpm": 2}})
		fmt.Println("no waiting helps:", errors.Is(err, extauthz.ErrUnsatisfiable))
		return nil
	})
	// Output:
	// 200
	// 429 60 {"error":"rate_limit_exceeded","message":"Rate limit exceeded; retry after 60 s.","resource":"gpt-4","limit":"rpm","retry_after_seconds":60}
	// no waiting helps: true
}

// The first level that has limits wins: the entity's for the resource, the
// entity's, its tier's, the resource's, the system's; then the request's.
func ExampleLimiter_SetLimits() {
	run(func(ctx context.Context, limiter *extauthz.Limiter) error {
		err := errors.Join(
			limiter.SetSystemDefaults(ctx, extauthz.PerMinute("rpm", 100), extauthz.PerMinute("tpm", 10_000)),
			limiter.SetResourceDefaults(ctx, "gpt-4", extauthz.PerMinute("rpm", 50), extauthz.PerMinute("tpm", 100_000)),
			limiter.SetResourceDefaults(ctx, "gpt-3.5-turbo", extauthz.PerMinute("rpm", 200), extauthz.PerMinute("tpm", 500_000)),
			limiter.SetLimits(ctx, "user-premium", "gpt-4", extauthz.PerMinute("rpm", 500), extauthz.PerMinute("tpm", 500_000)),
		)
		if err != nil {
			return err
		}
		for _, of := range [][2]string{
			{"user-premium", "gpt-4"}, {"user-123", "gpt-4"}, {"user-123", "gpt-3.5-turbo"}, {"user-123", "embeddings"},
		} {
			buckets, err := limiter.Balance(ctx, extauthz.Request{Entity: of[0], Resource: of[1]})
			if err != nil {
				return err
			}
			fmt.Println(of[0], of[1], buckets[0].Limits[0].Limit, buckets[0].Level)
		}
		return nil
	})
	// Output:
	// user-premium gpt-4 rpm:500/min entity+resource
	// user-123 gpt-4 rpm:50/min resource
	// user-123 gpt-3.5-turbo rpm:200/min resource
	// user-123 embeddings rpm:100/min system
}

// A tier is a named set of limits that entities refer to.
func ExampleLimiter_SetTier() {
	run(func(ctx context.Context, limiter *extauthz.Limiter) error {
		err := errors.Join(
			limiter.SetTierLimits(ctx, "free", "", extauthz.PerMinute("rpm", 10)),
			limiter.SetTierLimits(ctx, "gold", "", extauthz.PerMinute("rpm", 1000)),
			limiter.SetTier(ctx, "acme", "gold"),
		)
		if err != nil {
			return err
		}
		for _, entity := range []string{"acme", "somebody"} {
			// A tier of the request's is used where the store gives the entity none.
			buckets, err := limiter.Balance(ctx, extauthz.Request{Entity: entity, Resource: "api", Tier: "free"})
			if err != nil {
				return err
			}
			fmt.Println(entity, buckets[0].Tier, buckets[0].Limits[0].Limit)
		}
		return nil
	})
	// Output:
	// acme gold rpm:1000/min
	// somebody free rpm:10/min
}

// A cascade charges the parent too, by the parent's own limits: all or nothing.
func ExampleLimiter_SetParent() {
	run(func(ctx context.Context, limiter *extauthz.Limiter) error {
		err := errors.Join(
			limiter.SetSystemDefaults(ctx, extauthz.PerHour("requests", 3)),
			limiter.SetLimits(ctx, "acme", "", extauthz.PerHour("requests", 4)),
			limiter.SetParent(ctx, "key-1", "acme", true),
			limiter.SetParent(ctx, "key-2", "acme", true),
		)
		if err != nil {
			return err
		}
		for _, key := range []string{"key-1", "key-1", "key-1", "key-2", "key-2"} {
			lease, err := limiter.Acquire(ctx, extauthz.Request{Entity: key, Resource: "api"})
			var denied *extauthz.ExceededError
			switch {
			case errors.As(err, &denied):
				bucket, limit := denied.Primary()
				fmt.Println(key, "is denied by", bucket.Key.Entity(), limit.Limit)
			case err != nil:
				return err
			default:
				if err := lease.Commit(ctx); err != nil {
					return err
				}
			}
		}
		return nil
	})
	// Output: key-2 is denied by acme requests:4/hour
}

// A namespace is a world of its own: who has the same name in two of them is
// not the same.
func ExampleLimiter_Namespace() {
	run(func(ctx context.Context, limiter *extauthz.Limiter) error {
		for _, tenant := range []string{"tenant-alpha", "tenant-beta"} {
			of, err := limiter.Namespace(ctx, tenant)
			if err != nil {
				return err
			}
			if err := of.SetSystemDefaults(ctx, extauthz.PerHour("rpm", 10)); err != nil {
				return err
			}
			err = of.Do(ctx, extauthz.Request{Entity: "user-123", Resource: "api"},
				func(ctx context.Context, lease *extauthz.Lease) error {
					_, limit := new(lease.Decision()).Primary()
					fmt.Println(tenant, limit.Remaining())
					return doWork(ctx)
				})
			if err != nil {
				return err
			}
		}
		return nil
	})
	// Output:
	// tenant-alpha 9
	// tenant-beta 9
}

// What a model will use is estimated, then adjusted to the real figure, into
// debt if need be.
func ExampleLimiter_Do() {
	run(func(ctx context.Context, limiter *extauthz.Limiter) error {
		err := limiter.SetResourceDefaults(ctx, "gpt-4", extauthz.PerMinute("rpm", 100), extauthz.PerMinute("tpm", 10_000))
		if err != nil {
			return err
		}
		const estimate = 500
		request := extauthz.Request{
			Entity: "user-123", Resource: "gpt-4", Consume: map[string]int64{"rpm": 1, "tpm": estimate},
		}
		for range 3 {
			err := limiter.Do(ctx, request, func(ctx context.Context, lease *extauthz.Lease) error {
				used, err := chat(ctx)
				if err != nil {
					return err // the charge is given back
				}
				return lease.Adjust(map[string]int64{"tpm": used - estimate}) // booked at the end
			})
			var denied *extauthz.ExceededError
			if errors.As(err, &denied) {
				fmt.Println("retry after", denied.RetryAfter)
				continue
			}
			if err != nil {
				return err
			}
			buckets, err := limiter.Balance(ctx, request)
			if err != nil {
				return err
			}
			fmt.Println("tokens left:", buckets[0].Limits[1].Balance.Tokens())
		}
		return nil
	})
	// Output:
	// tokens left: 300
	// retry after 1.2s
	// retry after 1.2s
}

// The same, step by step.
func ExampleLease() {
	run(func(ctx context.Context, limiter *extauthz.Limiter) error {
		request := extauthz.Request{
			Entity: "user-123", Resource: "gpt-4", Consume: map[string]int64{"tpm": 500},
			DefaultLimits: []extauthz.Limit{extauthz.PerMinute("tpm", 10_000)},
		}
		lease, err := limiter.Acquire(ctx, request)
		if err != nil {
			return err
		}
		defer func() { _ = lease.Close() }()
		used, err := chat(ctx)
		if err != nil {
			return lease.Rollback(ctx)
		}
		if err := lease.Adjust(map[string]int64{"tpm": used - 500}); err != nil {
			return err
		}
		if err := lease.Commit(ctx); err != nil {
			return err
		}
		// A look takes nothing; it is refused at or below zero.
		request.Consume = map[string]int64{"tpm": 0}
		look, err := limiter.Acquire(ctx, request)
		if err != nil {
			return err
		}
		_, limit := new(look.Decision()).Primary()
		fmt.Println(limit.Remaining(), "left")
		return look.Commit(ctx)
	})
	// Output: 300 left
}

// Whether the store answers, and how it is.
func ExampleLimiter_Status() {
	run(func(ctx context.Context, limiter *extauthz.Limiter) error {
		if err := limiter.Ping(ctx); err != nil {
			fmt.Println("the store isn't reachable:", err)
			return nil
		}
		status, err := limiter.Status(ctx)
		if err != nil {
			return err
		}
		fmt.Println("ready:", status.Namespace.Name, status.Namespace.State, status.Latency < time.Minute)
		return nil
	})
	// Output: ready: default active true
}
