// Package stack makes, changes, looks at and removes a deployment in AWS: the
// CloudFormation stack of package infra's template, and the code of its
// aggregator.
//
// # A deployment
//
// [Stack.Deploy] looks at what is there and takes the next step, until there is
// none: it waits for what somebody else has begun, clears away what a creation
// that failed has left, makes what is missing, and changes the rest by change
// sets, so that it is known before what is replaced or lost. Whoever asked for
// it may refuse then (Declaration.Approve).
//
// A new stack is made in two steps, because the code of the aggregator needs a
// bucket that the stack makes. The first one leaves the table without deletion
// protection, so that a creation which fails can be undone; a tag of the stack
// says what protection it is to have, and goes with the second step.
//
// # Where to start reading
//
// deploy.go, then follow.go, which waits, and delete.go. The package imports
// infra, pkg/dynamostore, pkg/hierarchy, pkg/ratelimit, internal/caller and the
// AWS SDK.
package stack
