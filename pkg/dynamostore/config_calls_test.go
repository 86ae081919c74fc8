package dynamostore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/internal/ddblocal"
	"github.com/extauthz/extauthz/internal/faultproxy"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func cause() hierarchy.Cause {
	return hierarchy.Cause{By: hierarchy.Actor{Caller: "tester"}, At: time.Now()}
}

// register registers a namespace.
func register(t *testing.T, s *Store, name string) hierarchy.Namespace {
	t.Helper()
	ns, err := s.RegisterNamespace(t.Context(), name, cause())
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

// limit is an edit that writes one limit at each level.
func limit(rate int64, expect int64, refs ...hierarchy.Ref) hierarchy.Edit {
	e := hierarchy.Edit{Cause: cause(), Action: "set-limits"}
	for _, r := range refs {
		i := hierarchy.Item{Ref: r, Level: hierarchy.Level{Limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", rate)}}}
		e.Puts = append(e.Puts, hierarchy.Put{Item: i, Expect: expect})
	}
	return e
}

func edit(t *testing.T, s *Store, namespace string, e hierarchy.Edit) int64 {
	t.Helper()
	revision, err := s.Edit(t.Context(), namespace, e)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// first is the first write of a bucket.
func first(t *testing.T, namespace, entity string) *ratelimit.Write {
	t.Helper()
	k, err := ratelimit.NewKey(namespace, entity, "gpt-4", "")
	if err != nil {
		t.Fatal(err)
	}
	p := ratelimit.ParamsOf(ratelimit.PerMinute("rpm", 10))
	return &ratelimit.Write{
		Key: k, Op: ratelimit.OpCreate, Stamp: 1000, OrAbsent: true, Same: true, Revision: -1, NewShape: true, Reshaped: 1000,
		Limits: []ratelimit.LimitWrite{{
			Slot: 1, Min: ratelimit.NoMin, Max: ratelimit.NoMax, Form: ratelimit.FormSet, Value: p.Capacity, Params: &p,
		}},
	}
}

// since are the operations that a proxy has passed on since f began.
func since(proxy *faultproxy.Proxy, f func()) []faultproxy.Record {
	before := len(proxy.Records())
	f()
	return proxy.Records()[before:]
}

func operations(records []faultproxy.Record) []string {
	var all []string
	for _, r := range records {
		all = append(all, r.Operation)
	}
	return all
}

// TestRequestsOfTheConfiguration counts what each use of the configuration asks
// DynamoDB for.
func TestRequestsOfTheConfiguration(t *testing.T) {
	seen := &calls{}
	s, proxy := newStore(t, func(c *Config) { c.Observer, c.ReportCapacity = seen, true })
	register(t, s, "acme")
	ctx := t.Context()
	mark, err := s.Mark(ctx, "acme") // and finds the id
	if err != nil {
		t.Fatal(err)
	}
	unseen := []hierarchy.Ref{
		hierarchy.ProfileRef("e"), hierarchy.EntityRef("e", ""), hierarchy.EntityRef("e", "r"), hierarchy.ResourceRef("r"), hierarchy.SystemRef(),
	}
	for _, c := range []struct {
		what     string
		do       func() error
		requests []string
		units    float64
	}{
		{"an unseen entity", func() error { _, err := s.Items(ctx, "acme", unseen); return err }, []string{"BatchGetItem"}, 5},
		{"its tier", func() error {
			_, err := s.Items(ctx, "acme", []hierarchy.Ref{hierarchy.TierRef("t", ""), hierarchy.TierRef("t", "r")})
			return err
		}, []string{"BatchGetItem"}, 2},
		{"the revision", func() error { _, err := s.Mark(ctx, "acme"); return err }, []string{"GetItem"}, 1},
		{"a poll", func() error { _, err := s.Changes(ctx, "acme", mark); return err }, []string{"Query"}, 1},
		{"an edit of something new", func() error {
			_, err := s.Edit(ctx, "acme", limit(5, 0, hierarchy.SystemRef()))
			return err
		}, []string{"BatchGetItem", "TransactWriteItems"}, 2 + 5*2},
		{"an edit", func() error {
			_, err := s.Edit(ctx, "acme", limit(6, mark.Revision+1, hierarchy.SystemRef()))
			return err
		}, []string{"BatchGetItem", "TransactWriteItems"}, 2 + 4*2},
		{
			"a list", func() error {
				_, err := s.List(ctx, "acme", hierarchy.Selector{Kinds: []hierarchy.Kind{hierarchy.KindSystem}}, hierarchy.Page{})
				return err
			},
			[]string{"Query", "BatchGetItem"},
			2,
		},
	} {
		seen.take()
		got := since(proxy, func() {
			if err := c.do(); err != nil {
				t.Errorf("%s: %v", c.what, err)
			}
		})
		var units float64
		for _, call := range seen.take() {
			units += call.Capacity.Total
		}
		if diff := cmp.Diff(c.requests, operations(got)); diff != "" || units != c.units {
			t.Errorf("%s takes %v units, want %v: %s", c.what, units, c.units, diff)
		}
	}
}

// TestEditIsMadeOnce loses the answer of an edit's transaction: what is sent
// again is not made again.
func TestEditIsMadeOnce(t *testing.T) {
	for _, action := range []faultproxy.Action{faultproxy.DropAfter, faultproxy.FailAfter, faultproxy.DropBefore, faultproxy.Repeat} {
		t.Run(action.String(), func(t *testing.T) {
			s, proxy := newStore(t)
			ns := register(t, s, "acme")
			proxy.Set(func(c faultproxy.Call) faultproxy.Fault {
				if c.Operation == "TransactWriteItems" && c.N == 1 { // 0 is the registration
					return faultproxy.Fault{Action: action}
				}
				return faultproxy.Fault{}
			})
			if got := edit(t, s, "acme", limit(5, 0, hierarchy.SystemRef())); got != ns.Revision+1 {
				t.Errorf("revision %d after one edit of %d", got, ns.Revision)
			}
			l, err := s.Events(t.Context(), "acme", hierarchy.Selector{}, hierarchy.Page{})
			if err != nil || len(l.Events) != 2 {
				t.Errorf("%d events of a registration and an edit, %v", len(l.Events), err)
			}
			if mark, err := s.Mark(t.Context(), "acme"); err != nil || mark.Revision != ns.Revision+1 {
				t.Errorf("%+v, %v", mark, err)
			}
		})
	}
}

// TestEditWaits holds items as other transactions would: an edit is made when
// they are free, or ends with its context.
func TestEditWaits(t *testing.T) {
	s, proxy := newStore(t)
	ns := register(t, s, "acme")
	ref := hierarchy.EntityRef("e", "r")
	key := configKey(ns.ID, ref)
	pk, _ := textOf(key, attrPK)
	sk, _ := textOf(key, attrSK)
	hold := func(d time.Duration) { ddblocal.Hold(t, local.URL(t), s.table, d, ddblocal.Key{PK: pk, SK: sk}) }
	hold(100 * time.Millisecond)
	tries := since(proxy, func() { edit(t, s, "acme", limit(5, 0, ref)) })
	if len(tries) < 4 {
		t.Errorf("made by %v", operations(tries))
	}
	hold(time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := s.Edit(ctx, "acme", limit(6, ns.Revision+1, ref))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "acme") {
		t.Errorf("held for longer than the context lasts: %v", err)
	}
}

// TestEditThatDynamoDBRefuses wants an error that another try doesn't help to
// end the edit.
func TestEditThatDynamoDBRefuses(t *testing.T) {
	s, proxy := newStore(t)
	register(t, s, "acme")
	proxy.Set(func(c faultproxy.Call) faultproxy.Fault {
		if c.Operation == "TransactWriteItems" {
			return faultproxy.Fault{Action: faultproxy.Refuse, Code: faultproxy.CodeForbidden, Message: "no"}
		}
		return faultproxy.Fault{}
	})
	var problem *TableError
	if _, err := s.Edit(t.Context(), "acme", limit(5, 0, hierarchy.SystemRef())); !errors.As(err, &problem) || problem.Problem != ProblemForbidden {
		t.Errorf("%v", err)
	}
}

// TestUnknownNamespaces wants a name that nobody registered to be looked up once
// in some seconds, whoever asks, and to be found at once by who registers it.
func TestUnknownNamespaces(t *testing.T) {
	now := time.Now()
	s, proxy := newStore(t, func(c *Config) { c.Now = func() time.Time { return now } })
	w := first(t, "nobodys", "one")
	ask := func() {
		t.Helper()
		if _, err := s.Apply(t.Context(), w); !errors.Is(err, hierarchy.ErrUnknownNamespace) || !errors.Is(err, ratelimit.ErrNotApplied) {
			t.Errorf("Apply: %v", err)
		}
		if _, err := s.Get(t.Context(), w.Key); !errors.Is(err, hierarchy.ErrUnknownNamespace) {
			t.Errorf("Get: %v", err)
		}
		if _, err := s.Mark(t.Context(), "nobodys"); !errors.Is(err, hierarchy.ErrUnknownNamespace) {
			t.Errorf("Mark: %v", err)
		}
	}
	if got := operations(since(proxy, ask)); len(got) != 1 {
		t.Errorf("asked %v", got)
	}
	now = now.Add(unknownFor)
	if got := operations(since(proxy, ask)); len(got) != 1 {
		t.Errorf("asked %v, some seconds later", got)
	}
	register(t, s, "nobodys")
	if _, err := s.Apply(t.Context(), w); err != nil {
		t.Errorf("registered: %v", err)
	}
	for _, wrong := range []string{"", "a/b", strings.Repeat("x", 65), "\xff"} {
		if _, err := s.Mark(t.Context(), wrong); !errors.Is(err, hierarchy.ErrUnknownNamespace) {
			t.Errorf("namespace %q: %v", wrong, err)
		}
	}
}

// TestDeletionIsNoticed deletes a namespace that another process uses: whichever
// way that looks at it next, it knows, and writes nothing more.
func TestDeletionIsNoticed(t *testing.T) {
	admin, _ := newStore(t)
	for name, look := range map[string]func(s *Store, was hierarchy.Mark) error{
		"Mark":    func(s *Store, _ hierarchy.Mark) error { _, err := s.Mark(t.Context(), "acme"); return err },
		"Changes": func(s *Store, was hierarchy.Mark) error { _, err := s.Changes(t.Context(), "acme", was); return err },
		"Edit": func(s *Store, _ hierarchy.Mark) error {
			_, err := s.Edit(t.Context(), "acme", limit(5, 0, hierarchy.SystemRef()))
			return err
		},
		"check": func(s *Store, _ hierarchy.Mark) error {
			s.registry.check(t.Context(), 0)
			return fmt.Errorf("%w: only looked", hierarchy.ErrUnknownNamespace)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ns := register(t, admin, "acme")
			c := config(local.URL(t), admin.table)
			c.Register = []string{}
			s := open(t, c)
			w := first(t, "acme", "one")
			if _, err := s.Apply(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			s.registry.check(t.Context(), 0)
			mark, err := s.Mark(t.Context(), "acme")
			if err != nil || mark.ID != ns.ID {
				t.Fatalf("%+v, %v", mark, err)
			}
			if _, err := admin.DeleteNamespace(t.Context(), "acme", cause()); err != nil {
				t.Fatal(err)
			}
			if err := look(s, mark); !errors.Is(err, hierarchy.ErrUnknownNamespace) {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := s.Apply(t.Context(), w); !errors.Is(err, hierarchy.ErrUnknownNamespace) {
				t.Errorf("a write: %v", err)
			}
		})
	}
}

// TestRecheck lets the store look by itself whether a namespace in use is there.
func TestRecheck(t *testing.T) {
	admin, _ := newStore(t)
	register(t, admin, "acme")
	c := config(local.URL(t), admin.table)
	c.Recheck, c.Register = time.Millisecond, []string{}
	s := open(t, c)
	if _, err := s.registry.id(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.DeleteNamespace(t.Context(), "acme", cause()); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := s.registry.id(t.Context(), "acme"); errors.Is(err, hierarchy.ErrUnknownNamespace) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the deletion is not noticed")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestPurgeTakesBuckets purges a namespace with buckets of entities that nobody
// configured, interrupted once.
func TestPurgeTakesBuckets(t *testing.T) {
	s, proxy := newStore(t)
	s.settled = 0
	ns, other := register(t, s, "acme"), register(t, s, "Acme")
	for _, name := range []string{"acme", "Acme"} {
		for n := range 40 {
			if _, err := s.Apply(t.Context(), first(t, name, fmt.Sprint("user-", n))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := s.DeleteNamespace(t.Context(), "acme", cause()); err != nil {
		t.Fatal(err)
	}
	broken := func(c faultproxy.Call) faultproxy.Fault {
		if c.Operation == "BatchWriteItem" && c.N == 1 {
			return faultproxy.Fault{Action: faultproxy.Refuse, Code: faultproxy.CodeForbidden, Message: "no"}
		}
		return faultproxy.Fault{}
	}
	proxy.Set(broken)
	if err := s.PurgeNamespace(t.Context(), ns.ID, nil); err == nil {
		t.Fatal("the purge was not interrupted")
	}
	if l, err := s.Orphans(t.Context(), hierarchy.Page{}); err != nil || len(l.Namespaces) != 1 || l.Namespaces[0].State != hierarchy.NamespacePurging {
		t.Errorf("interrupted: %+v, %v", l, err)
	}
	if _, err := s.RecoverNamespace(t.Context(), ns.ID, cause()); !errors.Is(err, hierarchy.ErrPurged) {
		t.Errorf("recovered: %v", err)
	}
	if err := s.PurgeNamespace(t.Context(), ns.ID, nil); err != nil {
		t.Fatal(err)
	}
	if n := left(t, s, ns.ID); n != 0 {
		t.Errorf("%d items are left", n)
	}
	if n := left(t, s, other.ID); n != 44 { // name, head, record and event beside the buckets
		t.Errorf("%d items of the other are left", n)
	}
}

// TestPurgeWaits wants a purge to begin when every process has noticed the
// deletion, and to say so to a context that ends before.
func TestPurgeWaits(t *testing.T) {
	s, proxy := newStore(t)
	ns := register(t, s, "acme")
	if _, err := s.DeleteNamespace(t.Context(), "acme", cause()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	got := since(proxy, func() {
		if err := s.PurgeNamespace(ctx, ns.ID, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
	for _, o := range operations(got) {
		if o == "Scan" || o == "BatchWriteItem" {
			t.Errorf("it looked for items %v after the deletion", time.Since(ns.CreatedAt))
		}
	}
}

// TestLeftOver has so much to read that DynamoDB leaves over some of it.
func TestLeftOver(t *testing.T) {
	s, proxy := newStore(t)
	ns := register(t, s, "acme")
	var refs []hierarchy.Ref
	for n := range 5 {
		refs = append(refs, hierarchy.EntityRef(fmt.Sprint(n), ""))
	}
	edit(t, s, "acme", limit(5, 0, refs...))
	for _, r := range refs {
		_, err := s.others.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
			TableName: &s.table, Key: configKey(ns.ID, r), UpdateExpression: new("SET filler = :x"),
			ExpressionAttributeValues: item{":x": textValue(strings.Repeat("x", 390_000))},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	got := since(proxy, func() {
		items, err := s.Items(t.Context(), "acme", refs)
		if err != nil {
			t.Fatal(err)
		}
		for i := range items {
			if !items[i].Exists() {
				t.Errorf("%v is missing", refs[i])
			}
		}
	})
	if len(got) < 2 {
		t.Errorf("nothing was left over: %v", operations(got))
	}
}

// TestRecordsExpire looks at when records and events do.
func TestRecordsExpire(t *testing.T) {
	s, _ := newStore(t, func(c *Config) { c.KeepEvents = time.Hour })
	e := limit(5, 0, hierarchy.SystemRef())
	ns := register(t, s, "acme")
	revision := edit(t, s, "acme", e)
	var at int64
	if err := number(rawAt(t, s, ns.ID, changeKey(revision))[attrTTL], &at); err != nil || time.Unix(at, 0).Before(e.At.Add(hierarchy.KeepChanges)) {
		t.Errorf("the record expires at %v, %v", time.Unix(at, 0), err)
	}
	l, err := s.Events(t.Context(), "acme", hierarchy.Selector{}, hierarchy.Page{Limit: 1})
	if err != nil || len(l.Events) != 1 {
		t.Fatalf("%+v, %v", l, err)
	}
	if err := number(rawAt(t, s, auditKey(ns.ID), l.Events[0].ID)[attrTTL], &at); err != nil || at != e.At.Add(time.Hour).Unix() {
		t.Errorf("the event expires at %v, %v", time.Unix(at, 0), err)
	}
	forever, err := (&Store{}).eventItem("id", l.Events[0])
	if err != nil || forever[attrTTL] != nil {
		t.Errorf("an event that is kept for ever: %v, %v", forever, err)
	}
}

// TestEditSetsOwnAttributes wants the form of an edit's write to leave room for
// what other programs add.
func TestEditSetsOwnAttributes(t *testing.T) {
	s, proxy := newStore(t)
	ns := register(t, s, "acme")
	ref := hierarchy.EntityRef("e", "r")
	revision := edit(t, s, "acme", limit(5, 0, ref))
	got := since(proxy, func() { edit(t, s, "acme", limit(6, revision, ref)) })
	var in struct {
		TransactItems []struct {
			Put    *struct{ Item map[string]any }
			Update *struct {
				Key                 map[string]map[string]string
				ConditionExpression string
			}
		}
	}
	if err := json.Unmarshal(got[len(got)-1].Body, &in); err != nil {
		t.Fatal(err)
	}
	updates := map[string]string{}
	for _, i := range in.TransactItems {
		if i.Update != nil {
			updates[i.Update.Key["PK"]["S"]+" "+i.Update.Key["SK"]["S"]] = i.Update.ConditionExpression
		}
	}
	want := map[string]string{
		ns.ID + " namespace": "#r = :was AND attribute_not_exists(#s)",
		ns.ID + "/e/e l/r":   "rev = :was",
	}
	if diff := cmp.Diff(want, updates); diff != "" {
		t.Error(diff)
	}
}
