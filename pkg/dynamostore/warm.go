package dynamostore

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// warm opens n connections by as many reads at a time. That some fail is no
// fault: the next call opens its own.
func (s *Store) warm(ctx context.Context, n int) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { s.ping(ctx) })
	}
	wg.Wait()
}

// ping is the cheapest call: an eventually consistent read of one small item.
func (s *Store) ping(ctx context.Context) {
	in := &dynamodb.GetItemInput{TableName: &s.table, Key: primaryKey(schemaKey, schemaKey)}
	_, _ = s.others.GetItem(ctx, in, func(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} })
}

// keepWarm pings if nothing else was asked for as long as idle.
func (s *Store) keepWarm(ctx context.Context, idle time.Duration) {
	if now := s.now().UnixMilli(); now-s.lastCall.Load() >= idle.Milliseconds() {
		s.ping(ctx)
	}
}

// often calls f every so often, each time with within to take, until ctx ends.
func often(ctx context.Context, every, within time.Duration, f func(context.Context)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		bounded, done := context.WithTimeout(ctx, within)
		f(bounded)
		done()
	}
}
