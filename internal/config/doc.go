// Package config turns a configuration file, the environment and the flags of
// serve into one checked [Config], or into a [Report] of everything that is
// wrong with them, each fault with its file, line and column, the source line
// and a caret.
//
// The scalars of the process (listen, store, ...) come from flags over the
// environment over the file, by viper. Rules and limits come from the file
// alone and are read as their source text: 010 is not 8, and !has(x) is no tag
// of YAML. What the file can hold is in extauthz.example.yaml.
//
// The package may import anything below internal/server. Start reading at
// [Load]; yamltree, below it, reads the YAML.
package config
