// Package hierarchytest is the conformance suite of stores of the
// configuration: what hierarchy.Source, Editor and Namespaces say, tried.
//
// It imports pkg/hierarchy, pkg/ratelimit and go-cmp. Start reading at [Run].
package hierarchytest
