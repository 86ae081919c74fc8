// Command aggregator is the Lambda function that counts the usage of a table
// from its stream. All it does is in the package handler.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/extauthz/extauthz/infra/aggregator/handler"
)

func main() {
	lambda.Start(handler.FromEnvironment(context.Background()))
}
