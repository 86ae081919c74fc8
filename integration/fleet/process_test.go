//go:build integration

package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// asProcess makes this test binary one process of a fleet: its value is a work.
const asProcess = "EXTAUTHZ_FLEET_PROCESS"

func TestMain(m *testing.M) {
	if text := os.Getenv(asProcess); text != "" {
		if err := work([]byte(text)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// orders are what a process is to do.
type orders struct {
	Name, History string
	URL, Table    string
	Seed          uint64
	Clock         clock

	Buckets []string // entities, hammered one after the other
	Limit   ratelimit.Limit
	Parents []parent // are charged with each bucket, the nearest first
	Expires bool

	Callers  int
	MostCost int64         // a request takes 1 to so many tokens; 0: 1
	Denials  int           // after so many a caller goes on to the next bucket
	Visit    time.Duration // not 0: instead, all go on to the next after so long, and round again
	Pause    time.Duration // at most, after a denial
	Backs    int           // of 100 that were admitted, so many are given back
	For      time.Duration // then it ends, however far it is
	Settle   int64         // books so many tokens first

	Deadline     time.Duration // of a request
	WriteTimeout time.Duration
}

// parent is a bucket above others.
type parent struct {
	Bucket string
	Limit  ratelimit.Limit
}

// clock is a clock that all processes share: the machine's, or one that runs
// faster, and is wrong by Skew.
type clock struct {
	Start time.Time
	Speed int // 0: 1
	Skew  time.Duration
}

func (c clock) now() time.Time {
	real := time.Now()
	if c.Speed > 1 {
		real = c.Start.Add(real.Sub(c.Start) * time.Duration(c.Speed))
	}
	return real.Add(c.Skew)
}

// process is one at work.
type process struct {
	orders
	diary   *diary
	limiter *ratelimit.Limiter
	end     time.Time
}

// work follows orders: it gets ready, says so, waits for the word to begin on
// its input, and ends when it is done, or with its input.
func work(text []byte) error {
	var p process
	if err := json.Unmarshal(text, &p.orders); err != nil {
		return fmt.Errorf("reading the orders: %w", err)
	}
	file, err := os.Create(p.History)
	if err != nil {
		return fmt.Errorf("starting the history: %w", err)
	}
	p.diary = &diary{file: file}
	store, err := dynamostore.Open(context.Background(), storeConfig(p.URL, p.Table, p.WriteTimeout))
	if err != nil {
		return err
	}
	p.limiter, err = ratelimit.New(ratelimit.Config{
		Store: &observed{store, p.diary}, Resolver: family{p.orders}, Now: p.Clock.now,
		Remote: &ratelimit.Remote{WriteTimeout: p.WriteTimeout},
	})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	input := bufio.NewReader(os.Stdin)
	if _, err := input.ReadString('\n'); err != nil {
		return fmt.Errorf("waiting for the word: %w", err)
	}
	go func() {
		_, _ = input.ReadString('\n') // until whoever started it is gone
		os.Exit(1)
	}()
	p.hammer()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.limiter.Close(ctx); err != nil {
		return fmt.Errorf("ending in order: %w", err)
	}
	p.diary.write(event{What: "ended"})
	return errors.Join(store.Close(), file.Close())
}

// hammer has all callers ask.
func (p *process) hammer() {
	p.end = time.Now().Add(p.For)
	if p.Settle > 0 {
		p.ask(rand.New(rand.NewPCG(p.Seed, 0)), p.Buckets[0], p.Settle, true)
	}
	var wg sync.WaitGroup
	for caller := range p.Callers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(p.Seed, uint64(caller)+1))
			if p.Visit > 0 {
				p.visit(rng)
				return
			}
			for _, bucket := range p.Buckets {
				p.exhaust(rng, bucket)
			}
		})
	}
	wg.Wait()
}

// exhaust asks a bucket until it has denied often enough.
func (p *process) exhaust(rng *rand.Rand, bucket string) {
	for denials := 0; denials < p.Denials && time.Now().Before(p.end); {
		if p.denied(rng, bucket) {
			denials++
		}
	}
}

// visit asks each bucket for a while, at the same time as the other processes.
func (p *process) visit(rng *rand.Rand) {
	for {
		left := time.Until(p.end)
		if left <= 0 {
			return
		}
		p.denied(rng, p.Buckets[int((p.For-left)/p.Visit)%len(p.Buckets)])
	}
}

// denied makes one request, and a pause after a denial.
func (p *process) denied(rng *rand.Rand, bucket string) bool {
	if p.ask(rng, bucket, 1+rng.Int64N(max(1, p.MostCost)), false) != "denied" {
		return false
	}
	time.Sleep(time.Duration(rng.Int64N(int64(p.Pause) + 1)))
	return true
}

// ask makes one request.
func (p *process) ask(rng *rand.Rand, bucket string, tokens int64, settle bool) (verdict string) {
	id := p.diary.id()
	p.diary.write(event{What: "asked", ID: id, Bucket: bucket, Cost: ratelimit.Milli(tokens)})
	ctx, cancel := context.WithTimeout(context.Background(), p.Deadline)
	defer cancel()
	lease, err := p.limiter.Acquire(ctx, ratelimit.Request{
		Entity: bucket, Resource: "api", Consume: map[string]int64{"n": tokens}, Settle: settle,
	})
	told := event{What: "told", ID: id, Verdict: "failed"}
	var denied *ratelimit.ExceededError
	switch {
	case err == nil:
		told.Verdict, told.Detail = "admitted", lease.Decision().Source.String()
	case errors.As(err, &denied):
		told.Verdict, told.Detail = "denied", denied.Decision.Source.String()
	default:
		told.Detail = err.Error()
	}
	p.diary.write(told)
	if err == nil && rng.IntN(100) < p.Backs {
		back := event{What: "back", ID: id}
		if err := lease.Rollback(ctx); err != nil {
			back.Detail = err.Error()
		}
		p.diary.write(back)
	}
	return told.Verdict
}

// observed is a store whose writes are written down.
type observed struct {
	ratelimit.Store
	diary *diary
}

// Apply implements ratelimit.Store.
func (o *observed) Apply(ctx context.Context, w *ratelimit.Write) (ratelimit.State, error) {
	id := o.diary.id()
	sent := event{What: "sent", ID: id, Bucket: w.Key.Entity(), Op: w.Op, Stamp: w.Stamp}
	for _, l := range w.Limits {
		sent.Charged, sent.Returned = sent.Charged+l.Charged, sent.Returned+l.Returned
	}
	o.diary.write(sent)
	s, err := o.Store.Apply(ctx, w)
	came := event{What: "came", ID: id, Outcome: "unknown"}
	var refused *ratelimit.RefusedError
	switch {
	case err == nil:
		came.Outcome, came.State = "applied", itemOf(&s)
	case errors.As(err, &refused):
		came.Outcome, came.State = "refused", itemOf(&refused.State)
	case errors.Is(err, ratelimit.ErrNotApplied):
		came.Outcome = "not applied"
	}
	o.diary.write(came)
	return s, err
}

// family is a resolver for buckets that are alike, and their parents if there are
// any.
type family struct{ orders }

// Resolve implements ratelimit.Resolver.
func (f family) Resolve(_ context.Context, q ratelimit.Query) (ratelimit.Resolution, error) {
	targets := []ratelimit.Target{{Key: q.Key, Limits: []ratelimit.Limit{f.limitOf(q.Key.Entity())}, Expires: f.Expires}}
	for _, p := range f.Parents {
		k, err := ratelimit.NewKey(q.Key.Namespace(), p.Bucket, q.Key.Resource(), "")
		if err != nil {
			return ratelimit.Resolution{}, err
		}
		targets = append(targets, ratelimit.Target{Key: k, Limits: []ratelimit.Limit{p.Limit}, Expires: f.Expires})
	}
	return ratelimit.Resolution{Targets: targets}, nil
}

// limitOf is the limit of a bucket.
func (o orders) limitOf(bucket string) ratelimit.Limit {
	for _, p := range o.Parents {
		if bucket == p.Bucket {
			return p.Limit
		}
	}
	return o.Limit
}

// storeConfig is that of a local DynamoDB.
func storeConfig(url, table string, timeout time.Duration) dynamostore.Config {
	return dynamostore.Config{
		AWS: awsConfig(), Table: table, EndpointURL: url, Timeout: timeout, StrongReads: true, KeepWarm: -1,
	}
}

func awsConfig() aws.Config {
	return aws.Config{
		Region: "us-east-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
		}),
	}
}
