// Package ratelimit charges token buckets, exactly: it takes c tokens from a
// bucket if they are there, once, and says when they will be.
//
// # One bucket through time
//
// A [Limit] of rpm:5/min is a bucket of 5 tokens that gains one every 12
// seconds. Nobody refills it: the balance is stored against a fixed epoch, and
// what a bucket holds at t is min(capacity, b + F(t)), where F(t) is all that
// the limit has gained from the epoch to t.
//
//	12:00:00  absent: full            Acquire 1   creates it with 4 left
//	12:00:00  4 left                  Acquire 4   0 left
//	12:00:00  0 left                  Acquire 1   denied, RetryAfter 12s
//	12:00:12  1 left, by arithmetic   Acquire 1   0 left
//	12:01:12  full: the same as absent; a store may forget it
//
// # Where to start reading
//
// [Limiter] is the way in: Acquire for programs, Decide for servers. What it
// does with one bucket is planned by pure functions (plan.go, reshape.go; the
// formulas are those of docs/charge.md), as a [Write]: one conditional change,
// which a [Store] executes without knowing any arithmetic. [Resolver] says
// which limits apply. refill.go has the arithmetic of time.
//
// # Units
//
// Callers speak of whole tokens and of [time.Duration]. Inside, amounts are
// [Millitokens] and instants are a [Stamp], in milliseconds.
//
// The package imports the standard library, an LRU and a hash: no store, no
// network, no Envoy.
package ratelimit
