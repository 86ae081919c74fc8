package ddblocal

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Key is the primary key of an item in a table whose keys are PK and SK, both
// text.
type Key struct{ PK, SK string }

// Hold makes items look for a while as if somebody's transaction held them:
// writes to them are turned away with TransactionConflict, reads go on.
func Hold(t testing.TB, url, table string, d time.Duration, keys ...Key) {
	t.Helper()
	type text struct{ S string }
	var items []map[string]text
	for _, k := range keys {
		items = append(items, map[string]text{"PK": {k.PK}, "SK": {k.SK}})
	}
	body, err := json.Marshal(map[string]any{"TableName": table, "Keys": items, "Milliseconds": d.Milliseconds()})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Amz-Target", "DynamoDB_20120810.HoldItems")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("holding items of %s: %d %s %v", table, response.StatusCode, answer, err)
	}
}
