package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

const (
	region = "us-east-1"
	// patience is far above what a busy machine takes: time-outs aren't measured.
	patience = 20 * time.Second
)

func signer() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider("local", "local", "")
}

// limits are those of each bucket: the one that the stand-in shows.
type limits struct{ own []ratelimit.Limit }

// Resolve gives every key the same limits.
func (l limits) Resolve(_ context.Context, q ratelimit.Query) (ratelimit.Resolution, error) {
	return ratelimit.Resolution{Targets: []ratelimit.Target{{Key: q.Key, Limits: l.own, Expires: true}}}, nil
}

// counter counts the calls that the store made.
type counter struct{ calls, throttled, failed atomic.Int64 }

// Called implements dynamostore.Observer.
func (c *counter) Called(call dynamostore.Call) {
	c.calls.Add(1)
	switch call.Kind {
	case dynamostore.KindOK:
	case dynamostore.KindThrottled:
		c.throttled.Add(1)
	default:
		c.failed.Add(1)
	}
}

// product is the limiter on the store, as a server has it.
type product struct {
	limiter *ratelimit.Limiter
	store   *dynamostore.Store
	calls   counter
	charges [][]ratelimit.Charge // for each key
	limits  limits
}

func newProduct(ctx context.Context, url string, keys int) (*product, error) {
	p := &product{limits: limits{[]ratelimit.Limit{ratelimit.PerDay(limit, perDay).WithBurst(capacity)}}}
	for i := range keys {
		k, err := ratelimit.NewKey("default", "user-"+strconv.Itoa(i), "api", "")
		if err != nil {
			return nil, err
		}
		p.charges = append(p.charges, []ratelimit.Charge{{Query: ratelimit.Query{Key: k}, Cost: ratelimit.EachLimit(1)}})
	}
	var err error
	p.store, err = dynamostore.Open(ctx, dynamostore.Config{
		AWS: aws.Config{Region: region, Credentials: signer()}, Table: "bench", EndpointURL: url, Observer: &p.calls, KeepWarm: -1,
		Timeout: patience, Recheck: -1,
	})
	if err != nil {
		return nil, err
	}
	p.limiter, err = ratelimit.New(ratelimit.Config{Store: p.store, Remote: &ratelimit.Remote{MaxWritesPerSecond: -1, WriteTimeout: patience}})
	return p, err
}

func (p *product) charge(ctx context.Context, key int) error {
	d, err := p.limiter.Decide(ctx, ratelimit.Ask{Now: p.limiter.Now(), Resolver: p.limits, Charges: p.charges[key]})
	if err == nil && !d.Allowed {
		err = fmt.Errorf("a charge was denied: %s", d.Reason)
	}
	return err
}

func (p *product) close(ctx context.Context) error {
	return errors.Join(p.limiter.Close(ctx), p.store.Close())
}

// bare is one UpdateItem of the SDK's for each charge, of the same size and kind
// as the store's. The client is as it comes, but for connections that are kept:
// what it costs to open them is not what is compared.
type bare struct {
	client *dynamodb.Client
	table  string
}

func newBare(url string, callers int) *bare {
	return &bare{table: "bench", client: dynamodb.New(dynamodb.Options{
		Region: region, BaseEndpoint: &url, Credentials: signer(),
		HTTPClient: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}},
	})}
}

func (b *bare) charge(ctx context.Context, key int) error {
	n := func(v string) types.AttributeValue { return &types.AttributeValueMemberN{Value: v} }
	s := func(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
	_, err := b.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                &b.table,
		Key:                      map[string]types.AttributeValue{"PK": s("standin000/e/user-" + strconv.Itoa(key)), "SK": s("b/api")},
		ConditionExpression:      aws.String("v = :a AND sh = :b AND #t >= :c AND b1 BETWEEN :d AND :e"),
		UpdateExpression:         aws.String("SET lt = :f ADD b1 :g, c1 :h"),
		ExpressionAttributeNames: map[string]string{"#t": "ttl"},
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":a": n("0"), ":b": &types.AttributeValueMemberB{Value: []byte("12345678")}, ":c": n("1796126521"),
			":d": n("-48167999416"), ":e": n("-48167900333"), ":f": n("28900800250"), ":g": n("-1000"), ":h": n("1000"),
		},
		ReturnValues:                        types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	return err
}
