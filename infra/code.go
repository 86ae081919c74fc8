//go:build aggregator

package infra

import _ "embed"

// Aggregator is the zip of the aggregator for arm64, as `make build` has packed
// it. Without the build tag it is empty.
//
//go:embed aggregator-arm64.zip
var Aggregator []byte
