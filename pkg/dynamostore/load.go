package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go/logging"
)

const (
	// An instance's own metadata answers in milliseconds. Elsewhere nobody does,
	// and the SDK would go on asking.
	metadataTimeout    = 2 * time.Second
	credentialsTimeout = 5 * time.Second
)

var (
	// ErrNoRegion is matched by an error of [LoadAWS]: nothing names a region.
	ErrNoRegion = errors.New("nothing names an AWS region: set store.region, --region or AWS_REGION")
	// ErrNoCredentials is matched by an error of [LoadAWS]: nothing gives any.
	ErrNoCredentials = errors.New("nothing gives AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (any will do for a local DynamoDB), AWS_PROFILE, or give the machine a role")
)

// LoadAWS finds the region and the credentials as every AWS tool does: in the
// environment, the shared files, the container's or the machine's role. region,
// unless it is empty, wins over all of these. It waits a few seconds at most.
//
// An error needs a person. That credentials are configured and can't be had
// just now is none: the next call to DynamoDB asks for them again.
//
// What the SDK has to say goes to log, then and later; nil: nowhere.
func LoadAWS(ctx context.Context, region string, log *slog.Logger) (aws.Config, error) {
	options := []func(*awsconfig.LoadOptions) error{awsconfig.WithLogger(sdkLogger(log))}
	if region != "" {
		options = append(options, awsconfig.WithRegion(region))
	}
	c, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("loading the AWS configuration: %w", err)
	}
	if c.Region == "" {
		if c.Region, err = machineRegion(ctx, c); err != nil {
			return aws.Config{}, fmt.Errorf("%w: %w", ErrNoRegion, err)
		}
	}
	if aws.IsCredentialsProvider(c.Credentials, (*ec2rolecreds.Provider)(nil)) { // the last resort of all
		ctx, cancel := context.WithTimeout(ctx, credentialsTimeout)
		defer cancel()
		if _, err := c.Credentials.Retrieve(ctx); err != nil {
			return aws.Config{}, fmt.Errorf("%w: %w", ErrNoCredentials, err)
		}
	}
	return c, nil
}

// sdkLogger writes the SDK's lines to a log.
func sdkLogger(log *slog.Logger) logging.Logger {
	if log == nil {
		return logging.Nop{}
	}
	return logging.LoggerFunc(func(class logging.Classification, format string, v ...any) {
		write := log.Debug
		if class == logging.Warn {
			write = log.Warn
		}
		write("AWS SDK: " + fmt.Sprintf(format, v...))
	})
}

// machineRegion is the region of the machine that this runs on.
func machineRegion(ctx context.Context, c aws.Config) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	out, err := imds.NewFromConfig(c).GetRegion(ctx, nil)
	if err != nil {
		return "", err
	}
	return out.Region, nil
}

// Misconfigured reports whether an error of [Open] needs a person, such as a
// [*TableError] or a [*ClockError] does; after any other, which comes of a
// DynamoDB that can't be reached or can't answer now, it may be opened later.
func Misconfigured(err error) bool {
	var table *TableError
	var clock *ClockError
	if errors.As(err, &table) || errors.As(err, &clock) {
		return true
	}
	if _, ok := throttled(err); ok {
		return false
	}
	status := httpStatus(err)
	return status >= 400 && status < 500 && status != 408
}
