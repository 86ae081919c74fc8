package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/stack"
)

// switchFlag is a parameter of the template that is on or off: two flags.
type switchFlag struct{ on, off, parameter, usage string }

// valueFlag is one that has a value.
type valueFlag struct{ flag, parameter, usage string }

// switches are the flags of deploy that turn something on or off. A test
// compares them, and those below, with the template.
func switches() []switchFlag {
	return []switchFlag{
		{"enable-deletion-protection", "no-deletion-protection", "DeletionProtection", "the table's protection from deletion (on)"},
		{"enable-pitr", "no-pitr", "PointInTimeRecovery", "the table's restore to any second of 35 days (on)"},
		{"enable-aggregator", "no-aggregator", "EnableAggregator", "what counts usage (on)"},
		{"enable-audit-archival", "no-audit-archival", "EnableAuditArchive", "a bucket for audit events that expire (on)"},
		{"iam", "no-iam", "EnableIam", "policies, and a role of the aggregator (on)"},
		{"create-iam-roles", "no-create-iam-roles", "EnableRoles", "roles beside the policies (off)"},
		{"enable-alarms", "no-alarms", "EnableAlarms", "alarms (on)"},
	}
}

// values are the flags of deploy that have a value.
func values() []valueFlag {
	return []valueFlag{
		{"kms-key", "KmsKeyArn", "`ARN` of a key of your own for the table"},
		{"max-write-units", "MaxWriteUnits", "the most write units a second, a `number`; 0 is the account's quota (0)"},
		{"aggregator-bucket", "AggregatorCodeBucket", "a `bucket` of yours for the aggregator's code"},
		{"lambda-memory", "AggregatorMemory", "`megabytes` of the aggregator (128)"},
		{"lambda-timeout", "AggregatorTimeout", "`seconds` that it may take for a batch (60)"},
		{"batch-size", "AggregatorBatchSize", "the most `records` of a batch (10000)"},
		{"batch-window", "AggregatorBatchWindow", "`seconds` that a batch is gathered: longer is cheaper (60)"},
		{"record-age", "AggregatorRecordAge", "`seconds` after which what can't be counted is given up (43200)"},
		{"usage-retention-days", "UsageRetentionDays", "how many `days` usage is kept (90)"},
		{"log-retention-days", "LogRetentionDays", "how many `days` the aggregator's logs are kept (30)"},
		{"audit-archive-glacier-days", "AuditArchiveColdDays", "`days` after which archived audit goes to Glacier (90)"},
		{"audit-archive-days", "AuditArchiveDays", "`days` after which it is deleted; 0 is never (0)"},
		{"role-trust", "RoleTrustArn", "`ARN` of who may assume the roles; empty: whom the account allows to"},
		{"aggregator-role-arn", "AggregatorRoleArn", "`ARN` of a role for the aggregator that exists"},
		{"permission-boundary", "PermissionsBoundaryArn", "`ARN` of the permissions boundary of every role"},
		{"role-name-format", "RoleNameFormat", "what roles are called: a `text` with {} for STACK-serve and the like"},
		{"policy-name-format", "PolicyNameFormat", "what policies are called: a `text` with {} for STACK-serve and the like"},
		{"alarm-sns-topic", "AlarmTopicArn", "`ARN` of the SNS topic that is told of alarms"},
	}
}

// addParameters adds the flags of the template's parameters. What is said by
// them is known once they were read.
func addParameters(c *cobra.Command) (said func() (map[string]string, error)) {
	fs := c.Flags()
	for _, s := range switches() {
		fs.Bool(s.on, false, "have "+s.usage)
		fs.Bool(s.off, false, "leave out "+s.usage)
	}
	for _, v := range values() {
		fs.String(v.flag, "", v.usage)
	}
	return func() (map[string]string, error) {
		p := map[string]string{}
		for _, s := range switches() {
			on, errOn := fs.GetBool(s.on)
			off, errOff := fs.GetBool(s.off)
			switch {
			case errors.Join(errOn, errOff) != nil:
				return nil, errors.Join(errOn, errOff)
			case on && off:
				return nil, usage("leave one out", "--%s and --%s contradict each other", s.on, s.off)
			case on:
				p[s.parameter] = "true"
			case off:
				p[s.parameter] = "false"
			}
		}
		for _, v := range values() {
			if !fs.Changed(v.flag) {
				continue
			}
			value, err := fs.GetString(v.flag)
			if err != nil {
				return nil, err
			}
			if err := stack.Check(v.parameter, value); err != nil {
				hint := ""
				if e := new(stack.Error); errors.As(err, &e) {
					hint = e.Hint
				}
				return nil, usage(hint, "--%s: %s", v.flag, err)
			}
			p[v.parameter] = value
		}
		return p, nil
	}
}
