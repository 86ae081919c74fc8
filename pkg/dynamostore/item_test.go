package dynamostore

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func n(v string) types.AttributeValue { return &types.AttributeValueMemberN{Value: v} }
func s(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }

func TestDecode(t *testing.T) {
	k := key(t, "e")
	got, err := decode(k, item{
		attrPK: s("x/e/e"), attrSK: s("b/gpt-4"), attrV: n("7"), attrAt: n("-5"), attrLast: n("6"), attrBorn: n("4"), attrTTL: n("99"),
		attrShape: &types.AttributeValueMemberB{Value: []byte{0xff, 0, 0, 0, 0, 0, 0, 1}},
		"b2":      n("-12000"), "c2": n("5000"), "p2": s("rpm/1000/2000/60000"),
		"b4": n("99999999999999999999999999999999999999"), "r4": n("3"), "p4": s("tpm/1/1/1"),
		"c1": n("8"), "p1": s("gone/1/1/1"),
		// What others may put beside it.
		"b0": s("x"), "b01": s("x"), "b": s("x"), "b1001": s("x"), "b99999999999999999999": s("x"), "b1x": s("x"), "q1": s("x"), "burst2": n("1"),
		"future": &types.AttributeValueMemberM{},
	})
	if err != nil {
		t.Fatal(err)
	}
	limit := func(name string, capacity, amount ratelimit.Millitokens, period int64) ratelimit.Params {
		return ratelimit.Params{Name: name, Capacity: capacity, Refill: ratelimit.Continuous{Amount: amount, Period: period}}
	}
	want := ratelimit.State{
		Exists: true, Revision: 7, Shape: 0xff00_0000_0000_0001, ShapedAt: -5, Last: 6, Born: 4, ExpiresAt: 99,
		Limits: []ratelimit.LimitState{
			{Params: limit("gone", 1, 1, 1), Charged: 8},
			{Params: limit("rpm", 1000, 2000, 60000), On: true, Balance: -12000, Charged: 5000},
			{},
			{Params: limit("tpm", 1, 1, 1), On: true, Balance: ratelimit.NoMax, Returned: 3},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	k := key(t, "e")
	for _, c := range []struct {
		attribute string
		value     types.AttributeValue
	}{
		{attrV, s("7")},
		{attrV, n("7.5")},
		{attrV, n("1E3")},
		{attrTTL, n("")},
		{attrLast, &types.AttributeValueMemberNULL{Value: true}},
		{attrShape, n("1")},
		{attrShape, &types.AttributeValueMemberB{Value: []byte("1234567")}},
		{"b1", s("1")},
		{"c1", s("1")},
		{"r1", s("1")},
		{"p1", n("1")},
		{"p1", s("rpm")},
		{"p1", s("rpm/1/1")},
		{"p1", s("rpm/1/1/1/1")},
		{"p1", s("rpm/1/x/1")},
		{"p1", s("rpm/1/0/1")},
		{"p1", s("rpm/1/1/0")},
	} {
		_, err := decode(k, item{c.attribute: c.value})
		var bad *ItemError
		if !errors.As(err, &bad) || bad.Attribute != c.attribute || bad.Key != k || !strings.Contains(err.Error(), k.ID()) {
			t.Errorf("%s = %v: %v", c.attribute, c.value, err)
		}
	}
	var bad *ItemError
	if _, err := decode(k, item{"b1": n("1")}); !errors.As(err, &bad) || bad.Attribute != "p1" {
		t.Errorf("a balance without parameters: %v", err)
	}
	if state, err := decode(k, nil); err != nil || state.Exists {
		t.Errorf("absent: %+v, %v", state, err)
	}
}

func TestParamsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := ratelimit.Params{
			Name:     rapid.StringMatching(`[a-zA-Z][a-zA-Z0-9._-]{0,63}`).Draw(t, "name"),
			Capacity: ratelimit.Millitokens(rapid.Int64().Draw(t, "capacity")),
			Refill: ratelimit.Continuous{
				Amount: ratelimit.Millitokens(rapid.Int64Min(1).Draw(t, "amount")), Period: rapid.Int64Min(1).Draw(t, "period"),
			},
		}
		text, err := paramsText(&want)
		if err != nil {
			t.Fatal(err)
		}
		var got ratelimit.Params
		if err := params(s(text), &got); err != nil || got != want {
			t.Fatalf("%q: %+v, %v", text, got, err)
		}
	})
}

// TestForeignAttributesStay writes a bucket beside what a newer program left.
func TestForeignAttributesStay(t *testing.T) {
	store, _ := newStore(t)
	w := created(t, store, "one")
	it := raw(t, store, w.Key)
	it["q1"], it["future"] = s("writer:1"), n("3")
	if _, err := store.others.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &store.table, Item: it}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	after := raw(t, store, w.Key)
	for _, name := range []string{"q1", "future"} {
		if !reflect.DeepEqual(it[name], after[name]) {
			t.Errorf("%s was %v, is %v", name, it[name], after[name])
		}
	}
}

// TestUnreadableItem: what can't be read is never decided from. A refused write
// was still not applied.
func TestUnreadableItem(t *testing.T) {
	store, _ := newStore(t)
	w := created(t, store, "one")
	it := raw(t, store, w.Key)
	it["p1"] = s("rubbish")
	if _, err := store.others.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &store.table, Item: it}); err != nil {
		t.Fatal(err)
	}
	var bad *ItemError
	if _, err := store.Get(t.Context(), w.Key); !errors.As(err, &bad) {
		t.Errorf("Get: %v", err)
	}
	if _, err := store.Apply(t.Context(), w); !errors.As(err, &bad) || errors.Is(err, ratelimit.ErrNotApplied) {
		t.Errorf("applied: %v", err)
	}
	w.Revision = 9
	if _, err := store.Apply(t.Context(), w); !errors.As(err, &bad) || !errors.Is(err, ratelimit.ErrUnusable) {
		t.Errorf("refused: %v", err)
	}
}

// TestDesignShowsTheRequests keeps the requests in DESIGN.md true.
func TestDesignShowsTheRequests(t *testing.T) {
	design, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	flat := strings.Join(strings.Fields(string(design)), " ")
	store, proxy := newStore(t)
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	l, err := ratelimit.New(ratelimit.Config{
		Store: store, Now: func() time.Time { return now },
		Resolver: &fixed{limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", 100)}, expires: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := l.Acquire(t.Context(), ratelimit.Request{Entity: "user-123", Resource: "gpt-4"}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(250 * time.Millisecond)
	}
	shown := 0
	for _, r := range proxy.Records() {
		if r.Operation != "UpdateItem" {
			continue
		}
		var request struct {
			ConditionExpression, UpdateExpression string
			ExpressionAttributeValues             json.RawMessage
		}
		if err := json.Unmarshal(r.Body, &request); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{request.ConditionExpression, request.UpdateExpression} {
			if !strings.Contains(flat, text) {
				t.Errorf("DESIGN.md does not show %q of\n%s", text, indented(r.Body))
			}
		}
		shown++
	}
	if shown != 2 {
		t.Errorf("%d writes", shown)
	}
}

func indented(body []byte) string {
	var b bytes.Buffer
	_ = json.Indent(&b, body, "", "  ")
	return b.String()
}
