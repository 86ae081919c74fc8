package dynamostore

import (
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/pkg/usage"
)

// writeUsage writes the usage of a bucket in an hour, twice, as the aggregator does.
func writeUsage(t *testing.T, s *Store, k *UsageKey, a usage.Account) {
	t.Helper()
	until := time.Now().Add(time.Hour)
	for version := range int64(2) {
		read, err := s.others.GetItem(t.Context(), UsageRead(s.table, k))
		if err != nil {
			t.Fatal(err)
		}
		_, got, err := DecodeUsage(read.Item)
		if err != nil || got != version {
			t.Fatalf("version %d, want %d (%v)", got, version, err)
		}
		for _, in := range []*dynamodb.UpdateItemInput{UsageEnter(s.table, k, time.Hour), UsageWrite(s.table, k, a, version, until)} {
			if _, err := s.others.UpdateItem(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.others.UpdateItem(t.Context(), UsageWrite(s.table, k, a, version, until)); err == nil {
			t.Fatal("a version was written twice")
		}
	}
}

func TestUsageIsReadAsWritten(t *testing.T) {
	s, _ := newStore(t)
	if _, err := s.Get(t.Context(), key(t, "user/123")); err != nil { // registers the namespace
		t.Fatal(err)
	}
	ns, err := s.Namespace(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	first := usage.HourOf(time.Date(2026, 11, 30, 22, 0, 0, 0, time.UTC))
	var want []Used
	for i := range usage.Hour(5) {
		k := UsageKey{NamespaceID: ns.ID, EntityID: "user%2F123", ResourceID: "gpt-4", Hour: first + i}
		if i == 3 {
			k.Variant = "shadow:x"
		}
		a := usage.Account{
			{Born: -5, Slot: 1}: {Name: "rpm", Charged: usage.Spans{{From: 0, To: 3000}, {From: 5000, To: 6000}}, Returned: usage.Spans{{From: 0, To: 1000}}},
			{Born: 7, Slot: 12}: {Name: "tpm", Charged: usage.Spans{{From: 1, To: 2}}, Debt: 77},
		}
		writeUsage(t, s, &k, a)
		if i >= 1 && i < 4 {
			want = append(want, Used{k, a.Totals()})
		}
	}
	got, err := s.Usage(t.Context(), "default", "user/123", first+1, first+4)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v: written (-), read (+):\n%s", err, diff)
	}
	got = nil
	for _, days := range [][2]usage.Hour{{first - 48, first - 24}, {first + 1, first + 4}} {
		if err := s.UsageOfAll(t.Context(), "default", days[0], days[1], func(found []Used) { got = append(got, found...) }); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("written (-), read of all (+):\n%s", diff)
	}
}

func TestUsedAsItems(t *testing.T) {
	u := Used{
		UsageKey{NamespaceID: "id", EntityID: "user%2F123", ResourceID: "gpt-4", Variant: "shadow:x", Hour: 7},
		map[string]usage.Totals{"rpm": {Consumed: 4000, Admitted: 3000}, "tpm": {Consumed: 1, Admitted: 1, Debt: 77}},
	}
	items := u.Items()
	slices.SortFunc(items, func(a, b usage.Item) int { return a.Order(&b) })
	bucket := usage.Bucket{Entity: "user/123", Resource: "gpt-4", Variant: "shadow:x"}
	if diff := cmp.Diff([]usage.Item{
		{Bucket: bucket, Limit: "rpm", From: 7, To: 8, Totals: usage.Totals{Consumed: 4000, Admitted: 3000}},
		{Bucket: bucket, Limit: "tpm", From: 7, To: 8, Totals: usage.Totals{Consumed: 1, Admitted: 1, Debt: 77}},
	}, items); diff != "" {
		t.Errorf("as items:\n%s", diff)
	}
}

func TestUsageOfPurgedNamespaces(t *testing.T) {
	for name, c := range map[string]struct {
		head item
		goes bool
	}{
		"none":    {nil, true},
		"active":  {item{attrName: textValue("acme")}, false},
		"deleted": {item{attrState: textValue("deleted")}, false},
		"purging": {item{attrState: textValue("purging")}, true},
	} {
		if got := UsageGoes(c.head); got != c.goes {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestWhatIsNoUsage(t *testing.T) {
	for name, it := range map[string]item{
		"no version": {attrUsed: &types.AttributeValueMemberM{}},
		"no map":     {attrTold: numberValue(1)},
		"a number":   {attrTold: numberValue(1), attrUsed: &types.AttributeValueMemberM{Value: item{"1/1": numberValue(1)}}},
		"no slot":    {attrTold: numberValue(1), attrUsed: &types.AttributeValueMemberM{Value: item{"1": textValue("rpm/0-1//0")}}},
		"no debt":    {attrTold: numberValue(1), attrUsed: &types.AttributeValueMemberM{Value: item{"1/1": textValue("rpm/0-1/")}}},
		"no spans":   {attrTold: numberValue(1), attrUsed: &types.AttributeValueMemberM{Value: item{"1/1": textValue("rpm/x//0")}}},
	} {
		if a, _, err := DecodeUsage(it); err == nil {
			t.Errorf("%s is read as %v", name, a)
		}
	}
	for _, k := range [][2]string{{"namespaces", "default"}, {"id/e/user", "p"}, {"id/u/user", "b/gpt-4"}} {
		if _, _, err := UsageOf(k[0], k[1], nil, nil, time.Now()); err == nil {
			t.Errorf("%v is read as a bucket", k)
		}
	}
	broken := item{"c1": textValue("x")}
	if _, _, err := UsageOf("id/e/user", "b/gpt-4", broken, item{}, time.Now()); err == nil {
		t.Error("a broken image before was read")
	}
	if _, _, err := UsageOf("id/e/user", "b/gpt-4", nil, broken, time.Now()); err == nil {
		t.Error("a broken image after was read")
	}
}
