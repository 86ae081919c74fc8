package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/extauthz/extauthz/internal/ddblocal"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/embedstore"
)

// theirTable makes a table of zae-limiter's with little in it.
func theirTable(t *testing.T, url string) string {
	t.Helper()
	table := "zae-" + strings.ToLower(rand.Text())
	t.Cleanup(func() { removeTable(url, table) })
	dynamoDB(t, url, "CreateTable", `{"TableName": "TABLE", "BillingMode": "PAY_PER_REQUEST",
		"AttributeDefinitions": [{"AttributeName": "PK", "AttributeType": "S"}, {"AttributeName": "SK", "AttributeType": "S"}],
		"KeySchema": [{"AttributeName": "PK", "KeyType": "HASH"}, {"AttributeName": "SK", "KeyType": "RANGE"}]}`, table)
	waitForTable(t, url, table)
	for _, item := range []string{
		`{"PK": {"S": "_/SYSTEM#"}, "SK": {"S": "#NAMESPACE#default"}, "namespace_id": {"S": "x"}}`,
		`{"PK": {"S": "_/SYSTEM#"}, "SK": {"S": "#NAMESPACE#a b"}, "namespace_id": {"S": "y"}}`,
		`{"PK": {"S": "x/RESOURCE#gpt-4"}, "SK": {"S": "#CONFIG"}, "l_rpm_cp": {"N": "60"}, "l_rpm_ra": {"N": "60"}, "l_rpm_rp": {"N": "60"},
			"l_meter_cp": {"N": "5"}, "l_meter_ra": {"N": "5"}, "l_meter_rp": {"N": "60"}, "l_meter_soft": {"BOOL": true}}`,
		`{"PK": {"S": "x/ENTITY#alice"}, "SK": {"S": "#META"}, "name": {"S": "Alice"}}`,
		`{"PK": {"S": "x/ENTITY#alice"}, "SK": {"S": "#CONFIG#gpt-4"}, "w_day_cp": {"N": "5"}, "w_day_rsa": {"N": "86400"}}`,
		`{"PK": {"S": "x/BUCKET#alice#gpt-4#0"}, "SK": {"S": "#STATE"}, "b_rpm_tk": {"N": "1"}}`,
	} {
		dynamoDB(t, url, "PutItem", `{"TableName": "TABLE", "Item": `+item+`}`, table)
	}
	return table
}

func waitForTable(t *testing.T, url, table string) {
	t.Helper()
	for !strings.Contains(dynamoDB(t, url, "DescribeTable", `{"TableName": "TABLE"}`, table), `"ACTIVE"`) {
		if t.Context().Err() != nil {
			t.Fatal("the table isn't made")
		}
	}
}

func dynamoDB(t *testing.T, url, operation, question, table string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(strings.ReplaceAll(question, "TABLE", table)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0")
	request.Header.Set("X-Amz-Date", "20260101T000000Z")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v %s", operation, err, answer)
	}
	return string(answer)
}

// An import shows, asks, writes, and has nothing left to do; what it prints as
// JSON is what is documented.
func TestImport(t *testing.T) {
	var local ddblocal.Shared
	url := local.URL(t)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1",
		"EXTAUTHZ_STACK": "", "EXTAUTHZ_NAMESPACE": "",
	} {
		t.Setenv(name, value)
	}
	table, address := theirTable(t, url), serveAdmin(t, embedstore.New(embedstore.Config{}))
	whole := func() string { return dynamoDB(t, url, "Scan", `{"TableName": "TABLE"}`, table) }
	before := whole()
	base := []string{"import", "zae-limiter", "--from", table, "--from-endpoint-url", url, "--server", address}
	printed, fields := map[string]bool{}, documented(t)["import"]
	for _, c := range []struct {
		more   string
		status int
		want   string // in what is printed
	}{
		{"--dry-run", exitOK, "namespace default, to be registered, from default:"},
		{"--dry-run", exitOK, "soft limit meter  it counts there"},
		{"--dry-run", exitOK, "2 to create, 0 to update, 0 to delete, 0 unchanged"},
		{"", exitFailed, "make 3 changes?"},
		{"-n here", exitFailed, "--from-namespace"},
		{"--from-namespace nowhere", exitFailed, `no namespace "nowhere"`},
		{"--from nothing", exitFailed, "hint: --from names zae-limiter's stack"},
		{"-o json --dry-run", exitOK, `"applied": 0`},
		{"-o json -y", exitOK, `"applied": 2`},
		{"-y", exitOK, "0 changes made"},
	} {
		args := slices.Concat(base, strings.Fields(c.more))
		var stdout, stderr bytes.Buffer
		if got := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr); got != c.status {
			t.Fatalf("%q: %d\n%s", c.more, got, stderr.String())
		}
		if all := stdout.String() + stderr.String(); !strings.Contains(all, c.want) {
			t.Errorf("%q doesn't print %q:\n%s", c.more, c.want, all)
		}
		if !strings.HasPrefix(c.more, "-o json") {
			continue
		}
		var v any
		if err := json.Unmarshal(stdout.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		now := map[string]bool{}
		paths(v, "", now)
		compare(t, c.more, fields, now)
		maps.Copy(printed, now)
	}
	stderr, itself := new(bytes.Buffer), []string{"import", "zae-limiter", "--from", table, "--stack", table, "--endpoint-url", url}
	if got := run(t.Context(), itself, strings.NewReader(""), io.Discard, stderr); got != exitFailed || !strings.Contains(stderr.String(), "read from and written to") {
		t.Errorf("into itself: %d, %s", got, stderr)
	}
	importBeside(t, url, table)
	if whole() != before {
		t.Errorf("the table that was read has changed:\n%s\n%s", before, whole())
	}
	for field := range fields {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(printed)), func(p string) bool { return covers(field, p) }) {
			t.Errorf("nothing has printed %s, so that nothing holds it", field)
		}
	}
}

// importBeside imports into a table beside the one that is read: of the two
// places only one has to be named.
func importBeside(t *testing.T, url, table string) {
	t.Helper()
	aws, err := dynamostore.LoadAWS(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	stack := table + "-here"
	made, err := dynamostore.Open(t.Context(), dynamostore.Config{AWS: aws, Table: stack, EndpointURL: url, Create: true, KeepWarm: -1, Register: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeTable(url, stack) })
	if err := made.Close(); err != nil {
		t.Fatal(err)
	}
	stdout, beside := new(bytes.Buffer), []string{"import", "zae-limiter", "--from", table, "--stack", stack, "--endpoint-url", url, "-y"}
	if got := run(t.Context(), beside, strings.NewReader(""), stdout, io.Discard); got != exitOK || !strings.HasSuffix(stdout.String(), "\n3 changes made\n") {
		t.Errorf("into a table beside it: %d, %s", got, stdout)
	}
}
