// Package embedstore keeps buckets, and the configuration of limits beside
// them, in the process: a ratelimit.Store, a hierarchy.Editor and
// hierarchy.Namespaces for one process, for tests and for trying things out.
//
// Charges are made in memory. Given a file, the store outlives the process: a
// change of the configuration is on the disk before it is acknowledged, buckets
// are saved every second. A file that can't be used is an error, never a
// beginning without what it held.
//
// It imports pkg/hierarchy, pkg/ratelimit, bbolt and a hash. Start reading at
// [Store] and [Open]; keys.go has the layout of what is kept, file.go that of
// the file.
package embedstore
