// Package telemetry is what the service says about itself: its log and its
// metrics. docs/metrics.md lists every metric; a test compares the two.
//
// Metrics live on a registry of their own, never on the library's default one.
// What is counted for every request goes through a recorder, which has each
// series ready at hand, so that no label is hashed on that path. The package
// imports Prometheus' client, internal/decision and below. Start reading at
// Metrics, then at Observer.
package telemetry
