package infra_test

import (
	"encoding/json"
	"regexp"
	"testing"

	"github.com/extauthz/extauthz/internal/ddblocal"
	"github.com/extauthz/extauthz/internal/faultproxy"
)

// local is the DynamoDB of the package's tests.
var local ddblocal.Shared

// record is what one principal asked of DynamoDB, on the wire.
type record struct {
	proxy *faultproxy.Proxy
	taken int
}

func newRecord(t *testing.T) *record {
	t.Helper()
	p, err := faultproxy.Start(local.URL(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return &record{proxy: p}
}

// take returns what was recorded since the last take: the calls of each request,
// which are allowed together or not at all.
func (r *record) take(t *testing.T) [][]call {
	t.Helper()
	all := r.proxy.Records()
	var requests [][]call
	for _, made := range all[r.taken:] {
		if calls := callsOf(t, made.Operation, made.Body); calls != nil {
			requests = append(requests, calls)
		}
	}
	r.taken = len(all)
	return requests
}

// primary is an item, or a key, of which the partition key is looked at.
type primary struct{ PK struct{ S string } }

// request is what there is of keys in requests of DynamoDB.
type request struct {
	Key, Item                 *primary
	IndexName                 *string
	KeyConditionExpression    string
	ExpressionAttributeValues map[string]struct{ S string }
	RequestItems              map[string]json.RawMessage
	TransactItems             []map[string]struct{ Key, Item *primary }
}

// partition is how queries name their partition key.
var partition = regexp.MustCompile(`\bPK = (:\w+)`)

// callsOf are the calls of a request; nil for what makes a table, which the
// template does.
func callsOf(t *testing.T, operation string, body []byte) []call {
	t.Helper()
	var r request
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatalf("%s: %v", operation, err)
	}
	c := call{action: operation, index: r.IndexName != nil}
	switch operation {
	case "CreateTable", "UpdateTimeToLive":
		return nil
	case "DescribeTable", "Scan":
	case "GetItem", "UpdateItem", "DeleteItem":
		c.keys = []string{r.Key.PK.S}
	case "PutItem":
		c.keys = []string{r.Item.PK.S}
	case "Query":
		m := partition.FindStringSubmatch(r.KeyConditionExpression)
		if m == nil {
			t.Fatalf("a query names no partition key: %s", body)
		}
		c.keys = []string{r.ExpressionAttributeValues[m[1]].S}
	case "BatchGetItem", "BatchWriteItem":
		c.keys = batchKeys(t, operation, &r)
	case "TransactWriteItems":
		return transactionOf(&r)
	default:
		t.Fatalf("%s is none of what is known to be asked of DynamoDB", operation)
	}
	return []call{c}
}

func transactionOf(r *request) (all []call) {
	actions := map[string]string{"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
	for _, item := range r.TransactItems {
		for kind, part := range item {
			key := part.Key
			if key == nil {
				key = part.Item
			}
			all = append(all, call{action: actions[kind], keys: []string{key.PK.S}})
		}
	}
	return all
}

func batchKeys(t *testing.T, operation string, r *request) (keys []string) {
	t.Helper()
	for _, of := range r.RequestItems {
		if operation == "BatchGetItem" {
			var reads struct{ Keys []primary }
			if err := json.Unmarshal(of, &reads); err != nil {
				t.Fatal(err)
			}
			for _, k := range reads.Keys {
				keys = append(keys, k.PK.S)
			}
			continue
		}
		var writes []struct{ DeleteRequest, PutRequest *struct{ Key, Item *primary } }
		if err := json.Unmarshal(of, &writes); err != nil {
			t.Fatal(err)
		}
		for _, w := range writes {
			if w.PutRequest != nil {
				keys = append(keys, w.PutRequest.Item.PK.S)
			} else {
				keys = append(keys, w.DeleteRequest.Key.PK.S)
			}
		}
	}
	return keys
}

// writes reports whether a request changes anything.
func writes(calls []call) bool {
	for _, c := range calls {
		switch c.action {
		case "UpdateItem", "PutItem", "DeleteItem", "BatchWriteItem":
			return true
		}
	}
	return false
}
