// Package recent remembers what a process has decided lately, for whoever asks
// why a tenant is refused, or who takes all there is: a ring of denials, and the
// entities with the most denials and the most consumption.
//
// It sits beside the metrics on the path of every request, and holds what it
// holds in bounded memory, whatever clients send. It may import internal/decision
// and below. Start reading at Recorder; then ring.go, then top.go.
package recent
