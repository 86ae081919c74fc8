package dynamostore

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// api is what the store uses of the SDK's client.
type api interface {
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	BatchGetItem(context.Context, *dynamodb.BatchGetItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error)
	BatchWriteItem(context.Context, *dynamodb.BatchWriteItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error)
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	Scan(context.Context, *dynamodb.ScanInput, ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error)
	TransactWriteItems(context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
	CreateTable(context.Context, *dynamodb.CreateTableInput, ...func(*dynamodb.Options)) (*dynamodb.CreateTableOutput, error)
	DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
	UpdateTimeToLive(context.Context, *dynamodb.UpdateTimeToLiveInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateTimeToLiveOutput, error)
}

var _ api = (*dynamodb.Client)(nil)

const (
	dialTimeout = 500 * time.Millisecond
	tlsTimeout  = time.Second
	// Before DynamoDB closes an idle connection itself, so that no write is
	// sent into one that is closing.
	idleTimeout = 50 * time.Second
)

// newTransport is for many short calls to one host over few connections: the
// default keeps 10 of them and opens the others anew for each wave of calls.
// HTTP/2 stays off: DynamoDB has none, and GotConn must tell each write.
func newTransport(connections int) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSHandshakeTimeout:   tlsTimeout,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(0)},
		TLSNextProto:          map[string]func(string, *tls.Conn) http.RoundTripper{},
		MaxConnsPerHost:       connections, // a store that stalls opens no more; what waits for one was not sent
		MaxIdleConns:          connections,
		MaxIdleConnsPerHost:   connections,
		IdleConnTimeout:       idleTimeout,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // the SDK's own choice for DynamoDB
	}
}

// newClients makes what sends charges, which sends everything once, and the
// client of all else, which tries again as the SDK does. The client is explicit
// about it: the SDK's defaults change between versions.
func newClients(c *Config, transport http.RoundTripper) (charges *updater, others *dynamodb.Client) {
	others = dynamodb.NewFromConfig(c.AWS, func(o *dynamodb.Options) {
		o.HTTPClient = &http.Client{Transport: transport}
		o.EndpointDiscovery.EnableEndpointDiscovery = aws.EndpointDiscoveryDisabled
		if c.EndpointURL != "" {
			o.BaseEndpoint = &c.EndpointURL
			o.AccountIDEndpointMode = aws.AccountIDEndpointModeDisabled
		}
		o.RetryMaxAttempts = 0
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = 4
			o.MaxBackoff = time.Second
		})
	})
	return newUpdater(others, transport), others
}

// wire watches whether a request got as far as a connection. Before that no
// byte of it can have left, and it was certainly not applied.
type wire struct{ connected atomic.Bool }

// watch is the context under which w watches a call.
func (w *wire) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { w.connected.Store(true) },
	})
}
