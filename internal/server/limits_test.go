package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// setLimit makes a limit of a tenant's by the admin API of a service; empty
// deletes it.
func setLimit(t *testing.T, r *running, tenant, limit string) {
	t.Helper()
	by := hierarchy.Cause{By: hierarchy.Actor{Caller: "me"}, At: time.Now()}
	ref := hierarchy.EntityRef(tenant, "")
	_, err := hierarchy.Update(t.Context(), admin.NewClient(r.Admin), ratelimit.DefaultNamespace, by, "set-limits", []hierarchy.Ref{ref},
		func(items []hierarchy.Item) error {
			items[0].Deleted = limit == ""
			items[0].Level.Limits = nil
			if limit == "" {
				return nil
			}
			l, err := ratelimit.ParseRate("requests", limit)
			items[0].Level.Limits = []ratelimit.Limit{l}
			return err
		})
	mustDo(t, err)
}

// limitOf is the limit by which a service would charge a tenant, and the level
// that it comes from.
func limitOf(t *testing.T, r *running, tenant string) string {
	t.Helper()
	e, err := admin.NewClient(r.Admin).Explain(context.WithoutCancel(t.Context()), &admin.Question{
		Domain: "edge", Descriptors: []admin.Descriptor{{Entries: []admin.Entry{{Key: "tenant", Value: tenant}}}},
	})
	mustDo(t, err)
	b := e.Requests[0].Charges[0].Buckets[0]
	if len(b.Limits) == 0 {
		return b.Level
	}
	return fmt.Sprint(b.Level, " ", b.Limits[0].Rate)
}

// becomes waits until a tenant's limit is as it should be.
func becomes(t *testing.T, r *running, tenant, want string) {
	t.Helper()
	until(t, tenant+" has "+want, func() bool { return limitOf(t, r, tenant) == want })
}

// TestTheStoreComesBeforeTheFile, on the store in the process: what admins say
// is in force at once, and outlives the process with the balances.
func TestTheStoreComesBeforeTheFile(t *testing.T) {
	content := strings.Replace(fmt.Sprintf(oneRule, "edge"), "rules:", fmt.Sprintf(
		"store: {path: %q}\nlimits: {system: {limits: {requests: 7/hour}}, entities: {acme: {limits: {requests: 3/hour}}}}\nrules:",
		filepath.Join(t.TempDir(), "buckets.db")), 1)
	t.Run("first", func(t *testing.T) {
		r := runService(t, content)
		becomes(t, r, "acme", "entity 3")
		becomes(t, r, "globex", "system 7")
		setLimit(t, r, "acme", "2/hour")
		becomes(t, r, "acme", "entity 2")
		if code, err := ask(t.Context(), r.conn, "acme"); err != nil || code != codeOK {
			t.Errorf("code %d, %v", code, err)
		}
		setLimit(t, r, "globex", "1/hour")
		becomes(t, r, "globex", "entity 1")
		setLimit(t, r, "globex", "")
		becomes(t, r, "globex", "system 7")
		if !r.metric(t, `extauthz_limits_polls_total{result="failure"} 0`) || !r.metric(t, "extauthz_limits_namespaces 1") {
			t.Error("the metrics lack what is known of limits")
		}
	})
	t.Run("second", func(t *testing.T) {
		r := runService(t, content)
		becomes(t, r, "acme", "entity 2")
		for i, want := range []uint64{codeOK, codeOverLimit} { // one of two was taken before
			if code, err := ask(t.Context(), r.conn, "acme"); err != nil || code != want {
				t.Errorf("request %d: code %d, %v", i, code, err)
			}
		}
	})
}

// TestAFileThatIsNoStore ends the start, and is left as it is.
func TestAFileThatIsNoStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.txt")
	mustDo(t, os.WriteFile(path, []byte("notes"), 0o600))
	loaded, report := config.Parse("", fmt.Appendf(nil, "%sstore: {path: %q}", listenLine, path), config.Options{})
	mustDo(t, report.Err())
	err := Run(t.Context(), Options{Config: loaded, Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)})
	if e := new(Error); !errors.As(err, &e) || !strings.Contains(err.Error(), path) {
		t.Errorf("%T: %v", err, err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "notes" {
		t.Errorf("the file holds %q, %v", text, err)
	}
}

// TestAReloadToAnotherNamespace registers it; one that isn't the process's own
// is unknown.
func TestAReloadToAnotherNamespace(t *testing.T) {
	r := runService(t, fmt.Sprintf(oneRule, "edge"))
	setLimit(t, r, "acme", "2/hour")
	becomes(t, r, "acme", "entity 2")
	mustDo(t, os.WriteFile(r.file, []byte("namespace: other\n"+fmt.Sprintf(oneRule, "edge")), 0o600))
	becomes(t, r, "acme", "default_limits 1000000")
	mustDo(t, os.WriteFile(r.file, []byte(strings.Replace(fmt.Sprintf(oneRule, "edge"), "entity:", "namespace: nobodys, entity:", 1)), 0o600))
	until(t, "the file is in force", func() bool { return r.metric(t, "extauthz_config_reloads_total{result=\"success\"} 2") })
	if code, err := ask(t.Context(), r.conn, "acme"); err != nil || code != codeOverLimit {
		t.Errorf("in a namespace that isn't registered: code %d, %v", code, err)
	}
}

// TestALimitChangesUnderLoad: raised from 6 to 60 a minute, and lowered again,
// it is in force on both processes within six seconds, and mints nothing.
func TestALimitChangesUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	content := onDynamoDB(local.URL(t), newTable(t), "decision_timeout: 20s")
	services := []*running{runService(t, content), runService(t, content)}
	setLimit(t, services[0], "acme", "6/min:1")
	for _, r := range services {
		becomes(t, r, "acme", "entity 6")
	}
	ctx, stop := context.WithCancel(t.Context())
	var admitted atomic.Int64
	var load sync.WaitGroup
	for _, r := range services {
		load.Go(func() {
			for ticker := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-ticker.C {
				code, err := ask(context.WithoutCancel(ctx), r.conn, "acme")
				if err != nil {
					t.Error(err)
					return
				}
				if code == codeOK {
					admitted.Add(1)
				}
			}
		})
	}
	defer load.Wait()
	defer stop()
	for _, step := range []struct {
		limit, level string
		least, most  int64 // admitted in 6 seconds after it is in force, with one in the bucket
	}{{"60/min:1", "entity 60", 4, 7}, {"6/min:1", "entity 6", 0, 2}} {
		begun := time.Now()
		setLimit(t, services[0], "acme", step.limit)
		for _, r := range services {
			becomes(t, r, "acme", step.level)
		}
		if took := time.Since(begun); took > 6*time.Second {
			t.Errorf("%s was in force after %s", step.limit, took)
		}
		before := admitted.Load()
		<-time.After(6 * time.Second)
		if n := admitted.Load() - before; n < step.least || n > step.most {
			t.Errorf("%s: %d admitted in 6 seconds, not %d to %d", step.limit, n, step.least, step.most)
		}
	}
}
