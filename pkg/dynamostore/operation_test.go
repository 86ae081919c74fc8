package dynamostore

import (
	"testing"

	"github.com/extauthz/extauthz/pkg/hierarchy/hierarchytest"
)

func TestOperations(t *testing.T) {
	c := config(local.URL(t), newTable(t))
	c.StrongReads = true
	s := open(t, c)
	hierarchytest.RunOperations(t, func(*testing.T) hierarchytest.Operated { return s })
}
