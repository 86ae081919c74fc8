package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// A bucket that was used is looked at, added to and filled by hand, through a
// service and on a table.
func TestByHand(t *testing.T) {
	t.Run("server", func(t *testing.T) {
		store := embedstore.New(embedstore.Config{})
		testByHand(t, store, "--server", serveAdmin(t, store))
	})
	t.Run("dynamodb", func(t *testing.T) {
		store, flags := localTable(t)
		testByHand(t, store, flags...)
	})
}

// charge takes 40 of 100 a day and 5 of 10 an hour of alice's.
func charge(t *testing.T, store interface {
	ratelimit.Store
	hierarchy.Source
},
) {
	t.Helper()
	cache := hierarchy.NewCache(hierarchy.CacheConfig{Source: store})
	defer cache.Close()
	limiter, err := ratelimit.New(ratelimit.Config{Store: store, Resolver: cache.Resolver("default", hierarchy.Document{})})
	if err != nil {
		t.Fatal(err)
	}
	request := ratelimit.Request{Entity: "alice", Resource: "api", Consume: map[string]int64{"day": 40, "hour": 5}}
	err = limiter.Do(t.Context(), request, func(context.Context, *ratelimit.Lease) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
}

func testByHand(t *testing.T, store interface {
	ratelimit.Store
	hierarchy.Editor
	hierarchy.Namespaces
}, target ...string,
) {
	register(t, store)
	do := func(status int, line string, says ...string) {
		t.Helper()
		var out bytes.Buffer
		if got := run(t.Context(), append(strings.Fields(line), target...), strings.NewReader(""), &out, &out); got != status {
			t.Fatalf("%s: %d\n%s", line, got, out.String())
		}
		said := strings.Join(strings.Fields(out.String()), " ")
		for _, want := range says {
			if !strings.Contains(said, want) {
				t.Errorf("%s: no %q in\n%s", line, want, out.String())
			}
		}
	}
	do(exitOK, "resource set-defaults api -l day:100/d -l hour:10/h")
	do(exitOK, "entity reset alice -r api", "what isn't there is full")
	charge(t, store)
	do(exitOK, "balance alice api", "day 100/day 60 100 in", "hour 10/hour 5 10 in")
	do(exitOK, "entity top-up alice -r api --add day:10 --idempotency-key k1", "day 100/day 70 100", "hour 10/hour 5 10")
	do(exitOK, "entity top-up alice -r api --add day:10 --idempotency-key k1", "day 100/day 70 100", "it was made before, and not again")
	do(exitFailed, "entity top-up alice -r api --add day:11 --idempotency-key k1", `the operation "k1" was made before`, "hint: another operation needs another --idempotency-key")
	do(exitOK, "entity top-up alice -r api --add day:1000 --add hour:1", "day 100/day 100 100 now", "hour 10/hour 6 10")
	do(exitOK, "entity reset alice -r api -l hour", "hour 10/hour 10 10 now")
	charge(t, store)
	do(exitOK, "entity reset alice -r api --idempotency-key k2 -o json", `"repeated": false`, `"balance": 100,`, `"balance": 10,`)
	charge(t, store)
	do(exitOK, "entity reset alice -r api --idempotency-key k2", "it was made before", "day 100/day 60 100")
	do(exitOK, "audit list --entity alice", "reset all limits entity+resource", "top-up day:1000 hour:1 entity+resource", "reset hour entity")

	do(exitFailed, "entity reset alice -r api -l week", `the bucket has no limit "week": it has day, hour`)
	do(exitFailed, "entity reset alice", "hint: name it with --resource")
	do(exitFailed, "entity top-up alice -r api", "hint: add --add, as in --add tpm:50000")
	do(exitFailed, "entity top-up alice -r api --add day", "hint: as in --add tpm:50000")
	do(exitFailed, "entity top-up alice -r api --add day:-1", "is not LIMIT:TOKENS")
	do(exitFailed, "entity top-up alice -r api --add day:1 --add day:2", "twice")
	do(exitFailed, "entity reset alice -r api --idempotency-key é", "1 to 128 characters")
	do(exitFailed, "entity reset alice -r api -n nowhere", "hint: extauthz namespace register nowhere")
	do(exitOK, "balance alice api", "day 100/day 60 100", "hour 10/hour 5 10")
}
