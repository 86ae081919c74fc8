package zaelimiter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/dynamostore"
)

// Source names a table of zae-limiter.
type Source struct {
	Table       string
	Region      string // empty: that of the AWS configuration
	EndpointURL string // a DynamoDB elsewhere; empty: that of the region
}

// Table is all that this package can do to a table: read it.
type Table interface {
	Scan(ctx context.Context, in *dynamodb.ScanInput, options ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error)
}

// TableError says why a table can't be read, and what to do about it.
type TableError struct {
	Table, Message, Hint string
	Err                  error // the SDK's, may be nil
}

func (e *TableError) Error() string {
	s := fmt.Sprintf("the table %q %s", e.Table, e.Message)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *TableError) Unwrap() error { return e.Err }

const (
	scanAttempts = 10               // a busy table throttles scans
	scanTimeout  = 30 * time.Second // of one page, attempts included
)

// Open makes ready to read a table; it reads nothing yet.
func Open(ctx context.Context, s Source, log *slog.Logger) (Table, error) {
	c, err := dynamostore.LoadAWS(ctx, s.Region, log)
	if err != nil {
		return nil, fmt.Errorf("opening zae-limiter's table: %w", err)
	}
	return dynamodb.NewFromConfig(c, func(o *dynamodb.Options) {
		o.RetryMaxAttempts = scanAttempts
		if s.EndpointURL != "" {
			o.BaseEndpoint = &s.EndpointURL
			o.AccountIDEndpointMode = aws.AccountIDEndpointModeDisabled
		}
	}), nil
}

// attributes are an item as DynamoDB has it.
type attributes map[string]types.AttributeValue

// scan hands over the items that say something of namespaces, entities and
// limits. No index has all of them: what zae-limiter's provisioner writes is in
// none that would do. So the whole table is read, and DynamoDB leaves out
// buckets, usage and audit.
func scan(ctx context.Context, t Table, table string, take func(attributes)) error {
	in := &dynamodb.ScanInput{
		TableName: &table, ConsistentRead: aws.Bool(true),
		FilterExpression: aws.String("SK = :meta OR SK = :version OR begins_with(SK, :config) OR begins_with(SK, :namespace) OR begins_with(SK, :nsid) OR begins_with(SK, :provisioner)"),
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":meta": text(skMeta), ":version": text(skVersion), ":config": text(skConfig), ":namespace": text(skNamespace), ":nsid": text(skID), ":provisioner": text(skProvisioner),
		},
	}
	for {
		page, err := scanPage(ctx, t, in)
		if err != nil {
			return scanError(table, err)
		}
		for _, item := range page.Items {
			take(item)
		}
		if len(page.LastEvaluatedKey) == 0 {
			return nil
		}
		in.ExclusiveStartKey = page.LastEvaluatedKey
	}
}

func scanPage(ctx context.Context, t Table, in *dynamodb.ScanInput) (*dynamodb.ScanOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, scanTimeout)
	defer cancel()
	return t.Scan(ctx, in)
}

func scanError(table string, err error) error {
	var missing *types.ResourceNotFoundException
	var api interface{ ErrorCode() string }
	switch {
	case errors.As(err, &missing):
		return &TableError{Table: table, Message: "does not exist", Hint: "--from names zae-limiter's stack, --from-region its region"}
	case errors.As(err, &api) && api.ErrorCode() == "AccessDeniedException":
		return &TableError{Table: table, Message: "may not be read with these credentials", Hint: "allow dynamodb:Scan on it", Err: err}
	case errors.As(err, &api) && api.ErrorCode() == "ValidationException":
		return &TableError{Table: table, Message: "can't be read", Hint: "--from names zae-limiter's stack", Err: err}
	}
	return fmt.Errorf("reading the table %q: %w", table, err)
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

// text is the text at an attribute; empty where there is none.
func (a attributes) text(name string) string {
	if v, ok := a[name].(*types.AttributeValueMemberS); ok {
		return v.Value
	}
	return ""
}

// flag is the truth value at an attribute, and whether there is one.
func (a attributes) flag(name string) (value, said bool) {
	v, ok := a[name].(*types.AttributeValueMemberBOOL)
	return ok && v.Value, ok
}

// number is the number at an attribute as text; empty where there is none.
func (a attributes) number(name string) string {
	if v, ok := a[name].(*types.AttributeValueMemberN); ok {
		return v.Value
	}
	return ""
}
