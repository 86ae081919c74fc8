package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

const (
	// maxSkew is how far the clock may be from DynamoDB's, which says whole
	// seconds: charge.md, section 4, 12.
	maxSkew = 2 * time.Second
	tick    = time.Second

	pollTable = 200 * time.Millisecond
)

// ClockError is a clock so far from DynamoDB's that this process would take
// what others should have, or wait for what is there.
type ClockError struct{ Ahead time.Duration } // negative: behind

func (e *ClockError) Error() string {
	if e.Ahead < 0 {
		return fmt.Sprintf("this machine's clock is %v behind DynamoDB's: set it (NTP) before serving", -e.Ahead)
	}
	return fmt.Sprintf("this machine's clock is %v ahead of DynamoDB's: set it (NTP) before serving", e.Ahead)
}

// prepare checks the table, and makes it first where it is missing and may be
// made.
func (s *Store) prepare(ctx context.Context, create bool) error {
	items, err := s.checkTable(ctx)
	var problem *TableError
	if create && errors.As(err, &problem) && problem.Problem == ProblemMissing {
		if err := s.createTable(ctx); err != nil {
			return err
		}
		items, err = s.checkTable(ctx)
	}
	if err != nil {
		return err
	}
	return s.checkSchema(ctx, items)
}

// checkTable waits for a table that is being made, checks its keys and the
// clock, and returns how many items it held not long ago.
func (s *Store) checkTable(ctx context.Context) (items int64, err error) {
	for {
		out, err := s.others.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &s.table})
		if err != nil {
			return 0, s.opening("looking at the table", err)
		}
		if err := s.checkClock(out); err != nil {
			return 0, err
		}
		if out.Table.TableStatus != types.TableStatusCreating {
			return aws.ToInt64(out.Table.ItemCount), s.checkKeys(out.Table)
		}
		select {
		case <-time.After(pollTable):
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for the table %q to be made: %w", s.table, ctx.Err())
		}
	}
}

func (s *Store) checkKeys(t *types.TableDescription) error {
	kinds := map[string]types.ScalarAttributeType{}
	for _, a := range t.AttributeDefinitions {
		kinds[*a.AttributeName] = a.AttributeType
	}
	keys := map[string]types.KeyType{}
	for _, k := range t.KeySchema {
		keys[*k.AttributeName] = k.KeyType
	}
	if len(keys) == 2 && keys[attrPK] == types.KeyTypeHash && keys[attrSK] == types.KeyTypeRange &&
		kinds[attrPK] == types.ScalarAttributeTypeS && kinds[attrSK] == types.ScalarAttributeTypeS {
		return nil
	}
	found := "found"
	for _, k := range t.KeySchema {
		found += fmt.Sprintf(" %s (%s, %s)", *k.AttributeName, kinds[*k.AttributeName], k.KeyType)
	}
	return &TableError{Table: s.table, Problem: ProblemKeys, Detail: found}
}

// checkClock compares the clock with the answer's date, if it has one.
func (s *Store) checkClock(out *dynamodb.DescribeTableOutput) error {
	server, ok := awsmiddleware.GetServerTime(out.ResultMetadata)
	if !ok {
		return nil
	}
	ahead := s.now().Sub(server) // the date says when the answer's second began
	if at, ok := awsmiddleware.GetResponseAt(out.ResultMetadata); ok {
		ahead -= time.Since(at)
	}
	if ahead > maxSkew+tick || ahead < -maxSkew {
		return &ClockError{Ahead: ahead.Round(time.Second)}
	}
	return nil
}

// createTable makes the table: paid by request, expiring by `ttl`, with a
// stream of both images, and no index.
func (s *Store) createTable(ctx context.Context) error {
	_, err := s.others.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName:   &s.table,
		BillingMode: types.BillingModePayPerRequest,
		KeySchema: []types.KeySchemaElement{
			{AttributeName: new(attrPK), KeyType: types.KeyTypeHash},
			{AttributeName: new(attrSK), KeyType: types.KeyTypeRange},
		},
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: new(attrPK), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: new(attrSK), AttributeType: types.ScalarAttributeTypeS},
		},
		StreamSpecification: &types.StreamSpecification{
			StreamEnabled: new(true), StreamViewType: types.StreamViewTypeNewAndOldImages,
		},
	})
	var made *types.ResourceInUseException // by another process, at the same time
	if errors.As(err, &made) {
		return nil
	}
	if err != nil {
		return s.opening("making the table", err)
	}
	if _, err := s.checkTable(ctx); err != nil { // an expiry is for a table that is ready
		return err
	}
	_, err = s.others.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName:               &s.table,
		TimeToLiveSpecification: &types.TimeToLiveSpecification{Enabled: new(true), AttributeName: new(attrTTL)},
	})
	if err != nil {
		return s.opening("letting the table's items expire", err)
	}
	return nil
}

// opening is an error of Open: a *TableError where it is one.
func (s *Store) opening(doing string, err error) error {
	if p, ok := tableProblem(err); ok {
		return &TableError{Table: s.table, Problem: p, Err: err}
	}
	return fmt.Errorf("%s %q: %w", doing, s.table, err)
}
