// Package server runs the service: it makes the store, the limiter and the
// rules of a configuration work together, serves Envoy's two protocols on one
// gRPC port, metrics and probes on another and the admin API on a third, loads
// a changed file while requests flow, and stops without failing what it has
// begun.
//
// It may import everything but cmd; Envoy's messages belong to internal/envoy.
// Start reading at Run, then at parts.go, which says what is made of what.
package server
