package ddblocal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
)

var shared Shared

type item = map[string]types.AttributeValue

// table is a table of a test's own, through the SDK.
type table struct {
	*dynamodb.Client
	testing.TB
	url, name string
}

func newTable(t testing.TB) *table {
	t.Helper()
	url := shared.URL(t)
	c := &table{TB: t, url: url, name: "ddblocal-test-" + strings.ToLower(rand.Text())}
	c.Client = dynamodb.New(dynamodb.Options{
		Region: "us-east-1", BaseEndpoint: &url, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
		}),
	})
	_, err := c.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &c.name, BillingMode: types.BillingModePayPerRequest,
		KeySchema: []types.KeySchemaElement{
			{AttributeName: new("PK"), KeyType: types.KeyTypeHash}, {AttributeName: new("SK"), KeyType: types.KeyTypeRange},
		},
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: new("PK"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: new("SK"), AttributeType: types.ScalarAttributeTypeS},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	wait := dynamodb.NewTableExistsWaiter(c.Client, func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = time.Millisecond, 10*time.Millisecond
	})
	if err := wait.Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: &c.name}, time.Minute); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := c.DeleteTable(context.WithoutCancel(t.Context()), &dynamodb.DeleteTableInput{TableName: &c.name})
		if err != nil {
			t.Error(err)
		}
	})
	return c
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func num(n int) types.AttributeValue     { return &types.AttributeValueMemberN{Value: strconv.Itoa(n)} }
func at(pk, sk string) item              { return item{"PK": text(pk), "SK": text(sk)} }

func (c *table) put(pk, sk string, n int) types.TransactWriteItem {
	it := at(pk, sk)
	it["n"] = num(n)
	return types.TransactWriteItem{Put: &types.Put{
		TableName: &c.name, Item: it, ConditionExpression: new("attribute_not_exists(PK)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}}
}

func (c *table) add(pk, sk string, n int) types.TransactWriteItem {
	return types.TransactWriteItem{Update: &types.Update{
		TableName: &c.name, Key: at(pk, sk), UpdateExpression: new("ADD n :n"),
		ExpressionAttributeValues: item{":n": num(n)},
	}}
}

func (c *table) check(pk, sk, condition string) types.TransactWriteItem {
	return types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{TableName: &c.name, Key: at(pk, sk), ConditionExpression: &condition}}
}

func (c *table) remove(pk, sk string) types.TransactWriteItem {
	return types.TransactWriteItem{Delete: &types.Delete{TableName: &c.name, Key: at(pk, sk)}}
}

func (c *table) transact(token string, items ...types.TransactWriteItem) (*dynamodb.TransactWriteItemsOutput, error) {
	in := &dynamodb.TransactWriteItemsInput{TransactItems: items, ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal}
	if token != "" {
		in.ClientRequestToken = &token
	}
	return c.TransactWriteItems(c.Context(), in)
}

// read is n of each item of the table, by its keys.
func (c *table) read() map[string]string {
	c.Helper()
	all := map[string]string{}
	for p := dynamodb.NewScanPaginator(c.Client, &dynamodb.ScanInput{TableName: &c.name, Limit: new(int32(2))}); p.HasMorePages(); {
		out, err := p.NextPage(c.Context())
		if err != nil {
			c.Fatal(err)
		}
		for _, it := range out.Items {
			n := ""
			if v, ok := it["n"].(*types.AttributeValueMemberN); ok {
				n = v.Value
			}
			all[it["PK"].(*types.AttributeValueMemberS).Value+" "+it["SK"].(*types.AttributeValueMemberS).Value] = n
		}
	}
	return all
}

func codes(err error) string {
	var canceled *types.TransactionCanceledException
	if !errors.As(err, &canceled) {
		return fmt.Sprint(err)
	}
	var all []string
	for _, r := range canceled.CancellationReasons {
		all = append(all, *r.Code)
	}
	return strings.Join(all, " ")
}

// TestTransaction makes one with every action, and then one of which a single
// condition is false.
func TestTransaction(t *testing.T) {
	c := newTable(t)
	out, err := c.transact("", c.put("a", "1", 1), c.add("a", "2", 2), c.check("b", "1", "attribute_not_exists(PK)"), c.remove("b", "2"))
	if err != nil {
		t.Fatal(err)
	}
	if units := *out.ConsumedCapacity[0].CapacityUnits; units != 8 {
		t.Errorf("4 actions consumed %v units, want 8", units)
	}
	want := map[string]string{"a 1": "1", "a 2": "2"}
	if diff := cmp.Diff(want, c.read()); diff != "" {
		t.Error(diff)
	}
	_, err = c.transact("", c.add("a", "2", 1), c.put("a", "1", 7), c.remove("a", "2x"), c.check("b", "1", "attribute_not_exists(PK)"))
	if got := codes(err); got != "None ConditionalCheckFailed None None" {
		t.Errorf("the reasons are %s", got)
	}
	var canceled *types.TransactionCanceledException
	if errors.As(err, &canceled) {
		if n, ok := canceled.CancellationReasons[1].Item["n"].(*types.AttributeValueMemberN); !ok || n.Value != "1" {
			t.Errorf("the item of the false condition is %v", canceled.CancellationReasons[1].Item)
		}
	}
	if diff := cmp.Diff(want, c.read()); diff != "" {
		t.Errorf("a canceled transaction wrote: %s", diff)
	}
	wrong := c.add("a", "1", 1)
	wrong.Update.UpdateExpression, wrong.Update.ExpressionAttributeValues = new("SET n = nothing"), nil
	if _, err := c.transact("", c.add("a", "2", 1), wrong); codes(err) != "None ValidationError" {
		t.Errorf("the reasons are %s", codes(err))
	}
}

func TestRefusedTransactions(t *testing.T) {
	c := newTable(t)
	many := make([]types.TransactWriteItem, 101)
	for i := range many {
		many[i] = c.add("a", strconv.Itoa(i), 1)
	}
	var big []types.TransactWriteItem
	for i := range 12 {
		w := c.put("a", strconv.Itoa(i), i)
		w.Put.Item["filler"] = text(strings.Repeat("x", 390_000))
		big = append(big, w)
	}
	for _, x := range []struct {
		items []types.TransactWriteItem
		want  string
	}{
		{many, "less than or equal to 100"},
		{[]types.TransactWriteItem{c.add("a", "1", 1), c.check("a", "1", "attribute_exists(PK)")}, "multiple operations on one item"},
		{[]types.TransactWriteItem{{Update: &types.Update{TableName: &c.name, Key: at("a", "1"), UpdateExpression: new("nonsense")}}}, "Invalid UpdateExpression"},
		{[]types.TransactWriteItem{{Delete: &types.Delete{TableName: &c.name, Key: item{"PK": text("a")}}}}, "does not match the schema"},
		{big, "4 MB"},
	} {
		if _, err := c.transact("", x.items...); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v, want %s", err, x.want)
		}
	}
	if _, err := c.transact("", many[:100]...); err != nil {
		t.Error(err)
	}
	if n := len(c.read()); n != 100 {
		t.Errorf("there are %d items, want 100", n)
	}
}

// TestTokens sends a transaction twice under one token.
func TestTokens(t *testing.T) {
	c := newTable(t)
	token := rand.Text()
	for range 2 {
		if _, err := c.transact(token, c.add("a", "1", 1)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string]string{"a 1": "1"}, c.read()); diff != "" {
		t.Error(diff)
	}
	var mismatch *types.IdempotentParameterMismatchException
	if _, err := c.transact(token, c.add("a", "1", 2)); !errors.As(err, &mismatch) {
		t.Errorf("another transaction with the same token: %v", err)
	}
	// One that was canceled is tried again.
	token = rand.Text()
	if _, err := c.transact(token, c.put("a", "1", 5)); codes(err) != "ConditionalCheckFailed" {
		t.Fatal(err)
	}
	if _, err := c.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &c.name, Key: at("a", "1")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.transact(token, c.put("a", "1", 5)); err != nil {
		t.Error(err)
	}
}

func TestConflicts(t *testing.T) {
	c := newTable(t)
	Hold(t, c.url, c.name, time.Minute, Key{"a", "1"})
	if _, err := c.transact("", c.add("b", "1", 1), c.add("a", "1", 1)); codes(err) != "None TransactionConflict" {
		t.Errorf("a transaction on a held item: %s", codes(err))
	}
	var conflict *types.TransactionConflictException
	_, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &c.name, Item: at("a", "1")})
	if !errors.As(err, &conflict) {
		t.Errorf("a single write of a held item: %v", err)
	}
	_, err = c.TransactGetItems(t.Context(), &dynamodb.TransactGetItemsInput{TransactItems: []types.TransactGetItem{
		{Get: &types.Get{TableName: &c.name, Key: at("a", "1")}},
	}})
	if codes(err) != "TransactionConflict" {
		t.Errorf("a transaction that reads a held item: %s", codes(err))
	}
	if _, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &c.name, Item: at("a", "2")}); err != nil {
		t.Error(err)
	}
	if got := c.read(); len(got) != 1 {
		t.Errorf("there are %v", got)
	}
}

// TestTogether moves units between items by transactions, single writes and
// reads at once: none is lost, and no reader sees half of a transaction.
func TestTogether(t *testing.T) {
	c := newTable(t)
	const workers, rounds = 8, 8
	if _, err := c.transact("", c.put("a", "1", 0), c.put("b", "1", 0), c.put("c", "1", 0)); err != nil {
		t.Fatal(err)
	}
	var conflicts atomic.Int64
	var running sync.WaitGroup
	for i := range workers {
		running.Go(func() {
			for range rounds {
				c.single("c")
				for {
					from, to := "a", "b"
					if i%2 == 0 {
						from, to = to, from // the other order must not lock up
					}
					_, err := c.transact("", c.add(from, "1", 1), c.add(to, "1", 1), c.add("c", "1", 1))
					if err == nil {
						break
					}
					if !strings.Contains(codes(err), "TransactionConflict") {
						t.Error(err)
						return
					}
					conflicts.Add(1)
				}
				c.equal("a", "b")
			}
		})
	}
	running.Wait()
	n := strconv.Itoa(workers * rounds)
	want := map[string]string{"a 1": n, "b 1": n, "c 1": strconv.Itoa(2 * workers * rounds)}
	if diff := cmp.Diff(want, c.read()); diff != "" {
		t.Error(diff)
	}
	t.Logf("%d conflicts", conflicts.Load())
}

// single adds to an item by a single write, which may meet a transaction.
func (c *table) single(pk string) {
	for {
		_, err := c.UpdateItem(c.Context(), &dynamodb.UpdateItemInput{
			TableName: &c.name, Key: at(pk, "1"),
			UpdateExpression: new("ADD n :n"), ExpressionAttributeValues: item{":n": num(1)},
		})
		var conflict *types.TransactionConflictException
		switch {
		case err == nil:
			return
		case !errors.As(err, &conflict):
			c.Error(err)
			return
		}
	}
}

// equal reads two items at once, unless a transaction holds one of them.
func (c *table) equal(a, b string) {
	out, err := c.TransactGetItems(c.Context(), &dynamodb.TransactGetItemsInput{TransactItems: []types.TransactGetItem{
		{Get: &types.Get{TableName: &c.name, Key: at(a, "1")}}, {Get: &types.Get{TableName: &c.name, Key: at(b, "1")}},
	}})
	if err != nil {
		if !strings.Contains(codes(err), "TransactionConflict") {
			c.Error(err)
		}
		return
	}
	if diff := cmp.Diff(out.Responses[0].Item["n"].(*types.AttributeValueMemberN).Value, out.Responses[1].Item["n"].(*types.AttributeValueMemberN).Value); diff != "" {
		c.Errorf("half of a transaction: %s", diff)
	}
}

// TestReads checks what the store relies on of dynalite itself.
func TestReads(t *testing.T) {
	c := newTable(t)
	for i := range 9 {
		if _, err := c.transact("", c.put("a", strconv.Itoa(i), i)); err != nil {
			t.Fatal(err)
		}
	}
	batch, err := c.BatchGetItem(t.Context(), &dynamodb.BatchGetItemInput{
		RequestItems: map[string]types.KeysAndAttributes{
			c.name: {ConsistentRead: new(true), Keys: []map[string]types.AttributeValue{at("a", "3"), at("a", "x"), at("b", "3")}},
		},
		ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := batch.Responses[c.name]; len(got) != 1 || len(batch.UnprocessedKeys) > 0 || *batch.ConsumedCapacity[0].CapacityUnits != 3 {
		t.Errorf("a batch has %v, and takes %v", got, batch.ConsumedCapacity)
	}
	in := &dynamodb.QueryInput{
		TableName: &c.name, Limit: new(int32(2)), ScanIndexForward: new(false), KeyConditionExpression: new("PK = :p AND SK BETWEEN :a AND :b"),
		ExpressionAttributeValues: item{":p": text("a"), ":a": text("2"), ":b": text("6")},
	}
	var got []string
	for p := dynamodb.NewQueryPaginator(c.Client, in); p.HasMorePages(); {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range out.Items {
			got = append(got, it["SK"].(*types.AttributeValueMemberS).Value)
		}
	}
	if diff := cmp.Diff([]string{"6", "5", "4", "3", "2"}, got); diff != "" {
		t.Error(diff)
	}
	if n := len(c.read()); n != 9 { // by pages of 2
		t.Errorf("a scan finds %d items, want 9", n)
	}
}
