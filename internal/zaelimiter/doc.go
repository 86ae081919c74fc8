// Package zaelimiter reads the table of zae-limiter, the Python rate limiter
// that this one follows, and brings its namespaces, entities and limits into a
// store here. What can't be said here is told, each by name and place.
//
// Of the table it needs scans alone: it can't change it. It may import
// pkg/hierarchy, pkg/ratelimit, pkg/dynamostore and the SDK, and nothing of
// internal. Start reading at Read, then at Plan.
package zaelimiter
