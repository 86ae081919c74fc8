package dynamostore

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// TestInspect: a table is looked at and not touched.
func TestInspect(t *testing.T) {
	c := config(local.URL(t), newTable(t))
	_, err := Inspect(t.Context(), c)
	if problem := new(TableError); !errors.As(err, &problem) || problem.Problem != ProblemMissing {
		t.Errorf("none: %v", err)
	}
	s := open(t, c)
	put := func(version types.AttributeValue) {
		t.Helper()
		it := primaryKey(schemaKey, schemaKey)
		it[attrVersion] = version
		if _, err := s.others.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &c.Table, Item: it}); err != nil {
			t.Fatal(err)
		}
	}
	info, err := Inspect(t.Context(), c)
	if err != nil || info.Status != "ACTIVE" || info.Schema != SchemaVersion || info.Latency <= 0 || info.Protected {
		t.Errorf("%+v, %v", info, err)
	}
	put(numberValue(SchemaVersion + 1))
	if info, err = Inspect(t.Context(), c); err != nil || info.Schema != SchemaVersion+1 {
		t.Errorf("a newer one: %+v, %v", info, err)
	}
	put(&types.AttributeValueMemberBOOL{})
	if _, err = Inspect(t.Context(), c); !errors.As(err, new(*TableError)) {
		t.Errorf("nonsense: %v", err)
	}
}
