package extauthz

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/extauthz/extauthz/internal/stack"
)

// The classes of errors about a deployment, to be matched with errors.Is. The
// message says what to do.
var (
	// ErrNotDeployed is matched when there is no stack, or no table, of the name.
	ErrNotDeployed = stack.ErrMissing
	// ErrDeployFailed is matched when CloudFormation could not do it.
	ErrDeployFailed = stack.ErrFailed
	// ErrProtected is matched by DeleteStack when the table, or the stack, is
	// protected from being deleted.
	ErrProtected = stack.ErrProtected
	// ErrWouldLose is matched when a declaration would replace or remove what holds
	// data. Nothing was changed.
	ErrWouldLose = stack.ErrLoss
	// ErrNoAggregatorCode is matched when the aggregator is wanted, and the program
	// has no code for it: see [StackOptions].
	ErrNoAggregatorCode = stack.ErrNoCode
)

// StackOptions declare a deployment: the CloudFormation stack of
// infra/template.yaml, whose name is Options.Stack. The zero value is everything
// by default. It is the whole declaration: what it leaves out is by default
// again, whatever an earlier one said, and the last one wins.
//
// The aggregator, which counts usage, needs its code: that of AggregatorZip, or
// what the stack has already. Without either, set NoAggregator.
type StackOptions struct {
	NoDeletionProtection  bool   // let the table be deleted
	NoPointInTimeRecovery bool   // keep no backup of the last 35 days
	KMSKeyARN             string // a key of your own for the table
	MaxWriteUnits         int    // the most write units a second; 0: the account's quota

	NoAggregator        bool          // count no usage
	AggregatorZip       string        // a file that `extauthz lambda-export` or `make aggregator` has written
	AggregatorBucket    string        // a bucket of yours for it; empty: one of the stack
	AggregatorMemory    int           // megabytes; 0: 128
	AggregatorTimeout   time.Duration // for a batch; 0: a minute
	AggregatorBatchSize int           // the most records; 0: 10,000
	// AggregatorBatchWindow is how long a batch is gathered, which is how far
	// usage is behind, and the longer the cheaper; 0: a minute.
	AggregatorBatchWindow time.Duration
	AggregatorRecordAge   time.Duration // after which what can't be counted is given up; 0: 12 hours
	UsageRetentionDays    int           // 0: 90
	LogRetentionDays      int           // of the aggregator's logs; 0: 30

	NoAuditArchive       bool // let audit events be gone when they expire
	AuditArchiveColdDays int  // until archived events go to cheaper storage; 0: 90
	AuditArchiveDays     int  // until they are deleted; 0: never

	NoIAM                  bool // make no policies and no roles
	Roles                  bool // make roles beside the policies
	RoleTrustARN           string
	AggregatorRoleARN      string // a role that exists
	PermissionsBoundaryARN string
	RoleNameFormat         string // with {} for STACK-serve and the like
	PolicyNameFormat       string

	NoAlarms      bool
	AlarmTopicARN string // the SNS topic that is told of alarms

	Tags map[string]string // of the stack, beside its own
}

// parameters are the options as the template has them.
func (o *StackOptions) parameters() map[string]string {
	p := map[string]string{}
	for name, off := range map[string]bool{
		"DeletionProtection": o.NoDeletionProtection, "PointInTimeRecovery": o.NoPointInTimeRecovery,
		"EnableAggregator": o.NoAggregator, "EnableAuditArchive": o.NoAuditArchive,
		"EnableIam": o.NoIAM, "EnableAlarms": o.NoAlarms,
	} {
		p[name] = strconv.FormatBool(!off)
	}
	p["EnableRoles"] = strconv.FormatBool(o.Roles)
	for name, text := range map[string]string{
		"KmsKeyArn": o.KMSKeyARN, "AggregatorCodeBucket": o.AggregatorBucket, "RoleTrustArn": o.RoleTrustARN,
		"AggregatorRoleArn": o.AggregatorRoleARN, "PermissionsBoundaryArn": o.PermissionsBoundaryARN,
		"RoleNameFormat": o.RoleNameFormat, "PolicyNameFormat": o.PolicyNameFormat, "AlarmTopicArn": o.AlarmTopicARN,
	} {
		p[name] = text
	}
	for name, n := range map[string]int{
		"MaxWriteUnits": o.MaxWriteUnits, "AggregatorMemory": o.AggregatorMemory, "AggregatorBatchSize": o.AggregatorBatchSize,
		"AggregatorTimeout":     int(o.AggregatorTimeout / time.Second),
		"AggregatorBatchWindow": int(o.AggregatorBatchWindow / time.Second), "AggregatorRecordAge": int(o.AggregatorRecordAge / time.Second),
		"UsageRetentionDays": o.UsageRetentionDays, "LogRetentionDays": o.LogRetentionDays,
		"AuditArchiveColdDays": o.AuditArchiveColdDays, "AuditArchiveDays": o.AuditArchiveDays,
	} {
		if n != 0 {
			p[name] = strconv.Itoa(n)
		}
	}
	return p
}

// declaration is what a stack is deployed by.
func (o *StackOptions) declaration() (d stack.Declaration, err error) {
	d = stack.Declaration{Parameters: o.parameters(), Tags: o.Tags}
	for name, value := range d.Parameters {
		if err := stack.Check(name, value); err != nil {
			return d, &InvalidOptionsError{"Deploy: " + err.Error()}
		}
	}
	if d.Code, err = o.code(); err != nil {
		return d, &InvalidOptionsError{"Deploy.AggregatorZip: " + err.Error()}
	}
	return d, nil
}

// code is the aggregator's; nil: there is none.
func (o *StackOptions) code() (*stack.Code, error) {
	if o.AggregatorZip == "" {
		return stack.BuiltIn()
	}
	zipped, err := os.ReadFile(o.AggregatorZip)
	if err != nil || len(zipped) == 0 {
		return nil, err
	}
	return stack.ReadCode(zipped)
}

// deploy has the stack be as the options declare it.
func (s *shared) deploy(ctx context.Context) error {
	d, err := s.options.Deploy.declaration()
	if err != nil {
		return err
	}
	if _, err := s.stack.Deploy(ctx, d); err != nil {
		return fmt.Errorf("deploying the stack %q: %w", s.options.Stack, advised(err))
	}
	return nil
}

// logEvent writes what happens to the stack while it is waited for.
func (s *shared) logEvent(e stack.Event) {
	s.options.Log.Info("deploying", "stack", s.options.Stack, "status", e.Status, "resource", e.Resource, "reason", e.Reason)
}

// closeStack lets go of the connections to what isn't the table.
func (s *shared) closeStack() {
	if s.stack != nil {
		s.stack.Close()
	}
}

// advised is an error with what to do about it, which a program has no other
// place for.
func advised(err error) error {
	var e *stack.Error
	if errors.As(err, &e) && e.Hint != "" {
		return fmt.Errorf("%w (%s)", err, e.Hint)
	}
	return err
}

// DeleteStack removes the stack of the table with all that is in it, for ever:
// balances, limits, usage, audit and its archive. It doesn't ask. The error
// matches [ErrProtected] while the table is protected from that, as it is unless
// [StackOptions] said otherwise, and [ErrNotDeployed] where the table belongs to
// no stack. The Limiter is of no use afterwards; close it.
func (l *Limiter) DeleteStack(ctx context.Context) error {
	if l.shared.stack == nil {
		return fmt.Errorf("%w: the store is embedded, or has a name that no stack can have", ErrNotDeployed)
	}
	return advised(l.shared.stack.Delete(ctx, nil))
}
