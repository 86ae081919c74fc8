package dynamostore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/schemas"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// updater makes the one call that a charge is. It writes, signs and reads it
// with the SDK's own parts, and leaves out what the SDK's client puts between
// them, which it builds anew for each call and which costs as much as they do:
// no retries, no redirects, no statistics. Safe for concurrent use.
type updater struct {
	options    dynamodb.Options
	transport  http.RoundTripper
	endpoint   url.URL
	unresolved error // why there is no endpoint
	schema     *smithy.OperationSchema
}

const (
	signingName = "dynamodb"
	userAgent   = "extauthz"
)

// newUpdater takes its settings from a client. The endpoint is resolved once,
// by the rules that the SDK goes through for each call.
func newUpdater(client *dynamodb.Client, transport http.RoundTripper) *updater {
	u := &updater{
		options: client.Options(), transport: transport,
		schema: smithy.NewOperationSchema(schemas.UpdateItem, schemas.UpdateItemInput, schemas.UpdateItemOutput),
	}
	o := &u.options
	endpoint, err := o.EndpointResolverV2.ResolveEndpoint(context.Background(), dynamodb.EndpointParameters{
		Region:                &o.Region,
		Endpoint:              o.BaseEndpoint,
		UseFIPS:               aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack:          aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		AccountIdEndpointMode: aws.String(string(aws.AccountIDEndpointModeDisabled)), // the region's takes all accounts
	})
	u.endpoint, u.unresolved = endpoint.URI, err
	return u
}

// UpdateItem makes the call, and sends it at most once. Its errors are those of
// the SDK's client.
func (u *updater) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput) (*dynamodb.UpdateItemOutput, error) {
	out, err := u.call(ctx, in)
	if err != nil {
		return nil, &smithy.OperationError{ServiceID: dynamodb.ServiceID, OperationName: "UpdateItem", Err: err}
	}
	return out, nil
}

func (u *updater) call(ctx context.Context, in *dynamodb.UpdateItemInput) (*dynamodb.UpdateItemOutput, error) {
	r, err := u.request(ctx, in)
	if err != nil {
		return nil, err
	}
	answer, err := u.transport.RoundTrip(r)
	if err != nil {
		return nil, &smithyhttp.RequestSendError{Err: err}
	}
	defer func() { _ = answer.Body.Close() }() // all of it has been read
	out := new(dynamodb.UpdateItemOutput)
	if err := u.read(ctx, answer, out); err != nil {
		return nil, &awshttp.ResponseError{
			ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: answer}, Err: err},
			RequestID:     answer.Header.Get("X-Amzn-Requestid"),
		}
	}
	return out, nil
}

// request is the signed request.
func (u *updater) request(ctx context.Context, in *dynamodb.UpdateItemInput) (*http.Request, error) {
	if u.unresolved != nil {
		return nil, fmt.Errorf("resolving the endpoint: %w", u.unresolved)
	}
	endpoint := u.endpoint
	r := smithyhttp.Request{Request: &http.Request{URL: &endpoint, Header: make(http.Header, 8)}}
	if err := u.options.Protocol.SerializeRequest(ctx, u.schema, in, &r); err != nil {
		return nil, fmt.Errorf("writing down the request: %w", err)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, r.GetStream()); err != nil {
		return nil, err
	}
	if err := r.RewindStream(); err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(r.GetStream())
	r.Header["User-Agent"] = []string{userAgent}
	if u.options.Credentials != nil { // else nobody's: anonymous ones are taken away by the SDK
		credentials, err := u.options.Credentials.Retrieve(ctx)
		if err != nil {
			return nil, fmt.Errorf("getting credentials: %w", err)
		}
		var hash [2 * sha256.Size]byte
		hex.Encode(hash[:], sum.Sum(make([]byte, 0, sha256.Size)))
		err = u.options.HTTPSignerV4.SignHTTP(ctx, credentials, r.Request, string(hash[:]), signingName, u.options.Region, time.Now())
		if err != nil {
			return nil, fmt.Errorf("signing the request: %w", err)
		}
	}
	return r.WithContext(ctx), nil
}

// read reads the answer, and all of it, so that its connection serves again.
func (u *updater) read(ctx context.Context, r *http.Response, out *dynamodb.UpdateItemOutput) error {
	sum := crc32.NewIEEE()
	answer := *r
	answer.Body = io.NopCloser(io.TeeReader(r.Body, sum))
	err := u.options.Protocol.DeserializeResponse(ctx, u.schema, dynamodb.TypeRegistry, &smithyhttp.Response{Response: &answer}, out)
	if err != nil {
		return err
	}
	if want := r.Header.Get("X-Amz-Crc32"); want != "" && want != strconv.FormatUint(uint64(sum.Sum32()), 10) {
		return errors.New("the answer does not match its checksum")
	}
	return nil
}
