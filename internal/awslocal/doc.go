// Package awslocal stands in for the parts of AWS that a deployment works with:
// CloudFormation, with change sets, events that come one after another, and
// rollbacks; the buckets of S3; a sum of CloudWatch; and tables of the local
// DynamoDB, to which all of its requests are handed on.
//
// CloudFormation's conditions and functions are evaluated, so that a template
// makes here what it would make there: tables and buckets are really made, and
// removed, and a bucket that isn't empty or a table that is protected stays.
// What becomes of other resources is events alone. What it knows of when a
// property replaces its resource is in changes.go.
//
// An operation goes on by a few steps each time somebody asks for events, never
// by itself: an interrupted program finds it where it left it. [Server.Fail] and
// [Server.Throttle] have things go wrong.
//
// The package is for tests alone; it imports internal/ddblocal and readers of
// YAML and CBOR. Start reading at [Start].
package awslocal
