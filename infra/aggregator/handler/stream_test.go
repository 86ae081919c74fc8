package handler_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/infra/aggregator/handler"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/ratelimit"
	"github.com/extauthz/extauthz/pkg/usage"
)

// used is what entities used: by hour, entity and limit, in whole tokens.
type used map[string]map[string]map[string][2]int64 // consumed, admitted

func (u used) add(hour, entity, limit string, consumed, admitted int64) {
	if u[hour] == nil {
		u[hour] = map[string]map[string][2]int64{}
	}
	if u[hour][entity] == nil {
		u[hour][entity] = map[string][2]int64{}
	}
	was := u[hour][entity][limit]
	u[hour][entity][limit] = [2]int64{was[0] + consumed, was[1] + admitted}
}

// traffic is charges on a real store, whose stream is read in phases: the
// records of each are given its time.
type traffic struct {
	url, table string
	store      *dynamostore.Store
	client     *dynamodb.Client
	limiter    *ratelimit.Limiter
	now        time.Time
	used       used
	read       int
	records    []events.DynamoDBEventRecord
}

func newTraffic(t *testing.T) *traffic {
	t.Helper()
	tr := &traffic{url: startMoto(t), used: used{}}
	tr.store, tr.client, tr.table = newStore(t, tr.url)
	var err error
	tr.limiter, err = ratelimit.New(ratelimit.Config{Store: tr.store, Resolver: limits{}, Now: func() time.Time { return tr.now }})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

type limits struct{}

func (limits) Resolve(_ context.Context, q ratelimit.Query) (ratelimit.Resolution, error) {
	return ratelimit.Resolution{Targets: []ratelimit.Target{{Key: q.Key, Expires: true, Limits: []ratelimit.Limit{
		{Name: "rpm", Rate: 60, Period: time.Minute, Burst: 20},
		{Name: "tpm", Rate: 6000, Period: time.Minute, Burst: 8000},
	}}}}, nil
}

// charge takes a token of rpm and some of tpm, and counts what was taken.
func (tr *traffic) charge(t *testing.T, entity string, tpm int64, settle bool) *ratelimit.Lease {
	t.Helper()
	lease, err := tr.limiter.Acquire(t.Context(), ratelimit.Request{
		Entity: entity, Resource: "gpt-4", Consume: map[string]int64{"rpm": 1, "tpm": tpm}, Settle: settle,
	})
	var exceeded *ratelimit.ExceededError
	if errors.As(err, &exceeded) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	hour := usage.HourOf(tr.now).String()
	tr.used.add(hour, entity, "rpm", 1, 1)
	tr.used.add(hour, entity, "tpm", tpm, tpm)
	return lease
}

// end ends a phase.
func (tr *traffic) end(t *testing.T) {
	t.Helper()
	all := stream(t, tr.url, tr.table)
	for _, r := range all[tr.read:] {
		r.Change.ApproximateCreationDateTime = events.SecondsEpochTime{Time: tr.now}
		tr.records = append(tr.records, r)
	}
	tr.read = len(all)
}

// expire removes a bucket, as DynamoDB does with what has expired.
func (tr *traffic) expire(t *testing.T, entity string) {
	t.Helper()
	ns, err := tr.store.Namespace(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	_, err = tr.client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &tr.table, Key: map[string]types.AttributeValue{
		"PK": &types.AttributeValueMemberS{Value: ns.ID + "/e/" + entity}, "SK": &types.AttributeValueMemberS{Value: "b/gpt-4"},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// counted is what the table says was used, and the deepest debt of tpm.
func (tr *traffic) counted(t *testing.T) (used, int64) {
	t.Helper()
	u, debt := used{}, int64(0)
	from := usage.HourOf(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	for _, entity := range []string{"busy", "idle"} {
		all, err := tr.store.Usage(t.Context(), "default", entity, from, from+24*60)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range all {
			for limit, sum := range x.Totals {
				u.add(x.Hour.String(), entity, limit, sum.Consumed.Tokens(), sum.Admitted.Tokens())
				debt = max(debt, sum.Debt.Tokens())
			}
		}
	}
	return u, debt
}

// forget removes all usage.
func (tr *traffic) forget(t *testing.T) {
	t.Helper()
	out, err := tr.client.Scan(t.Context(), &dynamodb.ScanInput{TableName: &tr.table, ConsistentRead: new(true)})
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range out.Items {
		if it["used"] == nil {
			continue
		}
		key := map[string]types.AttributeValue{"PK": it["PK"], "SK": it["SK"]}
		if _, err := tr.client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &tr.table, Key: key}); err != nil {
			t.Fatal(err)
		}
	}
}

// run makes traffic over the edges of hours, a day and a month.
func (tr *traffic) run(t *testing.T) {
	t.Helper()
	for i, at := range []string{"2026-11-30T22:59:58Z", "2026-11-30T23:00:01Z", "2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z", "2026-12-01T03:10:00Z"} {
		var err error
		if tr.now, err = time.Parse(time.RFC3339, at); err != nil {
			t.Fatal(err)
		}
		hour := usage.HourOf(tr.now).String()
		for range 6 {
			tr.charge(t, "busy", 100, false)
		}
		switch i {
		case 1: // given back
			lease := tr.charge(t, "busy", 300, false)
			if err := lease.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			tr.used.add(hour, "busy", "rpm", 0, -1)
			tr.used.add(hour, "busy", "tpm", 0, -300)
			tr.charge(t, "idle", 5, false)
		case 2: // refused, which is no use
			if tr.charge(t, "busy", 7999, false) != nil {
				t.Fatal("more was admitted than there was")
			}
		case 3: // into debt
			tr.charge(t, "busy", 9000, true)
		case 4: // gone and back within the hour
			tr.expire(t, "busy")
			tr.now = tr.now.Add(time.Minute)
			tr.charge(t, "busy", 7, false)
			tr.charge(t, "busy", 7, false)
		}
		tr.end(t)
	}
}

// errFlaky is a failure that a test makes.
var errFlaky = errors.New("out of reach")

// flaky is a table that is out of reach now and then: a write was sometimes
// made all the same.
type flaky struct {
	*dynamodb.Client
	mu  sync.Mutex
	rng *rand.Rand
}

func (f *flaky) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, o ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	f.mu.Lock()
	what := f.rng.IntN(6)
	f.mu.Unlock()
	if what == 0 {
		return nil, errFlaky
	}
	out, err := f.Client.UpdateItem(ctx, in, o...)
	if what == 1 {
		return nil, errFlaky
	}
	return out, err
}

// deliver hands records on as Lambda does: in batches, from the first failed
// record again.
func deliver(t *testing.T, h *handler.Handler, records []events.DynamoDBEventRecord, atMost int) {
	t.Helper()
	for tries := 0; len(records) > 0; tries++ {
		if tries > 1000 {
			t.Error("it never ends")
			return
		}
		batch := records[:min(atMost, len(records))]
		out, err := h.Handle(t.Context(), events.DynamoDBEvent{Records: batch})
		if err != nil {
			t.Error(err)
			return
		}
		done := len(batch)
		if len(out.BatchItemFailures) > 0 {
			done = slices.IndexFunc(batch, func(r events.DynamoDBEventRecord) bool {
				return r.Change.SequenceNumber == out.BatchItemFailures[0].ItemIdentifier
			})
		}
		records = records[done:]
	}
}

func TestUsageIsWhatWasCharged(t *testing.T) {
	tr := newTraffic(t)
	tr.run(t)
	if len(tr.records) < 40 {
		t.Fatalf("the stream has %d records", len(tr.records))
	}
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, seed))
	twice := slices.Concat(tr.records, tr.records)
	shuffled := slices.Clone(tr.records)
	rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	sound := handler.Config{DynamoDB: tr.client, Table: tr.table, Keep: 24 * time.Hour, Log: slog.New(slog.DiscardHandler)}
	weak := sound
	weak.DynamoDB = &flaky{Client: tr.client, rng: rng}

	for name, give := range map[string]func(*testing.T){
		"in order":       func(t *testing.T) { deliver(t, handler.New(sound), tr.records, 1000) },
		"twice, split":   func(t *testing.T) { deliver(t, handler.New(sound), twice, 9) },
		"shuffled":       func(t *testing.T) { deliver(t, handler.New(sound), shuffled, 10) },
		"failures":       func(t *testing.T) { deliver(t, handler.New(weak), tr.records, 7) },
		"two at a time":  func(t *testing.T) { both(t, sound, tr.records, shuffled) },
		"shuffled, weak": func(t *testing.T) { deliver(t, handler.New(weak), shuffled, 15) },
	} {
		t.Run(name, func(t *testing.T) {
			tr.forget(t)
			give(t)
			got, debt := tr.counted(t)
			if diff := cmp.Diff(tr.used, got); diff != "" {
				t.Errorf("charged (-), counted (+):\n%s", diff)
			}
			tr.checkSums(t)
			// 8,000 there were, less 600, 100 came in a second, less 600, less 9,000.
			if debt != 2100 {
				t.Errorf("the deepest debt is %d, want 2100", debt)
			}
		})
	}
	if hours := slices.Sorted(maps.Keys(tr.used)); len(hours) != 4 {
		t.Errorf("charged in %v", hours)
	}
}

// checkSums compares the sums of days and months, of all entities as they are
// found by day, with what was charged.
func (tr *traffic) checkSums(t *testing.T) {
	t.Helper()
	var items []usage.Item
	from := usage.HourOf(time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC))
	err := tr.store.UsageOfAll(t.Context(), "default", from, from+48, func(found []dynamostore.Used) {
		for i := range found {
			items = append(items, found[i].Items()...)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for window, length := range map[usage.Window]int{usage.Daily: len("2026-11-30"), usage.Monthly: len("2026-11")} {
		want, got := used{}, used{}
		for hour, entities := range tr.used {
			for entity, limits := range entities {
				for limit, n := range limits {
					want.add(hour[:length], entity, limit, n[0], n[1])
				}
			}
		}
		for _, x := range usage.Sum(items, window) {
			got.add(x.From.String()[:length], x.Entity, x.Limit, x.Consumed.Tokens(), x.Admitted.Tokens())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("sums by %s: charged (-), counted (+):\n%s", window, diff)
		}
	}
}

// both delivers to two handlers at once, as when Lambda takes one for lost that
// goes on.
func both(t *testing.T, c handler.Config, one, other []events.DynamoDBEventRecord) {
	t.Helper()
	var wg sync.WaitGroup
	for _, records := range [][]events.DynamoDBEventRecord{one, other} {
		wg.Go(func() { deliver(t, handler.New(c), records, 8) })
	}
	wg.Wait()
}
