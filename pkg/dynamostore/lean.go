package dynamostore

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	smithyendpoints "github.com/aws/smithy-go/endpoints"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// lean takes out of the SDK's stack what a charge does not need and pays for
// each time: texts for the SDK's own statistics, and what only retries use. A
// part that a later SDK no longer has is not missed.
func lean(stack *middleware.Stack) error {
	for _, id := range []string{"ClientRequestID", "UserAgent", "RecursionDetection"} {
		_, _ = stack.Build.Remove(id)
	}
	for _, id := range []string{"DisableAcceptEncodingGzip", "InterceptBeforeRetryLoop", "Retry", "InterceptAttempt", "DiscoverEndpoint"} {
		_, _ = stack.Finalize.Remove(id)
	}
	for _, id := range []string{"RecordResponseTiming", "RequestResponseLogger"} {
		_, _ = stack.Deserialize.Remove(id)
	}
	return stack.Build.Add(userAgent, middleware.After)
}

// userAgent names the program in place of the SDK's long list.
var userAgent = middleware.BuildMiddlewareFunc("UserAgent", func(
	ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler,
) (middleware.BuildOutput, middleware.Metadata, error) {
	if r, ok := in.Request.(*smithyhttp.Request); ok {
		r.Header["User-Agent"] = []string{"extauthz"}
	}
	return next.HandleBuild(ctx, in)
})

// fixEndpoint resolves the endpoint once, by the rules that the SDK goes through
// for each call. Where that fails, the first call will say why.
func fixEndpoint(o *dynamodb.Options) {
	o.AccountIDEndpointMode = aws.AccountIDEndpointModeDisabled // the region's takes all accounts
	endpoint, err := dynamodb.NewDefaultEndpointResolverV2().ResolveEndpoint(context.Background(), dynamodb.EndpointParameters{
		Region:       &o.Region,
		Endpoint:     o.BaseEndpoint,
		UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
	})
	if err == nil {
		o.EndpointResolverV2 = fixedEndpoint{endpoint}
	}
}

type fixedEndpoint struct{ endpoint smithyendpoints.Endpoint }

// ResolveEndpoint implements dynamodb.EndpointResolverV2.
func (f fixedEndpoint) ResolveEndpoint(context.Context, dynamodb.EndpointParameters) (smithyendpoints.Endpoint, error) {
	return f.endpoint, nil
}
