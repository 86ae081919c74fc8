// Package embedstore keeps buckets, and the configuration of limits beside
// them, in the memory of the process: a ratelimit.Store, a hierarchy.Editor and
// hierarchy.Namespaces for one process, for tests and for trying things out.
//
// It imports pkg/hierarchy, pkg/ratelimit and the standard library. Start
// reading at [Store]; keys.go has the layout of the configuration.
package embedstore
