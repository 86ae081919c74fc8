// Package descriptors holds the rules: they map what Envoy says of a request, in
// either of its two protocols, to charges.
//
// [Compile] turns rules as they were written ([RuleSource]) into [Rules], or
// reports every fault at once with its place. [Rules.Evaluate] takes a neutral
// [Request] and says what is to be charged, under which key; it asks no store
// and does no I/O. [Rules.Trace] says also what became of each rule on the way.
//
// It imports pkg/ratelimit, cel-go, a hash and a distance between words. Only
// envoy.go knows Envoy's messages: a rule never sees one, so that rules are
// tested without them.
//
// Three things decide most of what is here:
//
//   - Missing and invalid. An attribute that isn't there, or is empty text, is
//     missing: the rule doesn't take the request. Every other failure is
//     invalid: the request is denied. An empty text is missing wherever it is
//     read, so has() is false for it and a map doesn't hold it: a client that
//     sends an empty header is treated as one that sends none.
//   - Long texts. Expressions see at most 4 KB of a text, followed by its hash
//     when there is more, so that their cost is bounded and two texts never
//     become one. `${descriptor.user}`, which is no expression but a read, uses
//     the whole text, and so does sha256 of a text that the request holds,
//     wherever it stands: one key has one hash.
//   - The common is native. Texts that only read, and conditions made of
//     comparisons of texts, run without CEL; what they decide is the same, which
//     a property test holds.
//
// Start reading at compile.go, then evaluate.go.
package descriptors
