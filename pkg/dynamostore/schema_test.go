package dynamostore

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sync/errgroup"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// nextLayout is a made-up version after this program's: a balance is called y1 in
// place of b1. To a program of today such a bucket has lost its limits, which it
// would add again, full.
func nextLayout() layout {
	return layout{version: SchemaVersion + 1, upgrade: renameBalances}
}

func renameBalances(ctx context.Context, s *Store) error {
	for in := (&dynamodb.ScanInput{TableName: &s.table, ConsistentRead: new(true), FilterExpression: new("attribute_exists(b1)")}); ; {
		out, err := s.others.Scan(ctx, in)
		if err != nil {
			return err
		}
		for _, it := range out.Items {
			_, err := s.others.UpdateItem(ctx, &dynamodb.UpdateItemInput{
				TableName: &s.table, Key: item{attrPK: it[attrPK], attrSK: it[attrSK]},
				UpdateExpression: new("SET y1 = b1 REMOVE b1"), ConditionExpression: new("attribute_exists(b1)"),
			})
			var done *types.ConditionalCheckFailedException
			if err != nil && !errors.As(err, &done) {
				return err
			}
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			return nil
		}
	}
}

// next is a store of the made-up version: it knows both forms of a bucket, and
// begins new ones in that of the table.
type next struct {
	*Store
	renamed sync.Map // :: bucket -> whether it was last seen in the new form
}

// burst is more than a test can charge.
const burst = 1_000_000

var balances = regexp.MustCompile(`\bb(\d)\b`)

func rename(expression *string) {
	if expression != nil {
		*expression = balances.ReplaceAllString(*expression, "y$1")
	}
}

// read reads an item of either form.
func (n *next) read(k ratelimit.Key, it item) (ratelimit.State, error) {
	old := maps.Clone(it)
	if y := it["y1"]; y != nil {
		old["b1"] = y
		delete(old, "y1")
	}
	if len(it) > 0 {
		n.renamed.Store(k, it["y1"] != nil)
	}
	return decode(k, old)
}

func (n *next) Apply(ctx context.Context, w *ratelimit.Write) (ratelimit.State, error) {
	id, err := n.registry.id(ctx, w.Key.Namespace())
	if err != nil {
		return ratelimit.State{}, err
	}
	e, err := expressionsOf(w)
	if err != nil {
		return ratelimit.State{}, err
	}
	pk, sk := bucketKey(id, w.Key)
	in := e.input(n.table, pk, sk)
	renamed, known := n.renamed.Load(w.Key)
	if !known {
		found, _, err := n.readSchema(ctx)
		if err != nil {
			return ratelimit.State{}, err
		}
		renamed = found.version == n.layout.version
	}
	if renamed.(bool) {
		rename(in.ConditionExpression)
		rename(in.UpdateExpression)
	}
	out, err := n.others.UpdateItem(ctx, in, func(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} })
	var refused *types.ConditionalCheckFailedException
	switch {
	case errors.As(err, &refused):
		state, err := n.read(w.Key, refused.Item)
		if err != nil {
			return ratelimit.State{}, err
		}
		return ratelimit.State{}, &ratelimit.RefusedError{State: state}
	case err != nil:
		return ratelimit.State{}, err
	}
	return n.read(w.Key, out.Attributes)
}

// traffic are programs of one version that charge without end.
type traffic struct {
	resolver ratelimit.Resolver
	mu       sync.Mutex
	admitted map[string]int64 // :: entity
	all      atomic.Int64
	refused  atomic.Int64 // for want of a table to work on
}

// charge charges entities in turn until ctx ends.
func (tr *traffic) charge(ctx context.Context, t *testing.T, store ratelimit.Store, entities []string) error {
	l, err := ratelimit.New(ratelimit.Config{Store: store, Resolver: tr.resolver, Remote: &ratelimit.Remote{WriteTimeout: 20 * time.Second}})
	if err != nil {
		return err
	}
	for i := 0; ctx.Err() == nil; i++ {
		entity := entities[i%len(entities)]
		_, err := l.Acquire(context.WithoutCancel(ctx), ratelimit.Request{Entity: entity, Resource: "gpt-4", Consume: map[string]int64{"n": 1}})
		var exceeded *ratelimit.ExceededError
		switch {
		case err == nil:
			tr.mu.Lock()
			tr.admitted[entity]++
			tr.mu.Unlock()
			tr.all.Add(1)
		case errors.As(err, &exceeded):
		case errors.Is(err, ratelimit.ErrUnusable):
			tr.refused.Add(1)
			time.Sleep(time.Millisecond) // it is refused at once
		default:
			t.Errorf("charging %s: %v", entity, err)
			return nil
		}
	}
	return l.Close(context.WithoutCancel(ctx))
}

// await waits until a count has grown by some.
func await(t *testing.T, what string, count *atomic.Int64, more int64) {
	t.Helper()
	from := count.Load()
	for deadline := time.Now().Add(time.Minute); count.Load() < from+more; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) || t.Failed() {
			t.Fatalf("%s: %d in a minute, want %d", what, count.Load()-from, more)
		}
	}
}

// Programs of this version and of the next work on one table; it is upgraded
// while they do; those of this version leave it, and not a charge is lost,
// doubled or admitted above what there was.
func TestUpgradeUnderLoad(t *testing.T) {
	c := config(local.URL(t), newTable(t))
	c.Recheck = 200 * time.Millisecond
	resolver := &fixed{limits: []ratelimit.Limit{{Name: "n", Rate: 1, Period: 7 * 24 * time.Hour, Burst: burst}}}
	entities := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
	was := traffic{resolver: resolver, admitted: map[string]int64{}}
	is := traffic{resolver: resolver, admitted: map[string]int64{}}
	var observed calls
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running errgroup.Group
	var upgrading *Store
	for i := range 2 {
		of := c
		of.Observer = &observed
		old := open(t, of)
		running.Go(func() error { return was.charge(ctx, t, old, entities[i:]) })
		s, err := openAs(t.Context(), c, nextLayout())
		if err != nil {
			t.Fatal(err)
		}
		s.settled = time.Second // 5 times Recheck
		t.Cleanup(func() { _ = s.Close() })
		running.Go(func() error { return is.charge(ctx, t, &next{Store: s}, entities[2*i:]) })
		upgrading = s
	}
	await(t, "admitted by this version", &was.all, 100)
	await(t, "admitted by the next", &is.all, 100)
	if err := upgrading.Upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	observed.take()
	await(t, "refused by this version", &was.refused, 20)
	await(t, "admitted by the next", &is.all, 100)
	stop()
	if err := running.Wait(); err != nil {
		t.Error(err)
	}
	if n := observed.takeWrites(); n > 0 {
		t.Errorf("this version made %d writes to a table of the next", n)
	}
	for _, entity := range entities {
		checkUpgraded(t, upgrading, entity, was.admitted[entity]+is.admitted[entity])
	}
	t.Logf("admitted %d and %d, refused %d", was.all.Load(), is.all.Load(), was.refused.Load())
}

// checkUpgraded compares a bucket in the next form with what was admitted.
func checkUpgraded(t *testing.T, s *Store, entity string, admitted int64) {
	t.Helper()
	id, err := s.registry.id(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	it := rawAt(t, s, id+"/e/"+entity, "b/gpt-4")
	if it["y1"] == nil || it["b1"] != nil {
		t.Errorf("%s: not in the next form, or in both: %v", entity, it)
		return
	}
	n := next{Store: s}
	state, err := n.read(key(t, entity), it)
	if err != nil {
		t.Fatal(err)
	}
	l := state.Limits[0]
	if got := l.Charged.Tokens(); got != admitted {
		t.Errorf("%s: %d were charged, %d admitted", entity, got, admitted)
	}
	if left := l.Available(state.Last).Tokens(); left != burst-admitted {
		t.Errorf("%s: %d are left of %d, %d were admitted", entity, left, burst, admitted)
	}
}

func TestUpgradeGoesOnWhereItWasInterrupted(t *testing.T) {
	old, proxy := newStore(t)
	c := config(proxy.URL, old.table)
	fails := errors.New("out of reach")
	l := nextLayout()
	l.upgrade = func(context.Context, *Store) error { return fails }
	s, err := openAs(t.Context(), c, l)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	s.settled = 0
	if err := s.Upgrade(t.Context()); !errors.Is(err, fails) {
		t.Fatalf("an upgrade that failed: %v", err)
	}
	// Half-way it is no table for a program of this version.
	openError(t, c, ProblemSchema, "version 2, this program knows 1", "upgrade this program")
	old.recheckSchema(t.Context())
	_, err = old.Get(t.Context(), key(t, "a"))
	_, err2 := old.Mark(t.Context(), "default")
	for _, err := range []error{err, err2} {
		if newer := new(TableError); !errors.As(err, &newer) || newer.Problem != ProblemSchema {
			t.Errorf("a program that is older than the table: %v", err)
		}
	}
	again, err := openAs(t.Context(), c, nextLayout())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	again.settled = 0
	for range 2 { // once more does nothing
		if err := again.Upgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := primaryKey(schemaKey, schemaKey)
	want[attrVersion] = numberValue(2)
	if diff := cmp.Diff(want, rawAt(t, s, schemaKey, schemaKey), cmpopts.IgnoreUnexported(types.AttributeValueMemberS{}, types.AttributeValueMemberN{})); diff != "" {
		t.Errorf("the schema's item:\n%s", diff)
	}
	// What another program did at the same time is no failure.
	if err := s.setSchema(t.Context(), "SET #v = :to REMOVE #n", "#v = :from AND #n = :to"); err != nil {
		t.Error(err)
	}
}

func TestVersionsThatFit(t *testing.T) {
	for _, c := range []struct {
		knows, version, next int64
		problem              Problem
		says                 string
	}{
		{1, 1, 0, 0, ""},
		{1, 1, 2, ProblemSchema, "upgrade this program"},
		{1, 2, 0, ProblemSchema, "upgrade this program"},
		{2, 1, 0, 0, ""},
		{2, 1, 2, 0, ""},
		{2, 2, 0, 0, ""},
		{2, 2, 3, ProblemSchema, "version 3, this program knows 2"},
		{3, 1, 0, ProblemOutdated, "deploy the releases between first, one after the other (its layout has version 1, this program knows 2 and 3)"},
		{3, 1, 2, ProblemOutdated, "one after the other"},
	} {
		s := &Store{table: "t", layout: layout{version: c.knows}}
		err := s.fits(schema{c.version, c.next})
		var problem *TableError
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%+v: %v", c, err)
		case c.says != "" && (!errors.As(err, &problem) || problem.Problem != c.problem || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%+v: %v", c, err)
		}
	}
}
