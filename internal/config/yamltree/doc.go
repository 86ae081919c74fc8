// Package yamltree reads the part of YAML that a configuration file needs into
// a tree whose every byte is known by its place in the file: mappings and lists
// in block and flow style, plain, quoted and block scalars, comments. Scalars
// are text; nothing is made a number, a boolean or null.
//
// What a configuration doesn't need is a fault with an explanation: tags,
// anchors, aliases, merge keys, complex keys, directives, second documents.
// Parsing goes on after a fault, so that all are found at once, and it takes
// time in proportion to the text, at a bounded depth.
//
// It is not built on a YAML library's tree: those report one fault at a time and
// don't say where a byte of a folded or quoted text stands in the file, and the
// time of goccy/go-yaml's parser, which knows most, grows with the square of a
// mapping's keys (13 s for 40,000). A fuzz test holds that what both this
// package and yaml/v3 read, they read in the same way.
//
// It imports the standard library alone. Start reading at [Parse].
package yamltree
