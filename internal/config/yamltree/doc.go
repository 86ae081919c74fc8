// Package yamltree reads a configuration file into a tree whose every scalar is
// the text that was written, and whose every byte is known by its place in the
// file. YAML itself is read by go.yaml.in/yaml/v3, into its tree of nodes and no
// further: nothing is made a number, a boolean or null, and by Parse no alias is
// expanded.
//
// What a configuration doesn't need is a fault with an explanation: tags,
// anchors, aliases, merge keys, complex keys, directives, second documents, keys
// that are there twice. All of these are found at once. What is no YAML is one
// fault, as the library stops at the first: it names the line, and this package
// says in other words what to do about it.
//
// Reading takes time in proportion to the text. It imports the standard library
// and that one library. [ParseAliases] is for files of others, which may have
// anchors and what goes with them. Start reading at [Parse].
package yamltree
