package dynamostore

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/hierarchy/hierarchytest"
)

// TestConfiguration runs the conformance suite of stores of the configuration.
func TestConfiguration(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds; `make test` runs it")
	}
	url := local.URL(t)
	table := newTable(t)
	hierarchytest.Run(t, func(t *testing.T) hierarchytest.Subject {
		s := open(t, config(url, table))
		s.settled = 0
		return hierarchytest.Subject{
			Store: s,
			Plant: func(t *testing.T, ns hierarchy.Namespace, ref hierarchy.Ref) {
				t.Helper()
				_, err := s.others.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
					TableName: &table, Key: configKey(ns.ID, ref), UpdateExpression: new("SET later = :x"),
					ExpressionAttributeValues: item{":x": textValue("x")},
				})
				if err != nil {
					t.Fatal(err)
				}
			},
			Planted: func(t *testing.T, ns hierarchy.Namespace, ref hierarchy.Ref) bool {
				t.Helper()
				it, err := s.readOne(t.Context(), RequestConfigRead, configKey(ns.ID, ref))
				if err != nil {
					t.Fatal(err)
				}
				return it["later"] != nil
			},
			Forget: func(t *testing.T, ns hierarchy.Namespace, revision int64) {
				t.Helper()
				if err := s.remove(t.Context(), []item{primaryKey(ns.ID, changeKey(revision))}); err != nil {
					t.Fatal(err)
				}
			},
			Left: func(t *testing.T, ns hierarchy.Namespace) int {
				t.Helper()
				return left(t, s, ns.ID)
			},
		}
	})
}

// left counts the items of the table that have an id in their keys or in what
// they say.
func left(t *testing.T, s *Store, id string) int {
	t.Helper()
	n := 0
	for p := dynamodb.NewScanPaginator(client(t, config(local.URL(t), s.table)), &dynamodb.ScanInput{TableName: &s.table}); p.HasMorePages(); {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range out.Items {
			if holds(it, id) {
				n++
			}
		}
	}
	return n
}

func holds(it item, id string) bool {
	for _, v := range it {
		var text string
		if err := rawText(v, &text); err == nil && strings.Contains(text, id) {
			return true
		}
	}
	return false
}
