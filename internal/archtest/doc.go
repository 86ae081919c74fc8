// Package archtest holds the shape of the module as tests: which package may
// import which, how long a file may be, that every package says what it is for.
// It imports the standard library alone and nothing imports it.
//
// The import rules are those of docs/design.md, "Shape". Start at the tables of
// imports_test.go: a new package is given its place in layers, in the commit
// that creates it.
package archtest
