// Package hierarchy decides which limits apply: it goes through the levels at
// which limits can be said (an entity's own, its tier's, the resource's, the
// system's) in the order of docs/design.md, and follows an entity's parents
// where a cascade charges them too.
//
// A [Document] is a whole set of limits as somebody wrote it down; a [Resolver]
// answers queries from it. The package imports pkg/ratelimit, the standard
// library, an LRU, ULIDs and a distance between words. Start reading at
// [Document], then at [Resolver.Resolve].
package hierarchy
