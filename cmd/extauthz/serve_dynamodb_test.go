package main

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/extauthz/extauthz/internal/ddblocal"
)

// TestScriptsOnDynamoDB are the commands as a user of DynamoDB types them. Each
// script has a table's name of its own.
func TestScriptsOnDynamoDB(t *testing.T) {
	var local ddblocal.Shared
	url := local.URL(t)
	runScripts(t, testscript.Params{
		Dir: "testdata/dynamodb",
		Setup: func(e *testscript.Env) error {
			table := "extauthz-test-" + strings.ToLower(rand.Text())
			e.Defer(func() { removeTable(url, table) })
			e.Vars = append(e.Vars, "DYNAMODB="+url, "TABLE="+table,
				"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true")
			return nil
		},
	})
}

// removeTable removes a table if it is there.
func removeTable(url, table string) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(`{"TableName": "`+table+`"}`))
	if err != nil {
		return
	}
	request.Header.Set("X-Amz-Target", "DynamoDB_20120810.DeleteTable")
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0")
	request.Header.Set("X-Amz-Date", "20260101T000000Z")
	// What is left of a test is in the memory of a server that ends with it.
	if response, err := http.DefaultClient.Do(request); err == nil {
		_ = response.Body.Close()
	}
}
