package dynamostore

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// callerTimeout bounds the question who calls: nothing waits long for it.
const callerTimeout = 5 * time.Second

// Caller is the ARN of whom AWS takes this process for. It takes no right to
// ask. An error says that AWS doesn't answer or doesn't know the credentials.
func Caller(ctx context.Context, c aws.Config) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callerTimeout)
	defer cancel()
	out, err := sts.NewFromConfig(c).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", fmt.Errorf("asking AWS who calls: %w", err)
	}
	return aws.ToString(out.Arn), nil
}
