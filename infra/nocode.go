//go:build !aggregator

package infra

// Aggregator is empty: the build tag aggregator, which `make build` sets, has
// the aggregator's zip in its place.
var Aggregator []byte
