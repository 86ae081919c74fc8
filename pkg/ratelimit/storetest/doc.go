// Package storetest says what a ratelimit.Store must do, as tests that every
// Store runs: [Run]. What a write means is ratelimit.Write.Execute; the suite
// also states it in numbers, one rule at a time.
//
// [Faulty] is a Store that fails as it is told to, for the tests of what
// stands above a store.
//
// The package is for tests alone. It imports pkg/ratelimit, testing, go-cmp and
// rapid. Start reading at [Run].
package storetest
