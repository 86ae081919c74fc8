// Package hierarchy decides which limits apply: it goes through the levels at
// which limits can be said (an entity's own, its tier's, the resource's, the
// system's) in the order of docs/design.md, and follows an entity's parents
// where a cascade charges them too.
//
// A [Document] is a whole set of limits as somebody wrote it down; a [Resolver]
// answers queries from it. What is kept in a store, and changes while traffic
// flows, is a set of items: [Source] is what a resolver reads of it, [Editor]
// and [Namespaces] what admins do to it. A [StoreResolver] answers from a store
// with a document below it, and remembers what it has read in a [Cache].
//
// The package imports pkg/ratelimit, the standard library, an LRU, ULIDs and
// x/sync: no store, no network. Start reading at [Document] and
// [Resolver.Resolve]; of the store's part, at [Item], [Source] and
// [StoreResolver.Resolve], whose reading of one moment is in reading.go.
package hierarchy
