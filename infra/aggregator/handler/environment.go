package handler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// What the template sets of the environment.
const (
	envTable       = "EXTAUTHZ_TABLE"
	envUsageDays   = "EXTAUTHZ_USAGE_DAYS"
	envAuditBucket = "EXTAUTHZ_AUDIT_BUCKET"
	envDeadLetters = "EXTAUTHZ_DEAD_LETTERS_URL"
)

// FromEnvironment is the function that Lambda calls. One that can't be made of
// the environment says so at each call, where it is counted as an error.
func FromEnvironment(ctx context.Context) func(context.Context, events.DynamoDBEvent) (events.DynamoDBEventResponse, error) {
	h, err := fromEnvironment(ctx)
	if err != nil {
		return func(context.Context, events.DynamoDBEvent) (events.DynamoDBEventResponse, error) {
			return events.DynamoDBEventResponse{}, err
		}
	}
	return h.Handle
}

func fromEnvironment(ctx context.Context) (*Handler, error) {
	days, err := strconv.Atoi(os.Getenv(envUsageDays))
	if err != nil || days < 1 {
		return nil, fmt.Errorf("%s is not a number of days", envUsageDays)
	}
	if os.Getenv(envTable) == "" || os.Getenv(envDeadLetters) == "" {
		return nil, errors.New("the environment lacks " + envTable + " or " + envDeadLetters)
	}
	aws, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading AWS's configuration: %w", err)
	}
	return New(Config{
		DynamoDB: dynamodb.NewFromConfig(aws),
		Table:    os.Getenv(envTable),
		Keep:     time.Duration(days) * 24 * time.Hour,
		S3:       s3.NewFromConfig(aws),
		Bucket:   os.Getenv(envAuditBucket),
		SQS:      sqs.NewFromConfig(aws),
		URL:      os.Getenv(envDeadLetters),
		Log:      slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	}), nil
}
