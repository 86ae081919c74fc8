// Package infra holds what stands around a table in AWS: template.yaml, the
// CloudFormation template of a stack. The aggregator, which the template runs,
// is in infra/aggregator, and its zip, where the build tag aggregator has it
// built in, in Aggregator. docs/operations.md says how to work with them.
//
// The package imports nothing. Start reading at the template's parameters.
package infra

import _ "embed"

// Template is the CloudFormation template of a stack. Each of its parameters
// has a default.
//
//go:embed template.yaml
var Template string
