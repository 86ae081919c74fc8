// Package harness starts the real parts that the black-box tests and the demo
// run: the built service, Envoy, a backend. It knows processes, ports and HTTP,
// nothing of the service's inside: it imports the standard library and gRPC's
// own health service, and nothing of this module.
//
// Start reading at Process; Service and Envoy are processes with an address.
package harness
