// Package dynamostore keeps buckets in one DynamoDB table: a ratelimit.Store
// that makes each write with one UpdateItem, for 1 write unit and no reads.
//
// # One bucket's item
//
//	PK  3q7xk2m9vd/e/user-123        the namespace's id, the entity
//	SK  b/gpt-4                      the resource, and a variant where there is one
//	v 0  sh <8 bytes>  at, lt, born  what shaped it, and stamps in milliseconds since 2026
//	ttl                              Unix seconds; only where the limits are defaults
//	b1 -2401900000  c1 6000  r1 0    limit 1: balance against the epoch, charged, returned
//	p1 "rpm/100000/100000/60000"     its name, capacity, refill and period
//
// A write's condition and update become expressions on these attributes
// (request.go); what they must mean is ratelimit.Write.Execute. A false
// condition returns the item, so that the next write is planned without a
// read. Attributes that this package doesn't know are left as they are.
//
// # Errors
//
// A write that was refused, one that was certainly not made and one whose
// outcome is unknown are told apart (errors.go). Nothing is ever sent twice:
// the SDK's retries are off for writes. [Observer] sees each call.
//
// # The configuration
//
// The same Store keeps the configuration, its audit, and the namespaces: it is
// a hierarchy.Editor and the hierarchy.Namespaces. A change is one transaction
// (config_edit.go), which raises the namespace's revision.
//
// # Where to start reading
//
// [Open] and [Store.Apply] in store.go, [Store.Edit] in config_edit.go; DESIGN.md
// has the table, the life of a charge and of an edit, and what was refused. The
// package imports pkg/hierarchy, pkg/ratelimit and the AWS SDK.
package dynamostore
