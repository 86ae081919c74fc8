package admin

import (
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy/hierarchytest"
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
