package admin

import (
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/hierarchy/hierarchytest"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// storeClient is a client of a server that has an empty store.
func storeClient(t *testing.T) (*Client, *embedstore.Store) {
	t.Helper()
	store := embedstore.New(embedstore.Config{})
	s := httptest.NewServer(Handler(Config{
		Store: func() (Store, error) { return store, nil }, Level: new(slog.LevelVar), Log: slog.New(slog.DiscardHandler),
	}))
	t.Cleanup(s.Close)
	return NewClient(s.URL), store
}

// The client is a store as any other: what the server's store promises isn't
// lost on the way, errors included.
func TestClientIsAStore(t *testing.T) {
	hierarchytest.Run(t, func(t *testing.T) hierarchytest.Subject {
		c, _ := storeClient(t)
		return hierarchytest.Subject{Store: c}
	})
}

// fullItem is an item that says all that an item can, were it of every kind.
func fullItem() hierarchy.Item {
	return hierarchy.Item{
		Ref: hierarchy.EntityRef("e", "r"), Revision: 1, Deleted: true, UpdatedAt: time.Unix(1, 0), Manager: "m",
		Level: hierarchy.Level{
			Limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", 1)}, Mode: ratelimit.ModeOn, OnUnavailable: ratelimit.FallbackAllow,
		},
		Profile: hierarchy.Profile{DisplayName: "d", Tier: "t", Parent: "p", Cascade: true, Metadata: map[string]string{"k": "v"}},
	}
}
