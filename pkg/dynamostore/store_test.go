package dynamostore

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/extauthz/extauthz/pkg/ratelimit"
	"github.com/extauthz/extauthz/pkg/ratelimit/storetest"
)

func TestConformance(t *testing.T) {
	s := open(t, config(local.URL(t), newTable(t)))
	storetest.Run(t, func(*testing.T) ratelimit.Store { return s })
}

func TestCloseLeavesNothing(t *testing.T) {
	url, table := local.URL(t), newTable(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	c := config(url, table)
	c.KeepWarm = 0 // the default
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), key(t, "nobody")); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
