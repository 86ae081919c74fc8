package dynamostore

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// canned answers every call with the same bucket, without a network.
type canned struct {
	body []byte
	crc  []string
}

func newCanned() *canned {
	body := []byte(`{"Attributes":{"PK":{"S":"3q7xk2m9vd/e/user-123"},"SK":{"S":"b/gpt-4"},"v":{"N":"0"},"sh":{"B":"oRJSohi22XI="},` +
		`"at":{"N":"28900800000"},"lt":{"N":"28900800250"},"born":{"N":"28900800000"},"ttl":{"N":"1796126580"},` +
		`"b1":{"N":"-48167902000"},"c1":{"N":"2000"},"p1":{"S":"rpm/100000/100000/60000"}}}`)
	return &canned{body, []string{fmt.Sprint(crc32.ChecksumIEEE(body))}}
}

func (c *canned) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	_ = r.Body.Close()
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{
			"Content-Type": {"application/x-amz-json-1.0"}, "X-Amz-Crc32": c.crc,
			"X-Amzn-Requestid": {"0LHQ2JQ6RRM0ETM3Q6GAGSMF6FVV4KQNSO5AEMVJF66Q9ASUAAJG"},
		},
		ContentLength: int64(len(c.body)), Body: io.NopCloser(bytes.NewReader(c.body)),
	}, nil
}

// BenchmarkApply is what a charge costs the store without the network, beside
// the same call of the SDK as it comes: the goal is 1.1 times that.
func BenchmarkApply(b *testing.B) {
	c := config("http://127.0.0.1:1", "extauthz")
	b.Run("store", func(b *testing.B) {
		s := &Store{table: c.Table, timeout: c.Timeout, now: time.Now}
		s.charges, s.others = newClients(&c, newCanned())
		known := &registration{done: make(chan struct{}), id: "3q7xk2m9vd"}
		close(known.done)
		s.registry.store, s.registry.known = s, map[string]*registration{"default": known}
		k, err := ratelimit.NewKey("default", "user-123", "gpt-4", "")
		if err != nil {
			b.Fatal(err)
		}
		w := &ratelimit.Write{
			Key: k, Op: ratelimit.OpCharge, Stamp: 28900800250, Same: true, Shape: 0xa11252a218b6d972, TTLMin: 1796126521,
			Limits: []ratelimit.LimitWrite{{
				Slot: 1, Min: -48167999416, Max: -48167900333, Form: ratelimit.FormAdd, Value: -1000, Charged: 1000,
			}},
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Apply(b.Context(), w); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sdk", func(b *testing.B) {
		client := dynamodb.New(dynamodb.Options{
			Region: "us-east-1", BaseEndpoint: &c.EndpointURL, Credentials: c.AWS.Credentials, HTTPClient: &http.Client{Transport: newCanned()},
		})
		n := func(v string) types.AttributeValue { return &types.AttributeValueMemberN{Value: v} }
		b.ReportAllocs()
		for b.Loop() {
			_, err := client.UpdateItem(b.Context(), &dynamodb.UpdateItemInput{
				TableName: &c.Table, Key: primaryKey("3q7xk2m9vd/e/user-123", "b/gpt-4"),
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
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
