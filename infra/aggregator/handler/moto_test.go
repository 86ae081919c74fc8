package handler_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/extauthz/extauthz/internal/motolocal"
	"github.com/extauthz/extauthz/pkg/dynamostore"
)

// region is that of everything here.
const region = "us-east-1"

// startMoto starts a server that stands in for AWS, with streams, and ends with
// the test.
func startMoto(t *testing.T) string {
	t.Helper()
	return motolocal.Start(t, filepath.Join("..", "..", ".."))
}

func awsConfig() aws.Config {
	return aws.Config{
		Region: region,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
		}),
	}
}

// newStore is a store on a table of its own, and a client beside it.
func newStore(t *testing.T, url string) (*dynamostore.Store, *dynamodb.Client, string) {
	t.Helper()
	table := "extauthz-test-" + strings.ToLower(rand.Text())
	s, err := dynamostore.Open(t.Context(), dynamostore.Config{
		AWS: awsConfig(), Table: table, EndpointURL: url, Create: true,
		Timeout: 30 * time.Second, StrongReads: true, KeepWarm: -1, Recheck: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, dynamodb.NewFromConfig(awsConfig(), func(o *dynamodb.Options) { o.BaseEndpoint = &url }), table
}

// stream reads all records of a table's stream, as Lambda hands them on: the
// JSON of both is the same.
func stream(t *testing.T, url, table string) []events.DynamoDBEventRecord {
	t.Helper()
	var streams struct{ Streams []struct{ StreamArn string } }
	ask(t, url, "ListStreams", map[string]any{"TableName": table}, &streams)
	var all []events.DynamoDBEventRecord
	for _, s := range streams.Streams {
		var found struct {
			StreamDescription struct{ Shards []struct{ ShardID string } }
		}
		ask(t, url, "DescribeStream", map[string]any{"StreamArn": s.StreamArn}, &found)
		for _, shard := range found.StreamDescription.Shards {
			var at struct{ ShardIterator string }
			ask(t, url, "GetShardIterator", map[string]any{
				"StreamArn": s.StreamArn, "ShardId": shard.ShardID, "ShardIteratorType": "TRIM_HORIZON",
			}, &at)
			for at.ShardIterator != "" {
				var page struct {
					Records           []events.DynamoDBEventRecord
					NextShardIterator string
				}
				ask(t, url, "GetRecords", map[string]any{"ShardIterator": at.ShardIterator}, &page)
				if len(page.Records) == 0 {
					break
				}
				all = append(all, page.Records...)
				at.ShardIterator = page.NextShardIterator
			}
		}
	}
	return all
}

// ask makes a request of DynamoDB Streams.
func ask(t *testing.T, url, operation string, in, out any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", "DynamoDBStreams_20120810."+operation)
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20261125/"+region+"/dynamodb/aws4_request, SignedHeaders=host, Signature=00")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s", operation, answer.Status, text)
	}
	if err := json.Unmarshal(text, out); err != nil {
		t.Fatalf("%s: %v: %s", operation, err, text)
	}
}
