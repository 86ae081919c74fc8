// Package embedstore keeps buckets in the memory of the process: a
// ratelimit.Store for one process, for tests and for trying things out. What
// it holds is gone when the process ends.
//
// It imports pkg/ratelimit and the standard library, and starts no goroutine.
// Start reading at [Store].
package embedstore
