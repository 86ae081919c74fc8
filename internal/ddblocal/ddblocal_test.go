package ddblocal

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

// ask sends one operation, as a client that signs would.
func ask(t *testing.T, url, operation, body string) (int, string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // it also cleans up
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	request.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	request.Header.Set("X-Amz-Date", "20260101T000000Z")
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=x")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

// TestAdded checks what server.js adds to dynalite.
func TestAdded(t *testing.T) {
	var shared Shared
	url := shared.URL(t)
	status, answer := ask(t, url, "CreateTable", `{"TableName":"added","BillingMode":"PAY_PER_REQUEST",
		"KeySchema":[{"AttributeName":"PK","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"PK","AttributeType":"S"}]}`)
	if status != http.StatusOK {
		t.Fatal(answer)
	}
	t.Cleanup(func() {
		ask(t, url, "DeleteTable", `{"TableName":"added"}`)
	})
	put := `{"TableName":"added","Item":{"PK":{"S":"a"},"n":{"N":"7"}},"ConditionExpression":"attribute_not_exists(PK)"`
	for _, c := range []struct {
		operation, body, want string
		status                int
	}{
		{"DescribeTimeToLive", `{"TableName":"added"}`, `"DISABLED"`, 200},
		{"UpdateTimeToLive", `{"TableName":"added","TimeToLiveSpecification":{"Enabled":true,"AttributeName":"ttl"}}`, `"ttl"`, 200},
		{"DescribeTimeToLive", `{"TableName":"added"}`, `"ENABLED"`, 200},
		{"PutItem", put + `}`, `{}`, 200},
		{"PutItem", put + `,"ReturnValuesOnConditionCheckFailure":"ALL_OLD"}`, `"Item":{"`, 400},
		{"UpdateItem", `{"TableName":"added","Key":{"PK":{"S":"a"}},"UpdateExpression":"ADD n :x","ConditionExpression":"n = :y",
			"ExpressionAttributeValues":{":x":{"N":"1"},":y":{"N":"8"}},"ReturnValuesOnConditionCheckFailure":"ALL_OLD"}`, `"n":{"N":"7"}`, 400},
	} {
		status, answer := ask(t, url, c.operation, c.body)
		if status != c.status || !strings.Contains(answer, c.want) {
			t.Errorf("%s %s: %d %s, want %d with %s", c.operation, c.body, status, answer, c.status, c.want)
		}
	}
	if status, answer := ask(t, url, "PutItem", put+`}`); status != 400 || strings.Contains(answer, "Item\"") {
		t.Errorf("an item that was not asked for: %d %s", status, answer)
	}
}

func TestNotInstalled(t *testing.T) {
	if _, err := Start(t.TempDir()); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("without tools: %v", err)
	}
	if os.Getenv("EXTAUTHZ_TOOLS") == "" {
		return
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Start(os.Getenv("EXTAUTHZ_TOOLS")); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("without Node.js: %v", err)
	}
}
