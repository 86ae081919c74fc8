// Package examples holds the black-box tests of envoy-examples: each example is
// loaded as it lies there, with its ports moved to free ones, and driven through
// a real Envoy. Beside them, an Envoy that sends and shows each field of its
// messages (testdata/fields.yaml): docs/envoy.md names those tests. Of this module
// they import integration/harness alone.
//
// They have the build tag integration and are run by `make test`, with the
// environment that package integration's documentation lists.
//
// Start reading at examples_test.go.
package examples
