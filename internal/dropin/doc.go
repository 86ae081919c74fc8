// Package dropin decides by the configuration of envoyproxy/ratelimit, as that
// service does, so that its users have to change nothing but what they start.
//
// [Compile] turns files as they were written ([File], which internal/config
// reads) into [Rules], or reports every fault at once with its place and in that
// service's words. [Rules] is what internal/decision asks in place of
// descriptors.Rules. [Environment] reads that service's environment variables,
// and [Import] writes the same rules in our own format.
//
// A descriptor's bucket is its domain, as the resource, and its entries, as the
// entity. Keys and values are compared each by itself, so that two descriptors
// never meet where that service's, which joins both with an underscore, do.
//
// It may import pkg/ratelimit and pkg/descriptors. Start reading at compile.go,
// then match.go.
package dropin
