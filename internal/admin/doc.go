// Package admin is what an operator asks a running service, and what explain
// asks without one: why a request is decided as it is (Explain), which
// configuration is in force, how much is logged. Nothing here charges.
//
// Handler serves it over HTTP, Client asks such a server, and both share the
// JSON of api.go, to which fields are only ever added. It may import anything
// below internal/server. Start reading at api.go, then at Explain.
package admin
