// Package extauthz limits rates exactly, from a Go program: it opens a store, a
// table of DynamoDB or one in the process, and charges token buckets by the
// limits that admins keep in it.
//
//	limiter, err := extauthz.Open(ctx, extauthz.Options{Stack: "my-app", Region: "us-east-1"})
//	...
//	err = limiter.Do(ctx, extauthz.Request{Entity: "user-123", Resource: "gpt-4", Consume: map[string]int64{"rpm": 1}}, work)
//
// Everything that `extauthz serve` does with a table it shares with this package:
// a program and a service on one table enforce one limit.
//
// # Where to start reading
//
// [Open] and [Limiter]. [Limiter.Do] charges, calls, and commits or gives back;
// [Limiter.Acquire] leaves that to a [Lease]. A denial is an [*ExceededError].
// [Limiter.SetLimits] and its siblings say what applies; docs/library.md goes
// through all of it by examples that are run.
//
// The package imports pkg/ratelimit, pkg/hierarchy and the stores, whose types
// it gives the names that callers need; open.go alone may know AWS.
package extauthz
