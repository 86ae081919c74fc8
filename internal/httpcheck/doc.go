// Package httpcheck serves checks over HTTP, for proxies that don't speak
// Envoy's gRPC services. Each of its endpoints turns a request into a call of
// one of these services, in the process, and the service's response into an
// answer that the proxy understands; it decides nothing by itself, so that a
// rule means the same however it is asked.
//
// It may import the protos and internal/envoy for its texts. Start reading at
// Handler; docs/http.md says what each proxy does with the answers.
package httpcheck
