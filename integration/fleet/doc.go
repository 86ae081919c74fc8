// Package fleet proves what many processes on one table promise together: the
// invariants of docs/design.md. Real processes, each with a ratelimit.Limiter
// on pkg/dynamostore, hammer buckets of a local DynamoDB, through a proxy that
// makes things go wrong; each writes a history of what it asked, was told, sent
// and got back; a checker reads all histories together.
//
// The tests have the build tag integration and are run by `make test`. A
// failing one prints its seed; EXTAUTHZ_SEED runs that one again, and
// EXTAUTHZ_TEST_LONG ten times as many.
//
// It imports pkg/ratelimit and pkg/dynamostore as a program would, and
// internal/ddblocal and internal/faultproxy. Start reading at fleet_test.go;
// process_test.go is what a process does, history_test.go what it writes down,
// check_test.go what must be true of it.
package fleet
